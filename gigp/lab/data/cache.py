"""One checked file of arrays for each source, written atomically, mapped into memory.

A file is a header of 4,096 bytes and then the bytes of every array. The header is one line: `gigp`,
the version, the SHA-256 of all that follows and of the index, and the index as JSON: name, type and
shape of every array. Nothing is compressed and nothing is executed, so that a file takes no more
memory than its size, however it was made.
"""

import hashlib
import json
import logging
import math
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gigp.errors import InputError
from gigp.lab.files import locked, open_atomically

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
HEADER = 4096  # bytes
ALIGNMENT = 64  # bytes, of the start of every array
PLAIN = "biuf"  # kinds of numpy types that a cache may hold: booleans, integers, floating point


class CacheError(Exception):
    """The file is not a complete cache of the expected version; the message gives the reason."""


class CacheWriter:
    """Write arrays to a cache, block by block, so that they need not fit into memory.

    Args:
        file: open for writing, empty.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.index: dict[str, tuple[str, list[int]]] = {}
        self.file.write(b"\n" * HEADER)  # until the real one is known

    def append(self, name: str, block: np.ndarray) -> None:
        """Append rows to the array `name`, which must be the last one so far, or a new one.

        Raises:
            InputError: a value is NaN or infinite.
            OSError: the disk is full or read-only.
        """
        block = np.ascontiguousarray(block)
        if name not in self.index:
            self._write(b"\0" * (-self.file.tell() % ALIGNMENT))
            self.index[name] = (block.dtype.str, [0, *block.shape[1:]])
        dtype, shape = self.index[name]
        last = list(self.index)[-1]
        if (last, dtype, shape[1:]) != (name, block.dtype.str, list(block.shape[1:])):
            raise ValueError(f"{name} of {block.dtype} {block.shape} does not continue {last}")
        check_finite(name, block, shape[0])
        self._write(block.data.cast("B") if block.size else b"")
        shape[0] += len(block)

    def finish(self, version: str) -> None:
        """Write the header."""
        index = json.dumps(self.index)
        self.digest.update(index.encode())
        header = _header(version, self.digest.hexdigest(), index)
        if len(header) > HEADER:
            raise ValueError(f"too many arrays for a header of {HEADER} bytes: {header!r}")
        self.file.seek(0)
        self.file.write(header)

    def _write(self, data: memoryview | bytes) -> None:
        self.digest.update(data)
        self.file.write(data)


def load_or_build(path: Path, version: str, build: Callable[[], Arrays]) -> Arrays:
    """Read a cache; build and write it where it is missing, damaged or of another version.

    Args:
        path: file of the cache.
        version: name of source and format; a file with another version is built again.
        build: makes the arrays.

    Returns:
        The arrays, mapped from the file; changes to them are not written.

    Raises:
        InputError: the disk is full or read-only, or an array holds NaN or infinity.
    """

    def fill(cache: CacheWriter) -> None:
        for name, array in build().items():
            cache.append(name, array)

    return load_or_fill(path, version, fill)


def load_or_fill(path: Path, version: str, fill: Callable[[CacheWriter], None]) -> Arrays:
    """The same, where `fill` appends arrays to the file itself. Of several processes that need the
    file, one makes it and the others wait.
    """
    if (arrays := _read_if_whole(path, version)) is not None:
        return arrays
    with _cache_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path, lambda: log.warning("Another process makes %s; waiting for it.", path)):
            if (arrays := _read_if_whole(path, version, warn=True)) is not None:
                return arrays
            with _writing(path, version) as cache:
                fill(cache)
    return read(path, version)


def _read_if_whole(path: Path, version: str, warn: bool = False) -> Arrays | None:
    """The arrays of a cache, or None where it is missing, damaged or of another version."""
    if not path.exists():
        return None
    try:
        return read(path, version)
    except (CacheError, OSError) as error:
        if warn:
            log.warning("%s %s; it is built again.", path, error)
        return None


def write(path: Path, version: str, arrays: Arrays) -> None:
    """Write arrays.

    Raises:
        InputError: the disk is full or read-only, or an array holds NaN or infinity; nothing is
            left behind then, and an older file stays as it is.
    """
    with _writing(path, version) as cache:
        for name, array in arrays.items():
            cache.append(name, array)


@contextmanager
def _writing(path: Path, version: str) -> Iterator[CacheWriter]:
    """A new cache, which takes its name when the block ends without an error."""
    with _cache_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(path) as file:
            cache = CacheWriter(file)
            yield cache
            cache.finish(version)


@contextmanager
def _cache_errors(path: Path) -> Iterator[None]:
    """Turn errors of the disk into one sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write the cache {path} ({error.strerror}); free some space, or set "
            "dataset.cache=FOLDER."
        ) from error


def read(path: Path, version: str) -> Arrays:
    """Map the arrays of a cache into memory, after checking every byte.

    Raises:
        CacheError: another version, any byte differs from what was written, or it holds more than
            plain arrays.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise CacheError("is not a regular file")
    with open(path, "rb") as file:
        header = file.read(HEADER)
        parts = header.rstrip(b" \n").decode(errors="replace").split(" ", 3)
        if len(parts) < 4 or parts[:2] != ["gigp", version]:
            raise CacheError("is damaged or of another version")
        digest = hashlib.file_digest(file, "sha256")
    digest.update(parts[3].encode())
    if header != _header(version, digest.hexdigest(), parts[3]):
        raise CacheError("is damaged: its checksum does not match")
    try:
        return _mapped(path, json.loads(parts[3]))
    # a file from elsewhere with a valid checksum
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise CacheError(
            f"holds no plain arrays ({type(error).__name__}: {error})".splitlines()[0][:120]
        ) from error


def _mapped(path: Path, index: dict[str, tuple[str, list[int]]]) -> Arrays:
    """The arrays that an index lists."""
    arrays, offset = {}, HEADER
    for name, (text, shape) in index.items():
        dtype = np.dtype(text)
        if dtype.kind not in PLAIN or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{name} of type {text} and shape {shape}")
        offset += -offset % ALIGNMENT
        # copy on write: torch shares memory with nothing that is read-only
        arrays[name] = (
            np.asarray(np.memmap(path, dtype, "c", offset, tuple(shape)))
            if math.prod(shape)
            else np.zeros(shape, dtype)
        )
        offset += math.prod(shape) * dtype.itemsize
    if offset != path.stat().st_size:
        raise ValueError(f"{path.stat().st_size} bytes, not {offset}")
    return arrays


def _header(version: str, digest: str, index: str) -> bytes:
    return f"gigp {version} {digest} {index}".encode().ljust(HEADER - 1) + b"\n"


def check_finite(name: str, block: np.ndarray, start: int = 0) -> None:
    """Refuse NaN and infinity.

    Args:
        name: name of the array.
        block: some of its rows.
        start: number of its rows before these.

    Raises:
        InputError: naming the array, the value and where it is.
    """
    if block.dtype.kind != "f" or (finite := np.isfinite(block)).all():
        return
    row, *rest = np.argwhere(~finite)[0].tolist()
    raise InputError(
        f"{name}[{', '.join(map(str, [start + row, *rest]))}] of the data is "
        f"{block[(row, *rest)]}, and so are {(~finite).sum() - 1} more values; every number must "
        "be finite. Fetch the source again."
    )
