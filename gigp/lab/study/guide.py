"""Which pool to take: what each does to the error of mean pooling, by kind of target, by amount of
data and by size of molecules, and what it costs.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from gigp.lab.study.statistics import Interval, paired_interval
from gigp.lab.study.tables.results import TableRow
from gigp.lab.study.tables.table import Table

KINDS = {
    "localized: homo, lumo, gap": ("homo", "lumo", "gap"),
    "extensive: alpha, zpve, U0, Cv": ("alpha", "zpve", "U0", "Cv"),
    "vector-like: mu": ("mu",),
    "radial: r2": ("r2",),
}
STUDIES = {  # tables to learn from, the best evidence first
    "qm9_e3_features": "E(3), features of a frozen network",
    "qm9_features": "T(3), features of a frozen network",
}
FEWEST = 3  # seeds of a table that is shown
POSITIONS = (  # pools that see where points are
    *("gigp", "gigp_shuffled", "gigp_released"),
    *("radial_deepsets", "radial_deepsets_rho", "moments"),
)
TRAIN_SIZE = "dataset.train_size="
NOTE = (
    "Change of the mean absolute test error against mean pooling in percent, the mean over the "
    "targets of a kind, with its 95% interval by Student's t over {seeds} seeds; lower is better. "
    "Cost: milliseconds to train pool and head on 1,000 molecules whose features are there, on one "
    "or two cores that had other work, too; a rough figure."
)

Rows = Mapping[str, Sequence[TableRow]]


def change(entry: TableRow, base: TableRow, targets: Sequence[str]) -> Interval | None:
    """Change of the error against another row in percent, paired over seeds; None where they have
    no seed in common.

    Args:
        entry, base: the two rows.
        targets: the mean over these is taken for each seed.
    """
    runs = [(entry.runs.get(t, {}), base.runs.get(t, {})) for t in targets]
    seeds = sorted(set.intersection(*(a.keys() & b.keys() for a, b in runs)))
    if not seeds:
        return None
    ratios = [
        [a[seed].metrics[t].test / b[seed].metrics[t].test for seed in seeds]
        for t, (a, b) in zip(targets, runs, strict=True)
    ]
    by_seed = 100 * (np.mean(ratios, axis=0) - 1)
    return paired_interval(by_seed, np.zeros_like(by_seed))


def show(interval: Interval | None) -> str:
    """A change to read."""
    if interval is None:
        return "—"
    mean, low, high = map(_percent, (interval.mean, interval.low, interval.high))
    return f"{mean}, one seed" if np.isnan(interval.low) else f"{mean} [{low}, {high}]"


def _percent(value: float) -> str:
    """With the digits that tell it from 0."""
    digits = 1 if abs(value) >= 0.05 else 2
    return f"{value:+.{digits}f}" if abs(value) >= 0.005 else "0.0"


def cost(entry: TableRow) -> float | None:
    """Milliseconds of training for 1,000 samples, the median over runs on CPUs."""
    runs = {id(r): r for by_seed in entry.runs.values() for r in by_seed.values()}.values()
    rates = [run.samples_per_second for run in runs if not run.device.startswith("NVIDIA")]
    return 1e6 / median(rates) if rates else None


def find_study(rows: Rows) -> str:
    """The table to learn from: the first that has mean pooling and GIGP with enough seeds; else the
    last.
    """
    for name in STUDIES:
        by_label = {entry.label: entry for entry in rows.get(name, ())}
        both = [by_label.get(label) for label in ("mean", "gigp")]
        if all(entry and entry.summarize("homo").num >= FEWEST for entry in both):
            return name
    return name


def by_kind(entries: Sequence[TableRow]) -> Table:
    """Every pool against mean pooling, a column for each kind of target."""
    by_label = {entry.label: entry for entry in entries if ", " not in entry.label}
    mean, shown = by_label["mean"], []
    for label, entry in sorted(by_label.items(), key=lambda item: item[0] != "mean"):
        cells = {
            kind: "0" if entry is mean else show(change(entry, mean, of))
            for kind, of in KINDS.items()
        }
        price = cost(entry)
        shown.append(
            {"pool": f"`{label}`"} | cells | {"cost, ms": f"{price:.0f}" if price else "—"}
        )
    seeds = mean.summarize("homo").num
    return Table("by_kind", [NOTE.format(seeds=seeds)], pd.DataFrame(shown))


def best_pools(entries: Sequence[TableRow]) -> Table:
    """For each kind of target the pool with the lowest error, and GIGP; both against mean pooling,
    and against the best pool that does not see where points are.
    """
    by_label = {e.label: e for e in entries if ", " not in e.label and e.label != "backbone before"}
    mean, ours, shown = by_label["mean"], by_label["gigp"], []
    for kind, targets in KINDS.items():
        changes = {label: change(entry, mean, targets) for label, entry in by_label.items()}
        known = {label: interval.mean for label, interval in changes.items() if interval}
        best = min(known, key=known.__getitem__)
        blind = min(known.keys() - {*POSITIONS}, key=known.__getitem__)
        shown.append(
            {
                "what you predict": kind,
                "lowest error": f"`{best}`",
                "against `mean`, %": show(changes[best]),
                "`gigp` against `mean`, %": show(changes["gigp"]),
                "best without positions": f"`{blind}`",
                "lowest against it, %": "the same pool"
                if best == blind
                else show(change(by_label[best], by_label[blind], targets)),
                "`gigp` against it, %": show(change(ours, by_label[blind], targets)),
            }
        )
    return Table("best_pools", [], pd.DataFrame(shown))


def by_amount(entries: Sequence[TableRow]) -> Table:
    """GIGP and other pools against mean pooling, by number of training molecules.

    Args:
        entries: rows of a table, of which some have fewer molecules.
    """
    sizes: dict[int, dict[str, TableRow]] = {}
    for entry in entries:
        pool, _, settings = entry.label.partition(", ")
        if settings.startswith(TRAIN_SIZE) and "," not in settings and entry.runs:
            size = int(settings.removeprefix(TRAIN_SIZE))
            sizes.setdefault(size, {})[pool] = entry
    pools = {pool for by_pool in sizes.values() for pool in by_pool}
    for entry in entries:
        if entry.label in pools and entry.runs:
            first = next(iter(next(iter(entry.runs.values())).values()))
            sizes.setdefault(first.data["sizes"]["train"], {})[entry.label] = entry
    shown = [
        {"molecules": f"{size:,}", "pool": f"`{pool}`"}
        | {kind: show(change(entry, pools["mean"], of)) for kind, of in KINDS.items()}
        for size, pools in sorted(sizes.items())
        for pool, entry in pools.items()
        if pool != "mean" and "mean" in pools
    ]
    return Table("by_amount", [], pd.DataFrame(shown))


def make_guide(rows: Rows) -> dict[str, Any]:
    """What the template of docs/which_readout.md takes.

    Args:
        rows: rows of the tables by name.
    """
    name = find_study(rows)
    entries = [entry for entry in rows.get(name, ()) if entry.runs]
    labels = {entry.label for entry in entries}
    known = {"mean", "gigp"} <= labels
    fewer = any(TRAIN_SIZE in label for label in labels)
    seeds = min(
        (e.summarize("homo").num for e in entries if e.label in ("mean", "gigp")), default=0
    )
    return {
        "study": STUDIES[name],
        "seeds": seeds,
        "best": best_pools(entries) if known else None,
        "kinds": by_kind(entries) if known else None,
        "amount": by_amount(entries if fewer else rows.get("qm9_ablation", ())),
        "amount_study": STUDIES[name] if fewer else STUDIES["qm9_features"],
        "size": by_size(rows.get("qm9_e3_size", ())),
    }


def by_size(entries: Sequence[TableRow]) -> Table:
    """Pools against mean pooling on molecules larger than those of training."""
    by_label = {entry.label: entry for entry in entries if entry.runs}
    mean = by_label.pop("mean", None)
    shown = [
        {"pool": f"`{label}`"} | {kind: show(change(entry, mean, of)) for kind, of in KINDS.items()}
        for label, entry in by_label.items()
        if mean is not None
    ]
    return Table("by_size", [], pd.DataFrame(shown))
