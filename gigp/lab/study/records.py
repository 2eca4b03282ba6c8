"""The evidence of the study: records of finished runs, and the results of their test samples.

results/records/<experiment>.jsonl   one record a line, in the order of names and seeds
results/records/errors/<experiment>/NAME/seedK.npz   of some test samples of the first seed of a
                                     row: arrays error, targets, predicted, label
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gigp.errors import InputError, first_line
from gigp.lab.files import (
    ARRAY_ERRORS,
    disk_errors,
    open_atomically,
    read_arrays,
    read_bytes,
    write_atomically,
)
from gigp.lab.runs.record import Record, parse_record

# `error` (n, T), with `targets` (T,) if only some of the run's targets are kept; or `predicted`
# and `label` (n,)
Samples = dict[str, np.ndarray]
Key = tuple[str, int]  # name and seed of a run
MOST_BYTES = 2**28  # of the records of an experiment
KEPT_BITS = 7  # significant bits of an error: 0.4% at most, and no bias
STEP = 4  # of the test samples, every STEP-th is kept: enough for a standard deviation


def record_key(record: Record) -> Key:
    """Name and seed, which no two records share."""
    return record.name, record.seed


def read_experiment_records(path: Path) -> list[Record]:
    """The records in one file.

    Raises:
        InputError: a damaged line, or two records of one run.
    """
    try:
        lines = read_bytes(path, MOST_BYTES).decode().splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}).") from error
    records = [parse_record(line, f"line {i} of {path}") for i, line in enumerate(lines, 1)]
    seen: set[Key] = set()
    for i, record in enumerate(records, 1):
        if record_key(record) in seen:
            raise InputError(
                f"line {i} of {path} is a second record of {record.name}, seed {record.seed}; "
                "delete one of the two."
            )
        seen.add(record_key(record))
    return records


def read_records(folder: Path) -> list[Record]:
    """All records below a folder, in the order of names and seeds."""
    files = sorted(folder.glob("*.jsonl"))
    return sorted((r for file in files for r in read_experiment_records(file)), key=record_key)


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write the records of one experiment."""
    lines = [record.to_json() for record in sorted(records, key=record_key)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(f"{line}\n" for line in lines))


def samples_path(folder: Path, experiment: str, key: Key) -> Path:
    """File of the test samples of one run."""
    name, seed = key
    return folder / "errors" / experiment / name / f"seed{seed}.npz"


def read_all_samples(folder: Path, experiment: str) -> dict[Key, Samples]:
    """The results of the test samples of every run of an experiment that has some.

    Raises:
        InputError: a file is damaged.
    """
    paths = sorted((folder / "errors" / experiment).glob("*/seed*.npz"))
    return {
        (path.parent.name, int(path.stem.removeprefix("seed"))): _read_samples(path)
        for path in paths
    }


def _read_samples(path: Path) -> Samples:
    try:
        return read_arrays(path)
    except ARRAY_ERRORS as error:
        reason = first_line(error)
        raise InputError(f"{path} is damaged ({reason}); collect its runs again.") from error


def thin(samples: Samples) -> Samples:
    """Every `STEP`-th test sample."""
    return {k: v if k == "targets" else v[::STEP] for k, v in samples.items()}


def write_samples_of(folder: Path, experiment: str, samples: dict[Key, Samples]) -> None:
    """Write the results of every `STEP`-th test sample of runs, a file for each, so that no later
    run writes them again. Errors are rounded to `KEPT_BITS`, so that the files compress well.
    """
    for key, mine in samples.items():
        path = samples_path(folder, experiment, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {k: rounded(v) if k == "error" else v for k, v in thin(mine).items()}
        with disk_errors(path), open_atomically(path) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def rounded(values: np.ndarray) -> np.ndarray:
    """Half-precision numbers rounded to `KEPT_BITS` significant bits, to the nearest."""
    dropped = 11 - KEPT_BITS  # float16 has 11 significant bits, one of them implied
    bits = values.astype(np.float16).view(np.uint16)
    finite = np.isfinite(values)
    last = (bits >> dropped) & 1  # ties go to even numbers, or all would grow a little
    up = bits + np.uint16((1 << (dropped - 1)) - 1) + last
    nearest = (up & np.uint16(0xFFFF << dropped & 0xFFFF)).view(np.float16)
    return np.where(finite & np.isfinite(nearest), nearest, values.astype(np.float16))
