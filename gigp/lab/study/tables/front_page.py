"""What README.md shows of the study."""

from collections.abc import Mapping

import pandas as pd

from gigp.lab.study.tables.claims import PRIMARY, PROTOCOLS, SEEDS, significant
from gigp.lab.study.tables.differences import OURS
from gigp.lab.study.tables.table import Table, to_markdown

SHOWN = (*PRIMARY, "r2")  # targets
ROWS = {  # by backbone: a table, and pools of it
    "E(3)": ("qm9_e3_outputs", ("mean", "gigp", "one_orbit", "point_mlp")),
    "T(3)": ("qm9_outputs", ("mean", "gigp")),
}
MOST = 3  # pools that a sentence names


def front_page(
    tables: Mapping[str, Table], differences: Mapping[str, pd.DataFrame], baselines: int
) -> str:
    """The block of README.md: advice; two trivial baselines on QM9; the networks with mean pooling,
    GIGP and its controls; and the verdicts.

    Args:
        tables: tables by name.
        differences: differences of pools by table.
        baselines: number of rows at the head of each table that are fits by least squares.
    """
    rows = []
    for backbone, (name, pools) in ROWS.items():
        shown = tables[name].only(SHOWN).shown
        mine = shown[shown["pool"].str.extract("^`(.*)`", expand=False).isin(pools)]
        rows.append(mine.assign(pool=f"LieConv-{backbone} with " + mine["pool"]))
    errors = pd.concat([shown.iloc[:baselines].iloc[[0, -1]], *rows])
    errors = errors.rename(columns={"pool": "mean absolute test error on QM9"})
    return "\n".join([advice(differences), to_markdown(errors), tables["claims"].markdown()])


def advice(differences: Mapping[str, pd.DataFrame]) -> str:
    """Three sentences as a Markdown list: when GIGP helps, when it does not, what beats it.

    Args:
        differences: differences of pools by table.
    """
    tables = {name: _ours(differences[name]) for name in PROTOCOLS if name in differences}
    main = tables.get(ROWS["E(3)"][0], _ours(pd.DataFrame()))
    mean, orbit = (main[main["minus"] == pool] for pool in ("mean", "one_orbit"))
    beaten = [line for name, mine in tables.items() if (line := _what_beats(name, mine))]
    use = "**Use it**" if _wins(mean) else "**Not seen to help**"
    also = "**Also**" if _wins(orbit) else "**Not**"
    lines = [
        f"{use} in place of averaging, on a network that is trained and exactly invariant: "
        f"there GIGP's error differs from that of the mean {_by(mean)}.",
        f"{also} for the orbits as such: from that of a single orbit, its MLP without geometry, "
        f"it differs {_by(orbit)}.",
        f"**What beats it**: {'; '.join(beaten) or 'nothing that was tried'}.",
    ]
    seeds = min((int(mine["seeds"].min()) for mine in tables.values() if len(mine)), default=0)
    if seeds < SEEDS:
        lines.append(f"A verdict needs {SEEDS} seeds; some of these rest on {seeds}.")
    return "".join(f"- {line}\n" for line in lines)


def _ours(numbers: pd.DataFrame) -> pd.DataFrame:
    """GIGP against the other pools on the primary targets, where there is more than one seed."""
    if numbers.empty:
        return pd.DataFrame(columns=["pool", "minus", "target", "percent", "seeds", "verdict"])
    mine = numbers[(numbers["pool"] == OURS) & numbers["target"].isin(PRIMARY)]
    return mine[mine["seeds"] > 1]


def _wins(numbers: pd.DataFrame) -> bool:
    """Whether GIGP has the lower error on most targets."""
    return not numbers.empty and 2 * len(significant(numbers, "lower")) > len(numbers)


def _by(numbers: pd.DataFrame) -> str:
    """By how many percent, and on how many targets that was told apart from chance."""
    if numbers.empty:
        return "by an amount that was not measured yet"
    low, high = numbers["percent"].min(), numbers["percent"].max()
    told = significant(numbers, "lower") | significant(numbers, "higher")
    return f"by {low:+.1f} to {high:+.1f}% ({len(told)} of {len(numbers)} targets beyond chance)"


def _what_beats(name: str, numbers: pd.DataFrame) -> str:
    """The pools with lower errors than GIGP on most targets of a table, the best first."""
    better = {
        str(pool): group["percent"].mean()
        for pool, group in numbers.groupby("minus")
        if 2 * len(significant(group, "higher")) > len(group)
    }
    best = sorted(better, key=lambda pool: -better[pool])[:MOST]
    pools = ", ".join(f"`{pool}` (by {better[pool]:.1f}%)" for pool in best)
    return f"{pools} on {PROTOCOLS[name].removeprefix('QM9, ')}" if best else ""
