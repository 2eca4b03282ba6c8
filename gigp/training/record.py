"""The record of a finished run: configuration, data, results and cost.

`Record` is the only description of this format. A run writes its record as `summary.json`, with the
results of every test sample next to it in `test_samples.npz`; the study keeps records as lines of
JSON.
"""

import math
import platform
import subprocess
import zipfile
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gigp.errors import InputError
from gigp.files import disk_errors, open_atomically

if TYPE_CHECKING:
    from gigp.datasets.loader import PointCloudDataModule
    from gigp.training.history import History
    from gigp.training.module import LitModule

SCHEMA_VERSION = 2
LARGEST = float(np.finfo(np.float32).max)
DIGITS = 7  # of the learning curve, as many as single precision has
# git status of the code: `make tables` writes into results and README.md between two runs
NOT_CODE = (":(top,exclude)results", ":(top,exclude)*.md")
CHANGED = ("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *NOT_CODE)
STRICT = ConfigDict(extra="forbid", strict=True)


def _all_finite(value: Any) -> Any:
    """Refuse infinity, NaN and numbers beyond single precision anywhere in a JSON value."""
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            _all_finite(child)
    elif isinstance(value, float) and not abs(value) <= LARGEST:
        raise ValueError(f"{value} is not a finite number of single precision")
    return value


Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Json = Annotated[dict[str, Any], AfterValidator(_all_finite)]


@dataclass(frozen=True, config=STRICT)
class Metric:
    """One metric of a run.

    Attributes:
        unit: unit of both values.
        kind: `intensive`, `extensive` or `classification`.
        test: value on the test set, from the best checkpoint.
        val: value on the validation set at the best epoch.
    """

    unit: str
    kind: str
    test: Number
    val: Number


@dataclass(frozen=True, config=STRICT)
class Record:
    """Everything that tables and figures need to know about one finished run.

    Attributes:
        schema_version: version of this format.
        name, seed: name of the run's folder, and seed.
        overrides: further settings of the command line that set the run apart, as KEY=VALUE.
        choices: chosen dataset, group, pool, scale and experiment.
        backbone, pool: their settings.
        lr, warmup: learning rate and the fraction of the run in which it rises.
        pool_on: `outputs` or `features`.
        init_from: run that the model started from.
        frozen_backbone: whether only pool and head were trained.
        recalibrated_on: training clouds that batch-norm statistics were estimated on.
        metrics: test metrics by name.
        test_loss, val_loss: losses of the best checkpoint.
        best_epoch: epoch of the lowest validation loss.
        curve: columns of metrics.csv, one value for each epoch.
        data: data set, source, split and its hash, sizes, targets.
        backbone_group, pool_group: symmetry groups by name.
        learned: trained parameters of the pool, as reported by it.
        parameters, trainable_parameters: numbers of scalars.
        epochs, steps: length of the training.
        seconds, cpu_minutes: time of all epochs, validation included.
        seconds_per_epoch, samples_per_second, peak_memory_mb: cost.
        processes: number of processes that trained together.
        versions: versions of Python and packages.
        git_commit: commit of the code, None outside a checkout.
        git_dirty: whether the code was changed after that commit.
        device, threads: device and number of CPU threads.
        native: whether native.c computed LieConv's hot loops; None for records from before.
        execution: the trainer's `precision`, `matmul_precision`, and where the run was compiled the
            numbers of `graphs` and `kernels`; None for records from before.
    """

    schema_version: int
    name: str
    seed: Count
    overrides: list[str]
    choices: dict[str, str | None]
    backbone: Json
    pool: Json
    lr: Number
    warmup: Number
    pool_on: str
    init_from: str | None
    frozen_backbone: bool
    recalibrated_on: Count
    metrics: Annotated[dict[str, Metric], Field(min_length=1)]
    test_loss: Number
    val_loss: Number
    best_epoch: Count
    curve: dict[str, list[Number]]
    data: Json
    backbone_group: str
    pool_group: str | None
    learned: Json
    parameters: Count
    trainable_parameters: Count
    epochs: Count
    steps: Count
    seconds: Number
    cpu_minutes: Number | None
    seconds_per_epoch: Number
    samples_per_second: Number
    peak_memory_mb: Number
    processes: Count
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    device: str
    threads: Count
    native: str | None = None
    execution: Json | None = None

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON text; one line unless indented."""
        return _ADAPTER.dump_json(self, indent=indent).decode()


_ADAPTER = TypeAdapter(Record)


def parse_record(text: str, source: str) -> Record:
    """A record from JSON text.

    Args:
        text: one JSON object.
        source: its name in error messages.

    Raises:
        InputError: the text is not JSON, or a field is missing, unknown, or of another kind.
    """
    try:
        record = _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise InputError(f"{source} is damaged ({_first_problem(error)}).") from error
    if record.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{source} has schema_version {record.schema_version}; this version of gigp reads "
            f"{SCHEMA_VERSION}. Run it again, or use the version that wrote it."
        )
    return record


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        InputError: the file cannot be read, or holds something else; see `parse_record`.
    """
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    return parse_record(text, str(path))


def _first_problem(error: ValidationError) -> str:
    """The first problem in a few words: where, what, and the value."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"]))
    value = f", not {problem['input']!r:.60}" if where and problem["type"] != "missing" else ""
    return f"{where}: {problem['msg']}{value}" if where else problem["msg"]


def make_record(
    config: Mapping[str, Any],
    name: str,
    overrides: list[str],
    data: "PointCloudDataModule",
    task: "LitModule",
    history: "History",
    results: Mapping[str, float],
    processes: int,
    environment: Mapping[str, Any],
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
        processes: number of processes that trained together.
        environment: versions, commit and machine at the start of the run.
        peak_memory_mb: largest memory in use.

    Raises:
        InputError: a number is not finite.
    """
    rows, best = history.rows, history.best
    targets = data.description["targets"]
    seconds = sum(row["seconds"] for row in rows)
    train_seconds = sum(row["train_seconds"] for row in rows)
    batches = max(1, len(data.indices["train"]) // data.batch_size)  # in an epoch
    samples = len(rows) * batches * min(data.batch_size, len(data.indices["train"]))
    sizes = [(p.numel(), p.requires_grad) for p in task.model.parameters()]
    pool = task.model.pool
    fields: dict[str, Any] = dict(
        schema_version=SCHEMA_VERSION,
        name=name,
        seed=config["seed"],
        overrides=overrides,
        choices=config["choices"],
        backbone=_settings(config["backbone"]),
        pool=_settings(config["pool"]),
        lr=config["lr"],
        warmup=config["warmup"],
        pool_on=config["pool_on"],
        init_from=config["init_from"],
        frozen_backbone=config["freeze_backbone"],
        recalibrated_on=config["recalibrate"],
        metrics={
            metric: Metric(
                unit=unit,
                kind=targets[metric]["kind"] if metric in targets else data.kind,
                test=results[f"test/{metric}"],
                val=best[f"val/{metric}"],
            )
            for metric, unit in task.units.items()
        },
        test_loss=results["test/loss"],
        val_loss=best["val/loss"],
        best_epoch=best["epoch"],
        curve={key: [_rounded(row[key]) for row in rows] for key in rows[0]},
        data=data.description,
        backbone_group=str(task.model.backbone.group),
        pool_group=None if pool.group is None else str(pool.group),
        learned=pool.orbit_response(),
        parameters=sum(size for size, _ in sizes),
        trainable_parameters=sum(size for size, trained in sizes if trained),
        epochs=len(rows),
        steps=rows[-1]["step"],
        seconds=round(seconds, 1),
        cpu_minutes=round(sum(row["cpu_seconds"] for row in rows) / 60, 3),
        seconds_per_epoch=round(seconds / len(rows), 2),
        samples_per_second=round(samples / train_seconds, 1),
        peak_memory_mb=peak_memory_mb,
        processes=processes,
        execution={
            "precision": config["trainer"]["precision"],
            "matmul_precision": config["matmul_precision"],
            **(task.compiled.counts() if task.compiled else {}),
        },
        **environment,
    )
    try:
        return Record(**fields)
    except ValidationError as error:
        raise InputError(
            f"this run cannot be recorded ({_first_problem(error)}). Where a number is not finite, "
            "try a smaller lr."
        ) from error


def _settings(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section of the configuration without its class and its group, which have other fields."""
    return {key: value for key, value in section.items() if key not in ("_target_", "group")}


def _rounded(value: float) -> float:
    """A number with as many digits as single precision has."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else value


def environment() -> dict[str, Any]:
    """Conditions of a result besides the configuration: versions, commit, machine."""
    import torch

    from gigp.backbones.lieconv.native import native_status

    commit = _git("rev-parse", "HEAD")
    packages = ("gigp", "torch", "lightning", "torch-geometric", "numpy")
    cuda = torch.cuda.is_available()
    return {
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git(*CHANGED)),
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "native": native_status(),
    }


def _git(*arguments: str) -> str | None:
    """Output of a git command in the project's checkout; None where the package is not in one."""
    folder = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def write_samples(path: Path, samples: Mapping[str, np.ndarray]) -> None:
    """Write the results of all test samples atomically.

    Args:
        path: path of the .npz file.
        samples: for regression `error`, prediction minus target in the units of the metrics,
            (n_test, T); for classification `predicted` and `label`, (n_test,).

    Raises:
        InputError: the disk is full or read-only.
    """
    limit = float(np.finfo(np.float16).max)
    compact = {
        name: values.clip(-limit, limit).astype(np.float16)
        if np.issubdtype(values.dtype, np.floating)
        else values.astype(np.uint8)
        for name, values in samples.items()
    }
    with disk_errors(path), open_atomically(path) as file:
        np.savez_compressed(file, **compact)  # type: ignore[arg-type]


def read_samples(path: Path) -> dict[str, np.ndarray]:
    """The results of all test samples of a run; see `write_samples`.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); run it again.") from error
