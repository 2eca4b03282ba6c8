"""The paper's three claims, tested: what GIGP wins, loses and leaves undecided, and a verdict.

The rules, fixed before the runs of the third edition (docs/protocol.md):

    holds                on most primary targets GIGP has a lower error than mean pooling, and than
                         each pool with its MLP but without orbits
    holds with a caveat  lower than mean pooling on some primary target
    not seen             on none, and a difference of `MARGIN` would have been seen on all of them
    cannot be told       everything else, and whatever rests on fewer than five seeds

Digits: `holds` where no difference to mean pooling is seen and one of a tenth of the error would
have been.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from gigp.lab.study.tables.results import TableRow
from gigp.lab.study.tables.table import Table

HOLDS, CAVEAT, NOT_SEEN, TOO_COARSE, OPEN = (
    "holds",
    "holds with a caveat",
    "not seen",
    "cannot be told",
    "not run yet",
)
SEEDS = 5  # that a verdict needs
MARGIN = {"regression": 2.0, "classification": 10.0}  # percent of an error
PRIMARY = ("homo", "mu", "alpha", "U0")
WITHOUT_ORBITS = ("one_orbit", "mean_mlp", "point_mlp")  # GIGP's MLP, but no orbits
SHOWN = ("mean", "one_orbit", "point_mlp")  # pools that have a column
PROTOCOLS = {
    "qm9_e3_outputs": "QM9, E(3): pools on the outputs of a frozen network, as in the paper",
    "qm9_e3_features": "QM9, E(3): pool and head on the features of a frozen network",
    "qm9_e3_scratch": "QM9, E(3): everything trained from scratch",
    "qm9_outputs": "QM9, T(3): pools on the outputs of a frozen network, as in the paper",
    "qm9_features": "QM9, T(3): pool and head on the features of a frozen network",
    "qm9_scratch": "QM9, T(3): everything trained from scratch",
}
DIGITS = {
    "rotmnist_scratch": "rotated MNIST: everything trained from scratch",
    "rotmnist_features": "rotated MNIST: pool and head on the features of a frozen network",
}
NOTE = (
    "Won / lost / undecided: primary targets of QM9 (homo, mu, alpha, U0) on which GIGP has a "
    "lower, a higher, or no different error than the pool that heads the column, by Student's t "
    "over seeds with Holm's correction. Smallest effect: what would have been seen on every one of "
    "them against mean pooling, in percent of its error, with a power of 80%. A verdict needs five "
    "seeds."
)


class Finding(NamedTuple):
    """A row of the table of claims.

    Attributes:
        seeds: number of seeds that it rests on.
        against: how GIGP fares against each pool of `SHOWN`.
        smallest: smallest effect that would have been seen.
        verdict: see the head of this module.
    """

    seeds: int
    against: dict[str, str]
    smallest: str
    verdict: str


NO_EVIDENCE = Finding(0, {}, "", OPEN)


def claims_table(
    entries: Mapping[str, Sequence[TableRow]],
    differences: Mapping[str, pd.DataFrame],
    beaten: Mapping[str, set[str]],
) -> Table:
    """One row for each claim and protocol.

    Args:
        entries: rows of the tables by name, with those of the networks that they start from.
        differences: differences of pools by table; see `gigp.lab.study.tables.differences`.
        beaten: targets, by table, on which GIGP beats all baselines by least squares.
    """
    none = pd.DataFrame()
    rows = [
        ("expresses more than global pooling", "functions of orbits", expresses(entries["orbits"]))
    ]
    rows += [
        (
            "better than global pooling",
            text,
            improves(differences.get(name, none), beaten.get(name, set())),
        )
        for name, text in PROTOCOLS.items()
    ]
    rows += [
        (
            "as good as global pooling",
            text,
            is_same(differences.get(name, none), entries.get(name, ())),
        )
        for name, text in DIGITS.items()
    ]
    shown = pd.DataFrame([_row(*row) for row in rows])
    return Table("claims", [NOTE], shown)


def _row(claim: str, tested_on: str, finding: Finding) -> dict[str, str]:
    against = {f"against `{pool}`": finding.against.get(pool, "—") for pool in SHOWN}
    seeds = str(finding.seeds) if finding.seeds else "—"
    named = {"GIGP is": claim, "tested on": tested_on, "seeds": seeds}
    return (
        named | against | {"smallest effect": finding.smallest or "—", "verdict": finding.verdict}
    )


def _told(verdict: str, seeds: int) -> str:
    """The verdict, if there are enough seeds for one."""
    return verdict if seeds >= SEEDS else TOO_COARSE


def expresses(orbits: Sequence[TableRow]) -> Finding:
    """Functions of the orbits (`dataset=orbits`), beside the lowest error that any function of the
    sum over all points can have.
    """
    by_label = {entry.label: entry for entry in orbits}
    target = "orbit_sums"
    spreads = {label: entry.summarize(target) for label, entry in by_label.items()}
    ours, mean = spreads["gigp"], spreads["mean"]
    if ours.num < 2 or mean.num < 2:
        return NO_EVIDENCE
    runs = by_label["gigp"].runs[target].values()
    limit = next(iter(runs)).data["limit"]["mean and sum"]
    against = {
        pool: f"{'won' if ours.mean < spreads[pool].mean else 'lost'}: {ours} / {spreads[pool]}"
        for pool in SHOWN
        if pool in spreads and spreads[pool].num
    }
    seeds = min(ours.num, mean.num)
    if ours.mean >= limit:
        return Finding(seeds, against, f"limit {limit:.3g}", _told(NOT_SEEN, seeds))
    radial = [
        spreads[label] for label in ("radial_deepsets", "radial_deepsets_rho") if label in spreads
    ]
    as_good = any(control.num and control.mean < limit for control in radial)
    return Finding(seeds, against, f"limit {limit:.3g}", _told(CAVEAT if as_good else HOLDS, seeds))


def improves(numbers: pd.DataFrame, beaten: set[str]) -> Finding:
    """One protocol on QM9.

    Args:
        numbers: differences of pools.
        beaten: targets on which GIGP beats all baselines by least squares; others tell nothing.
    """
    if numbers.empty:
        return NO_EVIDENCE
    ours = numbers[
        (numbers["pool"] == "gigp") & numbers["target"].isin(beaten.intersection(PRIMARY))
    ]
    against = {pool: group for pool, group in ours.groupby("minus", sort=False)}
    mean = against.get("mean")
    if mean is None or mean["seeds"].min() < 2:
        return NO_EVIDENCE
    seeds, better = int(mean["seeds"].min()), significant(mean, "lower")
    smallest = float(mean["detectable percent"].max())
    shown = {pool: _counts(against[pool]) for pool in SHOWN if pool in against}
    if better:
        controls = [
            significant(against[pool], "lower") for pool in WITHOUT_ORBITS if pool in against
        ]
        over_all = better.intersection(*controls) if controls else set()
        verdict = HOLDS if 2 * len(over_all) > len(mean) else CAVEAT
    else:
        open_ones = mean[~mean["target"].isin(significant(mean, "higher"))]
        fine = (open_ones["detectable percent"] <= MARGIN["regression"]).all()
        verdict = NOT_SEEN if fine else TOO_COARSE
    return Finding(seeds, shown, f"{smallest:.1f}%", _told(verdict, seeds))


def significant(numbers: pd.DataFrame, verdict: str) -> set[str]:
    """Targets with a lower, or higher, error after the correction for their number."""
    significant = (numbers["verdict"] == verdict) & (numbers["p corrected"] < 0.05)
    return set(numbers.loc[significant, "target"])


def _counts(numbers: pd.DataFrame) -> str:
    """Won / lost / undecided."""
    won, lost = (len(significant(numbers, verdict)) for verdict in ("lower", "higher"))
    return f"{won} / {lost} / {len(numbers) - won - lost}"


def is_same(numbers: pd.DataFrame, entries: Sequence[TableRow]) -> Finding:
    """One protocol on digits.

    Args:
        numbers: differences of pools.
        entries: rows of the table.
    """
    if numbers.empty:
        return NO_EVIDENCE
    ours = numbers[numbers["pool"] == "gigp"].drop_duplicates("minus").set_index("minus")
    if "mean" not in ours.index or ours.loc["mean", "seeds"] < 2:
        return NO_EVIDENCE
    mean, seeds = ours.loc["mean"], int(ours.loc["mean", "seeds"])
    against = {
        pool: f"{ours.loc[pool, 'difference']:+.2g} points "
        f"[{ours.loc[pool, 'low']:+.2g}, {ours.loc[pool, 'high']:+.2g}]"
        for pool in SHOWN
        if pool in ours.index
    }
    smallest = max(mean["detectable percent"], repetition(entries))
    if mean["verdict"] == "unresolved":
        verdict = HOLDS if smallest <= MARGIN["classification"] else TOO_COARSE
    else:
        verdict = NOT_SEEN if mean["verdict"] == "higher" else CAVEAT
    return Finding(seeds, against, f"{smallest:.0f}%", _told(verdict, seeds))


def repetition(entries: Sequence[TableRow]) -> float:
    """How far a repetition of a training lies from it, in percent of the error: the largest
    difference between mean pooling and the scaled sum for the same seed; 0 where no seed has both.

    All images have the same number of points, so the two are one function, and their networks
    differ only because training amplifies rounding.
    """
    runs = {entry.label: entry.runs.get("error", {}) for entry in entries}
    first, second = runs.get("mean", {}), runs.get("scaled_sum", {})
    errors = [
        (first[seed].metrics["error"].test, second[seed].metrics["error"].test)
        for seed in first.keys() & second.keys()
    ]
    return max((200 * abs(a - b) / (a + b) for a, b in errors), default=0.0)
