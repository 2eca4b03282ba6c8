"""Records as runs of the experiments would leave them, with results that the caller decides."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from gigp.study.experiments import Cell
from gigp.study.runs import pairs, pool_defaults, symmetry_of, unit_of
from gigp.training.name import further_overrides

EPOCHS = 20


def write_run(runs: Path, cell: Cell, value: Callable[[Cell, str], float], **changes) -> Path:
    """The record and the history of one run, with `value(cell, target)` as the test result."""
    units = {t: unit_of(t)["unit"] for t in cell.targets}
    dataset = cell.choices["dataset"]
    targets = {t: {"unit": u, "kind": unit_of(t)["kind"]} for t, u in units.items() if t != "error"}
    data = {
        "dataset": dataset,
        "source": "synthetic",
        "split": "seeded draw",
        "split_hash": "0" * 12,
        "sizes": {"train": 1000, "val": 100, "test": 100},
        "targets": targets,
    }
    if dataset == "features":
        data |= {
            "dataset": "qm9",
            "features_of": {"run": f"backbone/seed{cell.seed}", "backbone": "T(3)"},
        }
    if dataset == "orbits":
        data["limit"] = {"mean and sum": 3.25}
    gigp = cell.choices["pool"] == "gigp"
    learned = (
        {"center": [0.0, 1.0, 2.0], "weight": [1.0, 0.5, 0.2], "response": [0.9, 0.6, 0.1]}
        if gigp
        else {}
    )
    record = {
        "name": cell.name,
        "seed": cell.seed,
        "choices": cell.choices,
        "metrics": {
            t: {"unit": u, "test": value(cell, t), "val": value(cell, t)} for t, u in units.items()
        },
        "best_epoch": EPOCHS - 1,
        "data": data,
        "pool_group": None,
        "backbone_group": symmetry_of(cell.choices["group"], pairs(cell.overrides).get("backbone")),
        "pool": {k: v for k, v in pool_defaults(cell.choices["pool"]).items() if k != "_target_"},
        "learned": learned,
        "pool_on": cell.pool_on,
        "init_from": None if cell.protocol == "from scratch" else "backbone/seed0",
        "frozen_backbone": cell.protocol == "frozen backbone",
        "epochs": EPOCHS,
        "seconds": 120.0,
        "cpu_minutes": 3.0,
        "overrides": further_overrides(list(cell.overrides)),
    } | changes
    folder = runs / cell.name / f"seed{cell.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(record))
    losses = "".join(f"{epoch},{1 / (epoch + 1)},{1 / (epoch + 1)}\n" for epoch in range(EPOCHS))
    (folder / "metrics.csv").write_text("epoch,train/loss,val/loss\n" + losses)
    return folder


def write_runs(
    runs: Path, cells: Iterable[Cell], value: Callable[[Cell, str], float], **changes
) -> None:
    """The records of many runs."""
    for cell in cells:
        write_run(runs, cell, value, **changes)
