"""The results of every test sample of a run: `test_samples.npz`, next to its record."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gigp.errors import InputError
from gigp.lab.files import disk_errors, open_atomically


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
