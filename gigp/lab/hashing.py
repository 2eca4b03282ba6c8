"""SHA-256 of files, arrays, splits and text, as hexadecimal digits."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gigp.lab.files import open_regular

if TYPE_CHECKING:
    from torch import Tensor


def hash_text(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a regular file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the contents of arrays, their names, types and shapes."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def hash_split(parts: Mapping[Any, "Tensor"], source: str = "") -> str:
    """The first twelve digits for the indices of a split.

    Args:
        parts: samples of `train`, `val` and `test`, integers.
        source: of the samples, where data sets of other samples have as many.
    """
    digest = hashlib.sha256(source.encode())
    for part in ("train", "val", "test"):
        digest.update(part.encode() + parts[part].numpy().astype("<i8").tobytes())
    return digest.hexdigest()[:12]
