"""Test results by pool and target: mean and spread over the seeds, baselines first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gigp.lab.data.targets import TARGETS
from gigp.lab.molecules.baselines import NAMES
from gigp.lab.runs.record import Record
from gigp.lab.study.experiments import Experiment, target_rank
from gigp.lab.study.statistics import Spread, spread
from gigp.lab.study.tables.table import Table

NOT_ASKED = "—"  # no experiment asks for it
NO_SAY = " †"
Baselines = Mapping[str, Mapping[str, float]]  # mean absolute error by baseline and target


@dataclass(frozen=True)
class TableRow:
    """The runs of one row of a table.

    Attributes:
        experiment: its name.
        label: pool with its settings.
        tuned: settings that validation chose.
        runs: records by seed.
        expected: seeds that the experiment asks for, by target.
        at_edge: validation chose the first or the last of the numbers that were tried, so that a
            better one may lie outside.
        untried: settings that it could not choose, as the first seed has not run with them.
    """

    experiment: str
    label: str
    tuned: tuple[str, ...]
    runs: dict[str, dict[int, Record]]
    expected: dict[str, int]
    at_edge: bool = False
    untried: tuple[str, ...] = ()

    def summarize(self, target: str) -> Spread:
        """Mean and spread of the test results on a target."""
        runs = self.runs.get(target, {})
        values = [record.metrics[target].test for record in runs.values()]
        missing = max(0, self.expected.get(target, 0) - len(values))
        return spread([*values, *[np.nan] * missing])


def make_rows(experiment: Experiment, records: Iterable[Record]) -> list[TableRow]:
    """The rows of an experiment in the order of its sweeps; then those of other settings.

    Of the settings in `study.select_by_validation`, a row has those with the lowest validation loss
    of its first seed, as `gigp.lab.study.plan` runs them.
    """
    filled: dict[str, dict[tuple[str, ...], list[Record]]] = {}
    expected: dict[str, dict[str, set[int]]] = {}
    for cell in experiment.cells():
        filled.setdefault(cell.label, {}).setdefault(cell.tuned, [])
        expected.setdefault(cell.label, {}).setdefault(cell.target, set()).add(cell.seed)
    for record in records:
        cell = experiment.find_cell(record)
        filled.setdefault(cell.label, {}).setdefault(cell.tuned, []).append(record)
    rows = []
    for label, by_tuned in filled.items():
        first = min((r.seed for records in by_tuned.values() for r in records), default=0)
        losses = {tuned: _loss(records, first) for tuned, records in by_tuned.items()}
        tuned = min(losses, key=lambda t: losses[t])
        runs: dict[str, dict[int, Record]] = {}
        for record in by_tuned[tuned]:
            for target in record.metrics:
                runs.setdefault(target, {})[record.seed] = record
        asked = expected.get(label, {})
        counts = {target: len(asked.get(target, asked.get("", ()))) for target in runs}
        counts |= {target: len(seeds) for target, seeds in asked.items() if target}
        tried = [t for t in losses if np.isfinite(losses[t])]
        edge = len(losses) > 1 and _at_edge(tuned, tried)
        untried = tuple(" ".join(t) for t in losses if t not in tried)
        rows.append(TableRow(experiment.name, label, tuned, runs, counts, edge, untried))
    return rows


def _at_edge(chosen: tuple[str, ...], tried: Sequence[tuple[str, ...]]) -> bool:
    """Whether a setting is the smallest or the largest of those that were tried."""
    if not tried or any(len(settings) != 1 for settings in tried):
        return False
    values = {settings: float(settings[0].partition("=")[2]) for settings in tried}
    return values[chosen] in (min(values.values()), max(values.values()))


def _loss(records: Iterable[Record], seed: int) -> float:
    """Validation loss of the runs of a seed; infinite without such runs."""
    losses = [record.val_loss for record in records if record.seed == seed]
    return float(np.mean(losses)) if losses else np.inf


def results_numbers(entries: Sequence[TableRow]) -> pd.DataFrame:
    """A row for each pool and target, in numbers."""
    rows = []
    for entry in entries:
        for target, runs in entry.runs.items():
            first = next(iter(runs.values()))
            metric, cell = first.metrics[target], entry.summarize(target)
            minutes = [r.cpu_minutes for r in runs.values() if r.cpu_minutes is not None]
            rows.append(
                {
                    "experiment": entry.experiment,
                    "pool": entry.label,
                    "tuned": " ".join(entry.tuned),
                    "target": target,
                    "unit": metric.unit,
                    "kind": metric.kind,
                    "mean": cell.mean,
                    "std": cell.std,
                    "averaged": _mean([r.metrics[target].averaged for r in runs.values()]),
                    "spread": _mean([r.metrics[target].spread for r in runs.values()]),
                    "seeds": cell.num,
                    "asked for": cell.expected,
                    "train size": first.data["sizes"]["train"],
                    "test size": first.data["sizes"]["test"],
                    "epochs": first.epochs,
                    "split": first.data["split_hash"],
                    "cpu minutes": float(np.mean(minutes)) if minutes else np.nan,
                    "limit of sums": first.data.get("limit", {}).get("mean and sum", np.nan),
                }
            )
    columns = ["experiment", "pool", "tuned", "target", "unit", "kind", "mean", "std"]
    columns += [
        "averaged",
        "spread",
        "seeds",
        "asked for",
        "train size",
        "test size",
        "epochs",
        "split",
        "cpu minutes",
    ]
    return pd.DataFrame(rows, columns=[*columns, "limit of sums"])


def _mean(values: Sequence[float | None]) -> float:
    """The mean of what was computed; NaN where nothing was."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else np.nan


