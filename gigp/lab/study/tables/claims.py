"""The paper's three claims, with the evidence and a verdict for each."""

from collections.abc import Mapping, Sequence

import pandas as pd

from gigp.lab.study.tables.results import TableRow
from gigp.lab.study.tables.table import Table

HOLDS, CAVEAT, NOT_SEEN, TOO_COARSE, OPEN = (
    "holds",
    "holds with a caveat",
    "not seen",
    "cannot be told",
    "not decided yet",
)
MARGIN = 10  # percent of an error: where no smaller difference would be seen, none says nothing
PRIMARY = ("homo", "mu", "alpha", "U0")
WITHOUT_ORBITS = ("one_orbit", "mean_mlp", "point_mlp")  # GIGP's MLP, but no orbits
PROTOCOLS = {
    "qm9_outputs": "QM9, the paper's protocol: pools on the outputs of a frozen network",
    "qm9_features": "QM9, pool and head on the features of a frozen network",
    "qm9_scratch": "QM9, everything trained from scratch",
}
DIGITS = {
    "rotmnist_scratch": "rotated MNIST, everything trained from scratch",
    "rotmnist_features": "rotated MNIST, pool and head on the features of a frozen network",
}
NO_EVIDENCE = "no runs with several seeds yet"


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
    found = expresses(entries["orbits"])
    rows = [("GIGP expresses invariant functions that global pooling cannot", *found)]
    for table, protocol in PROTOCOLS.items():
        found = improves(differences.get(table, none), beaten.get(table, set()))
        rows.append((f"GIGP improves on global pooling. {protocol}", *found))
    for table, protocol in DIGITS.items():
        found = is_same(differences.get(table, none), entries.get(table, ()))
        rows.append((f"GIGP is as good. {protocol}", *found))
    return Table("claims", [], pd.DataFrame(rows, columns=["claim", "evidence", "verdict"]))


def expresses(orbits: Sequence[TableRow]) -> tuple[str, str]:
    """Evidence and verdict on functions of the orbits (`dataset=orbits`)."""
    by_label = {entry.label: entry for entry in orbits}
    target = "orbit_sums"
    ours, mean = (by_label[label].summarize(target) for label in ("gigp", "mean"))
    radial = [
        by_label[label].summarize(target)
        for label in ("radial_deepsets", "radial_deepsets_rho")
        if label in by_label
    ]
    if ours.num < 2 or mean.num < 2:
        return NO_EVIDENCE, OPEN
    runs = by_label["gigp"].runs[target].values()
    limit = next(iter(runs)).data["limit"]["mean and sum"]
    evidence = (
        f"error on a function of sums over orbits: {ours} with GIGP, {mean} with mean pooling; no "
        f"function of the sum over all points gets below {limit:.3g}."
    )
    if ours.mean >= limit:
        return evidence, NOT_SEEN
    as_good = [control for control in radial if control.num and control.mean < limit]
    if as_good:
        best = min(as_good, key=lambda control: control.mean)
        return (
            f"{evidence} An MLP on every point with its radius as input, which has no orbits, also "
            f"gets below that: {best}.",
            CAVEAT,
        )
    return evidence, HOLDS


def improves(numbers: pd.DataFrame, beaten: set[str]) -> tuple[str, str]:
    """Evidence and verdict of one protocol on QM9."""
    if numbers.empty:
        return NO_EVIDENCE, OPEN
    ours = numbers[(numbers["pool"] == "gigp") & numbers["target"].isin(PRIMARY)]
    mean = ours[ours["minus"] == "mean"]
    if mean.empty or mean["seeds"].min() < 2:
        return NO_EVIDENCE, OPEN
    telling = mean[mean["target"].isin(beaten)]
    if telling.empty:
        return "on no primary target does GIGP beat a fit on atom counts", OPEN
    better, targets = _significant(telling, "lower"), telling["target"].tolist()
    few = "all" if len(better) == len(targets) else _names(better)
    evidence = f"lower error than mean pooling on {few} of {_names(targets)}"
    if worse := _significant(telling, "higher"):
        evidence += f", higher on {_names(worse)}"
    changes = [f"{t} {p:+.1f}%" for t, p in zip(targets, telling["percent"], strict=True)]
    seeds = int(telling["seeds"].min())
    evidence += f" after Holm's correction, with {seeds} seeds ({', '.join(changes)})"
    if not better:
        return evidence, NOT_SEEN
    controls = ours[ours["minus"].isin(WITHOUT_ORBITS) & ours["target"].isin(better)]
    most: dict[str, list[str]] = {}
    for name, group in controls.groupby("minus", sort=False):
        most[name] = _significant(group, "lower")
        evidence += f"; than {name} on {_names(most[name])}"
        if lost := _significant(group, "higher"):
            evidence += f", higher on {_names(lost)}"
    over_all = set(better).intersection(*most.values()) if most else set()
    majority = len(over_all) * 2 > len(telling)
    return evidence, HOLDS if majority else CAVEAT


def _significant(numbers: pd.DataFrame, verdict: str) -> list[str]:
    """Targets with a lower, or higher, error after the correction for their number."""
    found = (numbers["verdict"] == verdict) & (numbers["p corrected"] < 0.05)
    return numbers.loc[found, "target"].tolist()


def _names(targets: Sequence[str]) -> str:
    return ", ".join(targets) if len(targets) else "none"


def is_same(numbers: pd.DataFrame, entries: Sequence[TableRow]) -> tuple[str, str]:
    """Evidence and verdict of one protocol on digits.

    Args:
        numbers: differences of pools.
        entries: rows of the table.
    """
    if numbers.empty:
        return NO_EVIDENCE, OPEN
    mean = numbers[(numbers["pool"] == "gigp") & (numbers["minus"] == "mean")]
    if mean.empty or mean["seeds"].min() < 2:
        return NO_EVIDENCE, OPEN
    cell = mean.iloc[0]
    evidence = (
        f"error rate {cell['difference']:+.2g} points against mean pooling, interval "
        f"[{cell['low']:+.2g}, {cell['high']:+.2g}]; a difference of {cell['detectable']:.2g}, "
        f"{cell['detectable percent']:.0f}% of the error, would have been seen. McNemar p by seed: "
        f"{cell['McNemar p by seed']}."
    )
    if cell["verdict"] != "unresolved":
        return evidence, NOT_SEEN if cell["verdict"] == "higher" else CAVEAT
    points, percent = repetition(entries)
    if percent > MARGIN:
        evidence += (
            " But mean pooling and the scaled sum, which on images differ by rounding alone, are "
            f"{points:.2g} points apart for the same seed, {percent:.0f}% of the error: a training "
            "that is repeated differs more than the interval allows."
        )
    fine = max(percent, cell["detectable percent"]) <= MARGIN
    return f"no difference seen: {evidence}", HOLDS if fine else TOO_COARSE


def repetition(entries: Sequence[TableRow]) -> tuple[float, float]:
    """How far a repetition of a training lies from it: the largest difference between mean pooling
    and the scaled sum for the same seed, in points and in percent of the error; 0 where no seed has
    both.

    All images have the same number of points, so the two are one function, and their networks
    differ by what training makes of rounding.
    """
    runs = {entry.label: entry.runs.get("error", {}) for entry in entries}
    first, second = runs.get("mean", {}), runs.get("scaled_sum", {})
    errors = [
        (first[seed].metrics["error"].test, second[seed].metrics["error"].test)
        for seed in first.keys() & second.keys()
    ]
    return max(((abs(a - b), 200 * abs(a - b) / (a + b)) for a, b in errors), default=(0.0, 0.0))
