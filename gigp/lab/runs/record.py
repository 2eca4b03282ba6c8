"""The record of a finished run: configuration, data, results and cost.

`Record` is the only description of this format. A run writes its record as `summary.json`; the
study keeps records as lines of JSON.
"""

import json
import re
import reprlib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from gigp.errors import InputError, first_line
from gigp.lab.files import read_bytes

SCHEMA_VERSION = 3
# of a metric: the error of averaged predictions, and the spread of predictions over rotations
Averaged = dict[str, tuple[float, float]]
MOST_BYTES = 2**20  # of a record
LARGEST = float(np.finfo(np.float32).max)
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
Count = Annotated[int, Field(ge=0, lt=2**63)]
Json = Annotated[dict[str, Any], AfterValidator(_all_finite)]


class DataDescription(BaseModel):
    """What is read of the description of a data set, which has more."""

    model_config = ConfigDict(strict=True)
    dataset: str
    sizes: dict[str, Count]
    split: str = ""
    split_hash: str = ""
    source: str = ""
    targets: dict[str, dict[str, Any]] = {}
    baselines: dict[str, dict[str, Number]] = {}


def _description(data: dict[str, Any]) -> dict[str, Any]:
    """The description of a data set."""
    DataDescription.model_validate(data)
    if "train" not in data["sizes"]:
        raise ValueError("sizes has no train")
    return data


def _choices(choices: dict[str, str | None]) -> dict[str, str | None]:
    """The choices that name a run."""
    if lacking := [name for name in ("pool", "scale") if name not in choices]:
        raise ValueError(f"{lacking[0]} is missing")
    return choices


@dataclass(frozen=True, config=STRICT)
class Metric:
    """One metric of a run.

    Attributes:
        unit: unit of all values.
        kind: `intensive`, `extensive` or `classification`.
        test: value on the test set, from the best checkpoint.
        val: value on the validation set at the tested epoch.
        averaged: value on the test set of predictions averaged over rotations; None: not computed.
        spread: standard deviation of a prediction over rotations, mean over the test set.
    """

    unit: str
    kind: str
    test: Number
    val: Number
    averaged: Number | None = None
    spread: Number | None = None


@dataclass(frozen=True, config=STRICT)
class Provenance:
    """Conditions of one process that worked on a run; see `gigp.lab.runs.provenance`.

    Attributes:
        versions: versions of Python and packages.
        git_commit: commit of the code, None outside a checkout.
        git_dirty: whether the code was changed after that commit.
        device, threads: device and number of CPU threads.
        native: whether native.c computed LieConv's hot loops.
    """

    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    device: str
    threads: Count
    native: str | None


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
        rotations: orientations that test predictions were averaged over, for `Metric.averaged`; 0:
            none.
        pool_inputs: whether the pool got the input features of the points, too.
        solve_head: whether the head started at its least-squares fit.
        init_from: run that the model started from.
        frozen_backbone: whether only pool and head were trained.
        batch_norm_clouds: training clouds that batch-norm statistics were estimated on.
        metrics: test metrics by name.
        test_loss, val_loss: losses of the best checkpoint.
        best_epoch: epoch that was tested, by `select`: `best`, that of the lowest validation loss,
            or `last`.
        curve: columns of metrics.csv, one value for each epoch.
        data: data set, source, split and its hash, sizes, targets.
        backbone_group, pool_group: symmetry groups by name.
        learned: trained parameters of the pool, as reported by it.
        parameters, trainable_parameters: numbers of scalars.
        epochs, steps: length of the training.
        seconds, cpu_minutes: time of all epochs, validation included.
        seconds_per_epoch, samples_per_second, peak_memory_mb: cost.
        processes: number of processes that trained together.
        versions, git_commit, git_dirty, device, threads, native: `Provenance` of the process that
            ended the run.
        earlier: that of the processes before it, where the run was interrupted.
        checkpoint: SHA-256 of best.ckpt, which was tested; None for records from before.
        identity: SHA-256 of the settings that a run cannot change; None for records from before.
        execution: the trainer's `precision`, `matmul_precision`, and where the run was compiled the
            numbers of `graphs` and `kernels`; None for records from before.
    """

    schema_version: int
    name: str
    seed: Count
    overrides: Annotated[list[str], FailFast()]
    choices: Annotated[dict[str, str | None], AfterValidator(_choices)]
    backbone: Json
    pool: Json
    lr: Number
    warmup: Number
    pool_on: str
    init_from: str | None
    frozen_backbone: bool
    batch_norm_clouds: Count
    metrics: Annotated[dict[str, Metric], Field(min_length=1, max_length=1000)]
    test_loss: Number
    val_loss: Number
    best_epoch: Count
    curve: dict[str, Annotated[list[Number], FailFast()]]
    data: Annotated[Json, AfterValidator(_description)]
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
    earlier: list[Provenance] | None = None
    checkpoint: str | None = None
    identity: str | None = None
    select: str = "best"
    pool_inputs: bool = False
    rotations: Count = 0
    solve_head: bool = False

    def to_json(self, indent: int | None = None) -> str:
        """The record as JSON text; one line unless indented."""
        return _ADAPTER.dump_json(self, indent=indent).decode()


_ADAPTER = TypeAdapter(Record)
REQUIRED = {each.name for each in fields(Record) if each.default is MISSING}


def parse_record(text: str, source: str) -> Record:
    """A record from JSON text.

    Args:
        text: one JSON object.
        source: its name in error messages.

    Raises:
        InputError: the text is not JSON, or a field is missing, unknown, or of another kind.
    """
    version = re.search(r'"schema_version": *(\d{1,9})\b', text)  # fields differ between versions
    if version and int(version[1]) != SCHEMA_VERSION:
        raise InputError(
            f"{source} has schema_version {version[1]}; this version of gigp reads "
            f"{SCHEMA_VERSION}. Run it again, or use the version that wrote it."
        )
    try:
        content = json.loads(text)
        # in JSON, each of pydantic's errors holds a copy of all that lacks a field
        if isinstance(content, dict) and (lacking := REQUIRED - content.keys()):
            raise ValueError(f"{min(lacking)}: Field required")
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise InputError(f"{source} is damaged ({first_problem(error, text)}).") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is damaged ({first_line(error)}).") from error


def read_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        InputError: the file cannot be read, or holds something else; see `parse_record`.
    """
    try:
        text = read_bytes(path, MOST_BYTES).decode()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}).") from error
    return parse_record(text, str(path))


def first_problem(error: ValidationError, text: str | None = None) -> str:
    """The first problem in a few words: where, what, and the value.

    Args:
        text: the JSON that was read; every error would make a copy of its input.
    """
    problem = error.errors(include_url=False, include_input=text is None)[0]
    where = ".".join(map(str, problem["loc"]))
    if not where or problem["type"] == "missing":
        return f"{where}: {problem['msg']}" if where else problem["msg"]
    value = problem.get("input")
    if text is not None:
        value = json.loads(text)
        for key in problem["loc"]:
            value = value[key]
    return f"{where}: {problem['msg']}, not {reprlib.repr(value):.60}"