def baseline_numbers(baselines: Baselines, numbers: pd.DataFrame) -> pd.DataFrame:
    """The baselines as rows of the same form, for the targets of a table."""
    known = numbers.drop_duplicates("target").set_index("target")
    rows = [
        {"experiment": "baseline", "pool": NAMES[name], "target": target, "mean": errors[target]}
        | known.loc[target, ["unit", "kind", "test size", "split"]].to_dict()
        for name, errors in baselines.items()
        for target in known.index
        if target in errors
    ]
    return pd.DataFrame(rows)


def results_table(
    name: str,
    title: str,
    entries: Sequence[TableRow],
    baselines: Baselines,
    context: Sequence[TableRow] = (),
    targets: Sequence[str] = (),
) -> Table:
    """Results by pool and target.

    Args:
        name: name of the table.
        title: title of the table.
        entries: its rows; `mean`, which the others are compared with, stands first.
        baselines: first rows of the table; a cell that does not beat the best of them is marked.
        context: rows after them, such as the network that the others start from.
        targets: columns to show; all where none are named.
    """
    numbers = results_numbers([*context, *entries])
    units = dict(zip(numbers["target"], numbers["unit"], strict=True))
    if not units:  # no runs yet
        known = {target for errors in baselines.values() for target in errors}
        units = {target: TARGETS[target].unit for target in targets or known}
    columns = sorted(set(targets) & units.keys() if targets else units, key=target_rank)
    best = {t: min((e[t] for e in baselines.values() if t in e), default=np.inf) for t in columns}
    rows = [
        {"pool": NAMES[key]}
        | {f"{t}, {units[t]}": f"{errors[t]:.4g}" for t in columns if t in errors}
        for key, errors in baselines.items()
        if columns
    ]
    limits = numbers.groupby("target")["limit of sums"].max().dropna()
    if len(limits):
        rows.append(
            {"pool": "lowest error that functions of the sum can have"}
            | {f"{t}, {units[t]}": f"{limits[t]:.4g}" for t in columns if t in limits}
        )
    every = [*context, *sorted(entries, key=lambda entry: entry.label != "mean")]
    for entry in every if numbers.empty else filter(lambda entry: entry.runs, every):
        rows.append(entry_row(entry, {t: units[t] for t in columns}, best))
    shown = pd.DataFrame(rows).fillna(NOT_ASKED)
    notes = [f"{title} {describe(numbers)}".strip()]
    missing = [f"`{entry.label}`" for entry in every if not entry.runs]
    if missing and not numbers.empty:
        notes.append(f"Not run yet: {'; '.join(missing)}.")
    edge = [f"`{e.label}` ({' '.join(e.tuned)})" for e in entries if e.runs and e.at_edge]
    if edge:
        notes.append(
            f"At the edge of what was tried, so better may lie outside: {'; '.join(edge)}."
        )
    if baselines and columns:
        notes.append(
            f"{NO_SAY.strip()} does not beat the best least-squares fit, so pools cannot be "
            "compared on this target."
        )
        numbers = pd.concat([baseline_numbers(baselines, numbers), numbers], ignore_index=True)
    return Table(name, notes, shown, numbers)


def entry_row(
    entry: TableRow, units: Mapping[str, str], best: Mapping[str, float]
) -> dict[str, str]:
    """A row of `results_table`.

    Args:
        entry: its runs.
        units: units of the targets to show.
        best: for each target the lowest error of the baselines.
    """
    cells = {target: entry.summarize(target) for target in units}
    seeds = {cell.seeds for cell in cells.values() if cell.num}
    alike = seeds.pop() if len(seeds) == 1 else ""  # named once if it is the same for all cells
    row = {"pool": f"`{entry.label}`{alike}"}
    for target, cell in cells.items():
        mark = NO_SAY if cell.num and cell.mean >= best[target] else ""
        asked = target in entry.runs or entry.expected.get(target) or not entry.runs
        text = str(cell).removesuffix(alike)
        row[f"{target}, {units[target]}"] = f"{text}{mark}" if asked else NOT_ASKED
    return row


def describe(numbers: pd.DataFrame) -> str:
    """The common settings of the rows of a table, in a sentence."""
    if numbers.empty:
        return "No runs yet."
    error = "Error rate" if set(numbers["kind"]) == {"classification"} else "Mean absolute error"
    ranges = [_range(numbers[key]) for key in ("train size", "epochs", "test size", "seeds")]
    train, epochs, test, seeds = ranges
    over = "one seed" if seeds == "1" else f"mean ± standard deviation over {seeds} seeds"
    return (
        f"{error} on {test} test samples, {over}; lower is "
        f"better. Trained on {train} samples for {epochs} epochs."
    )


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
