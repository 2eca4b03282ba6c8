"""Evidence as runs of the experiments would leave it, with results that the caller decides."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from gigp.lab.data.targets import TARGETS
from gigp.lab.runs.name import further_overrides
from gigp.lab.runs.record import Metric, Record
from gigp.lab.study.experiments import Cell, Experiment
from gigp.lab.study.records import record_key, write_records, write_samples_of
from tests.records import example_record

EPOCHS = 5
NUM = 200  # test samples
Value = Callable[[Cell, str], float]


def record_of(experiment: Experiment, cell: Cell, overrides: Iterable[str], value: Value) -> Record:
    """The record of one run, with `value(cell, target)` as the test result."""
    dataset = experiment.name.partition("_")[0]
    names = {"qm9": list(TARGETS), "rotmnist": ["error"], "orbits": [cell.target]}[dataset]
    own = further_overrides([o for o in overrides if not o.startswith("experiment=")])
    data = {
        "dataset": dataset,
        "split": "seeded draw",
        "split_hash": "0" * 12,
        "sizes": {"train": 1000, "val": 100, "test": NUM},
        "targets": {},
    }
    if dataset == "orbits":
        data["limit"] = {"mean and sum": 3.25}
    choices = {"dataset": dataset, "group": "T3", "pool": cell.label.partition(",")[0]}
    return example_record(
        name="_".join([experiment.name, cell.target, cell.label, *cell.tuned]),
        seed=cell.seed,
        overrides=own,
        choices=choices | {"scale": experiment.scale, "experiment": experiment.name},
        metrics={n: _metric(n, value(cell, n)) for n in names},
        val_loss=float(np.mean([value(cell, n) for n in names])),
        data=data,
        epochs=EPOCHS,
        curve={"epoch": list(range(EPOCHS)), **{f"val/{n}": [1.0] * EPOCHS for n in names}},
    )


def _metric(name: str, value: float) -> Metric:
    known = TARGETS.get(name)
    unit = known.unit if known else "%" if name == "error" else "1"
    kind = known.kind if known else "classification" if name == "error" else "intensive"
    return Metric(unit=unit, kind=kind, test=value, val=value)


def samples_of(record: Record) -> dict[str, np.ndarray]:
    """Test samples whose mean absolute error, or error rate, is that of the record; the same
    samples are hard for all runs.
    """
    if "error" in record.metrics:
        wrong = np.arange(NUM) < round(record.metrics["error"].test * NUM / 100)
        return {"predicted": wrong.astype(np.uint8), "label": np.zeros(NUM, np.uint8)}
    shape = np.random.default_rng(0).exponential(size=(NUM, len(record.metrics)))
    noise = 1 + 0.1 * np.random.default_rng(record.seed + 1).standard_normal(shape.shape)
    means = np.array([metric.test for metric in record.metrics.values()])
    values = np.abs(shape * noise)
    return {"error": (values / values.mean(axis=0) * means).astype(np.float16)}


def write_evidence(
    root: Path,
    experiment: Experiment,
    value: Value,
    only: Callable[[Cell], bool] = lambda cell: True,
) -> list[Record]:
    """The records and samples of the runs of an experiment below root/results/records."""
    records = [
        record_of(experiment, cell, overrides, value)
        for cell, overrides in experiment.cells().items()
        if only(cell)
    ]
    folder = root / "results" / "records"
    write_records(folder / f"{experiment.name}.jsonl", records)
    samples = {record_key(record): samples_of(record) for record in records}
    write_samples_of(folder, experiment.name, samples)
    return records
