"""The record of a run that has just ended: what was asked for, what came out, what it cost."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic import ValidationError

from gigp.errors import InputError
from gigp.lab.config.identity import identity_digest
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.model import PointCloudModel
from gigp.lab.runs.history import History
from gigp.lab.runs.record import (
    SCHEMA_VERSION,
    Averaged,
    Metric,
    Provenance,
    Record,
    first_problem,
)

DIGITS = 7  # digits of the learning curve, as many as single precision has


class Trained(Protocol):
    """What a record states of a trained Lightning module; see `gigp.lab.training.module`."""

    model: PointCloudModel
    units: dict[str, str]
    compiled: Any


def make_record(
    config: Mapping[str, Any],
    name: str,
    overrides: list[str],
    data: PointCloudDataModule,
    task: Trained,
    history: History,
    results: Mapping[str, float],
    averaged: Averaged,
    processes: int,
    peak_memory_mb: float,
) -> Record:
    """The record of a run that has just ended.

    Args:
        config: resolved configuration.
        name: name of the run's folder.
        overrides: see `Record`.
        data: data that it was trained and tested on.
        task: the trained module.
        history: one row for each epoch, as in metrics.csv.
        results: metrics that the trainer's test returned.
        averaged: see `gigp.lab.training.rotations.average_rotations`; empty: not computed.
        processes: number of processes that trained together.
        peak_memory_mb: largest memory in use.

    Raises:
        InputError: a number is not finite.
    """
    fields = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "overrides": overrides,
        "data": data.description,
        "processes": processes,
        "peak_memory_mb": peak_memory_mb,
        **_asked_for(config),
        **_results(data, task, history, results, averaged),
        **_cost(data, history),
        **_model(task),
        "execution": _execution(config, task),
        **history.provenance[-1],
        "earlier": [Provenance(**each) for each in history.provenance[:-1]],
        "checkpoint": history.best,
        "identity": identity_digest(history.identity),
    }
    try:
        return Record(**fields)
    except ValidationError as error:
        raise InputError(
            f"this run cannot be recorded ({first_problem(error)}). Where a number is not finite, "
            "try a smaller lr."
        ) from error


def _asked_for(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that are settings."""
    return {
        **{key: config[key] for key in ("seed", "choices", "lr", "warmup", "pool_on", "init_from")},
        "backbone": _settings(config["backbone"]),
        "pool": _settings(config["pool"]),
        "frozen_backbone": config["freeze_backbone"],
        "batch_norm_clouds": config["batch_norm_clouds"],
        "select": config["select"],
        "pool_inputs": config["pool_inputs"],
        "solve_head": config["solve_head"],
        "rotations": config["rotations"],
    }


def _settings(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section of the configuration without its class and its group, which have other fields."""
    return {key: value for key, value in section.items() if key not in ("_target_", "group")}


def _results(
    data: PointCloudDataModule,
    task: Trained,
    history: History,
    results: Mapping[str, float],
    averaged: Averaged,
) -> dict[str, Any]:
    """Fields about errors."""
    rows, best, targets = history.rows, history.selected, data.description["targets"]
    metrics = {
        name: Metric(
            unit=unit,
            kind=targets[name]["kind"] if name in targets else data.kind,
            test=results[f"test/{name}"],
            val=best[f"val/{name}"],
            averaged=averaged.get(name, (None, None))[0],
            spread=averaged.get(name, (None, None))[1],
        )
        for name, unit in task.units.items()
    }
    return {
        "metrics": metrics,
        "test_loss": results["test/loss"],
        "val_loss": best["val/loss"],
        "best_epoch": best["epoch"],
        "curve": {key: [_rounded(row[key]) for row in rows] for key in rows[0]},
    }


def _rounded(value: float) -> float:
    """A number with as many digits as single precision has."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else value


def _cost(data: PointCloudDataModule, history: History) -> dict[str, Any]:
    """Fields about time."""
    rows, size = history.rows, len(data.indices["train"])
    batches = max(1, size // data.batch_size)  # in an epoch
    samples = len(rows) * batches * min(data.batch_size, size)
    seconds = sum(row["seconds"] for row in rows)
    return {
        "epochs": len(rows),
        "steps": rows[-1]["step"],
        "seconds": round(seconds, 1),
        "cpu_minutes": round(sum(row["cpu_seconds"] for row in rows) / 60, 3),
        "seconds_per_epoch": round(seconds / len(rows), 2),
        "samples_per_second": round(samples / sum(row["train_seconds"] for row in rows), 1),
    }


def _model(task: Trained) -> dict[str, Any]:
    """Fields about the trained network."""
    model, pool = task.model, task.model.pool
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {
        "backbone_group": str(model.backbone.group),
        "pool_group": None if pool.group is None else str(pool.group),
        "learned": pool.orbit_response(),
        "parameters": sum(size for size, _ in sizes),
        "trainable_parameters": sum(size for size, trained in sizes if trained),
    }


def _execution(config: Mapping[str, Any], task: Trained) -> dict[str, Any]:
    """How the run computed."""
    return {
        "precision": config["trainer"]["precision"],
        "matmul_precision": config["matmul_precision"],
        **(task.compiled.counts() if task.compiled else {}),
    }
