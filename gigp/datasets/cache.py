"""One compact, checked file of arrays for each source, written whole or not at all."""

import hashlib
import io
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gigp.errors import InputError

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


class CacheError(Exception):
    """The file is not a whole cache of the wanted version; the message says why."""


def load_or_build(path: Path, version: str, build: Callable[[], Arrays]) -> Arrays:
    """Read a cache; build and write it where it is missing, damaged or of another version.

    Args:
        path: of the cache file.
        version: names source and format; a file that says otherwise is built again.
        build: makes the arrays.

    Raises:
        InputError: the disk is full or read-only, or an array holds NaN or infinity.
    """
    if path.exists():
        try:
            return read(path, version)
        except (CacheError, OSError) as error:
            log.warning("%s %s; it is built again.", path, error)
    arrays = build()
    check_finite(arrays)
    try:
        write(path, version, arrays)
    except OSError as error:
        raise InputError(
            f"cannot write the cache {path} ({error.strerror}); free some space, or set "
            "dataset.cache=FOLDER."
        ) from error
    return arrays


def write(path: Path, version: str, arrays: Arrays) -> None:
    """Write arrays: a line with the version and the SHA-256 of what follows, then a compressed npz
    archive.

    Raises:
        OSError: the disk is full or read-only; nothing is left behind then, and an older file stays
            as it is.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    body = buffer.getbuffer()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(_header(version, body))
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, version: str) -> Arrays:
    """Read arrays that `write` wrote.

    Raises:
        CacheError: another version, any byte differs from what was written, or it holds more than
            plain arrays.
    """
    content = path.read_bytes()
    header, newline, _ = content.partition(b"\n")
    if not newline or not header.startswith(f"gigp {version} ".encode()):
        raise CacheError("is damaged or of another version")
    body = memoryview(content)[len(header) + 1 :]
    if header + newline != _header(version, body):
        raise CacheError("is damaged: its checksum does not match")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            return dict(archive)
    # somebody else's file under a checksum of its own; numpy has no error class for that
    except Exception as error:
        raise CacheError(
            f"holds no plain arrays ({type(error).__name__}: {error})".splitlines()[0][:120]
        ) from error


def _header(version: str, body: memoryview | bytes) -> bytes:
    return f"gigp {version} {hashlib.sha256(body).hexdigest()}\n".encode()


def check_finite(arrays: Arrays) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: naming the array, the value and where it is.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
            place = tuple(np.argwhere(~finite)[0].tolist())
            raise InputError(
                f"{name}[{', '.join(map(str, place))}] of the data is {array[place]}, and so are "
                f"{(~finite).sum() - 1} more values; every number must be finite. Fetch the source "
                "again."
            )


def digest_of(arrays: Arrays) -> str:
    """SHA-256 of what arrays hold, whatever file they came from, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
