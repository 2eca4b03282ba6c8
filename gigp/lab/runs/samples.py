"""The results of every test sample of a run, next to its record: `test_samples.npz` for the study,
`test_predictions.csv` for people.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gigp.errors import InputError, first_line
from gigp.lab.data.datamodule import PointCloudDataModule
from gigp.lab.data.text import table_cell
from gigp.lab.files import ARRAY_ERRORS, disk_errors, open_atomically, read_arrays, write_atomically

MOST_BYTES = 2**29  # of the results of all test samples of a run


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


def write_predictions(
    path: Path, data: PointCloudDataModule, samples: Mapping[str, np.ndarray]
) -> None:
    """Write a table of all test samples atomically: name, part, and for each target the truth and
    the prediction in the unit of tables, or the names of the classes.

    Args:
        path: path of the .csv file.
        data: data set, set up.
        samples: see `write_samples`.

    Raises:
        InputError: the disk is full or read-only.
    """
    indices = data.indices["test"]
    names, truth = data.sample_names(indices), data.true_targets(indices).numpy()
    header, rows = ["name", "part"], [[table_cell(name), "test"] for name in names]
    if data.kind == "classification":
        header += ["truth", "prediction"]
        classes = data.class_names()
        for row, label, predicted in zip(rows, truth, samples["predicted"], strict=True):
            row += [table_cell(classes[int(i)]) for i in (label, predicted)]
    else:
        for target in data.targets:
            unit = f" [{target.unit}]" if target.unit else ""
            header += [f"{target.name} truth{unit}", f"{target.name} prediction{unit}"]
        for row, values, errors in zip(rows, truth, samples["error"], strict=True):
            for value, error in zip(values.tolist(), errors.tolist(), strict=True):
                row += ["", ""] if value != value else [f"{value:.10g}", f"{value + error:.10g}"]
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([header, *rows])
    write_atomically(path, table.getvalue())


def read_samples(path: Path) -> dict[str, np.ndarray]:
    """The results of all test samples of a run; see `write_samples`.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    try:
        return read_arrays(path, MOST_BYTES)
    except ARRAY_ERRORS as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}); run it again.") from error
