"""GIGP against every other pool, paired over seeds and test samples."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gigp.lab.study.experiments import target_rank
from gigp.lab.study.records import Key, Samples
from gigp.lab.study.statistics import Interval, holm, paired_interval, share_of_samples
from gigp.lab.study.tables.results import TableRow
from gigp.lab.study.tables.table import Table

OURS = "gigp"
CONTROL = "r2"  # a function of radii, declared as a positive control: not among the tested targets
NOTE = (
    "Error of the first pool minus that of the second on the same test samples, paired over seeds: "
    "mean, and 95% interval by Student's t over seeds. p is exact and corrected by Holm's method "
    "for the tested targets of a pair; r2, a positive control, is none of them. `lower`: the first "
    "pool is better. `unresolved`: the interval holds 0, or there is one seed, which has no "
    "interval. In the CSV, `detectable` is the smallest effect that would have been seen with a "
    "power of 80%, and `of samples` half the interval that the choice of the test samples alone "
    "makes for the first seed, from the rounded errors of every fourth."
)
CHANGES_NOTE = (
    "Error minus that of `gigp` in percent of it, paired over seeds; * where the "
    "95% interval over seeds does not hold 0. One seed has no interval."
)
COLUMNS = [
    *("pool", "minus", "target", "unit", "difference", "percent", "low", "high"),
    *("detectable", "detectable percent", "of samples", "p", "p corrected", "verdict"),
    *("seeds", "samples", "by seed"),
]


def is_ours(label: str) -> bool:
    """Whether a label is GIGP or one of its variants."""
    return label.partition(",")[0] == OURS


def pair_rows(entries: Sequence[TableRow]) -> list[tuple[TableRow, TableRow]]:
    """GIGP and its variants against every other pool, and the variants against plain GIGP; each
    against those on the same data.
    """
    ours = [entry for entry in entries if is_ours(entry.label)]
    plain = [entry for entry in ours if entry.label == OURS]
    others = [entry for entry in entries if not is_ours(entry.label)]
    against_others = [(one, other) for one in ours for other in others]
    variants = [(one, base) for base in plain for one in ours if one is not base]
    return [
        (one, other)
        for one, other in against_others + variants
        if data_settings(one.label) == data_settings(other.label)
    ]


def data_settings(label: str) -> set[str]:
    """The settings of a row that change its data, such as `dataset.train_size=3000`."""
    return {option for option in label.split(", ") if option.startswith("dataset.")}


def sample_losses(samples: Samples, targets: Sequence[str]) -> dict[str, np.ndarray]:
    """Absolute error of every test sample by target; for classes 100 where it is wrong, else 0.

    Args:
        samples: results of the test samples of one run.
        targets: targets in the order of its metrics, where the samples do not name theirs.
    """
    if "error" in samples:
        errors = np.abs(samples["error"].astype(np.float64))
        return {str(t): errors[:, i] for i, t in enumerate(samples.get("targets", targets))}
    return {targets[0]: 100.0 * (samples["predicted"] != samples["label"])}


def differences(
    entries: Sequence[TableRow],
    samples: Mapping[Key, Samples],
    headline: Sequence[str],
    pairs: Sequence[tuple[TableRow, TableRow]] | None = None,
) -> pd.DataFrame:
    """All pairs in numbers.

    Args:
        entries: rows of a table.
        samples: results of some of the test samples, the same for all, by run, where kept.
        headline: targets whose p values, but for that of `CONTROL`, are corrected for their number.
        pairs: rows to compare; None: see `pair_rows`.
    """
    losses = {
        key: sample_losses(samples[key], list(record.metrics))
        for entry in entries
        for runs in entry.runs.values()
        for record in runs.values()
        if (key := (record.name, record.seed)) in samples
    }
    rows = []
    for one, other in pair_rows(entries) if pairs is None else pairs:
        for target in sorted(one.runs, key=target_rank):
            seeds = _common_seeds(one, other, target)
            if not seeds:
                continue
            # from the records: of single samples, not all are kept, and rounded
            first, second = (
                np.array([entry.runs[target][seed].metrics[target].test for seed in seeds])
                for entry in (one, other)
            )
            rows.append(
                {
                    "pool": one.label,
                    "minus": other.label,
                    "target": target,
                    "unit": one.runs[target][seeds[0]].metrics[target].unit,
                    **_columns(paired_interval(first, second), float(second.mean())),
                    "of samples": _of_samples(one, other, target, seeds[0], losses),
                    "samples": _split(one, target, seeds[0])[1],
                    "by seed": " ".join(f"{d:+.4g}" for d in first - second),
                }
            )
    frame = pd.DataFrame(rows, columns=COLUMNS)
    tested = frame["target"].isin(headline) & (frame["target"] != CONTROL) & (frame["seeds"] > 1)
    for _, group in frame[tested].groupby(["pool", "minus"]):
        frame.loc[group.index, "p corrected"] = holm(group["p"].tolist())
    return frame


def _key(entry: TableRow, target: str, seed: int) -> Key:
    record = entry.runs[target][seed]
    return record.name, record.seed


def _common_seeds(one: TableRow, other: TableRow, target: str) -> list[int]:
    """Seeds that both rows have on a target, with the same test samples."""
    common = one.runs[target].keys() & other.runs.get(target, {}).keys()
    return [s for s in sorted(common) if _split(one, target, s) == _split(other, target, s)]


def _of_samples(
    one: TableRow,
    other: TableRow,
    target: str,
    seed: int,
    losses: Mapping[Key, dict[str, np.ndarray]],
) -> float:
    """Share of the test samples, for one seed; NaN where its errors are not kept."""
    first, second = (losses.get(_key(row, target, seed), {}).get(target) for row in (one, other))
    if first is None or second is None:
        return np.nan
    return share_of_samples(first - second, _split(one, target, seed)[1])


def _split(entry: TableRow, target: str, seed: int) -> tuple[str, int]:
    """The identity of the test samples of a run."""
    data = entry.runs[target][seed].data
    return str(data["split"]), int(data["sizes"]["test"])


def _columns(interval: Interval, scale: float) -> dict:
    return {
        "difference": interval.mean,
        "percent": 100 * interval.mean / scale if scale else np.nan,
        "low": interval.low,
        "high": interval.high,
        "detectable": interval.detectable,
        "detectable percent": 100 * interval.detectable / scale if scale else np.nan,
        "p": interval.p,
        "p corrected": np.nan,
        "verdict": interval.verdict,
        "seeds": interval.seeds,
    }


def differences_table(name: str, numbers: pd.DataFrame, headline: Sequence[str]) -> Table:
    """The differences on the headline's targets, to read."""
    mine = numbers[numbers["target"].isin(headline)]
    rows = []
    for (pool, minus), group in mine.groupby(["pool", "minus"], sort=False):
        row = {"pool": f"`{pool}`", "minus": f"`{minus}`"}
        for cell in group.to_dict("records"):
            row[f"{cell['target']}, {cell['unit']}"] = format_difference(cell)
        rows.append(row)
    shown = pd.DataFrame(rows).fillna("—")
    return Table(f"{name}_differences", [NOTE], shown, numbers)


def changes_table(name: str, numbers: pd.DataFrame, headline: Sequence[str]) -> Table:
    """The variants of GIGP against plain GIGP, in percent of its error, to read."""
    mine = numbers[(numbers["minus"] == OURS) & numbers["target"].isin(headline)]
    rows: dict[str, dict[str, str]] = {}
    for cell in mine.to_dict("records"):
        mark = "" if cell["verdict"] == "unresolved" else " *"
        row = rows.setdefault(cell["pool"], {"pool": f"`{cell['pool']}`"})
        row[f"{cell['target']}, %"] = f"{cell['percent']:+.1f}{mark}"
    return Table(f"{name}_changes", [CHANGES_NOTE], pd.DataFrame(rows.values()), mine)


def format_difference(cell: Mapping) -> str:
    """One difference to read."""
    if np.isnan(cell["low"]):
        return f"{cell['difference']:+.3g}, one seed"
    p = f", p {cell['p corrected']:.2g}" if not np.isnan(cell["p corrected"]) else ""
    interval = f"[{cell['low']:+.3g}, {cell['high']:+.3g}]"
    return f"{cell['difference']:+.3g} {interval}{p}, {cell['verdict']}"
