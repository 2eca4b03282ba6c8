"""Atomic writing of files."""

import fcntl
import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gigp.errors import InputError

STALE_SECONDS = 24 * 3600  # age of abandoned files where the file system has no locks


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into one sentence that names the file.

    Raises:
        InputError: the disk is full or read-only, or the folder is missing.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file completely or not at all; text is encoded as UTF-8.

    Raises:
        InputError: the disk is full or read-only, or the folder is missing.
    """
    with disk_errors(path), open_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of `path` when the block ends without an error.

    Until then it has a temporary name in the same folder. Temporary files left by killed processes
    are deleted.

    Raises:
        OSError: the disk is full or read-only, or the folder is missing; `path` is as before.
    """
    delete_abandoned(path.parent, f".{glob.escape(path.name)}.*.tmp")
    file = _open_locked(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise


def delete_abandoned(folder: Path, pattern: str = ".*.tmp") -> None:
    """Delete the temporary files of processes that were killed.

    A process that is alive, be it in another container or on another machine, holds a lock on its
    file. Where the file system knows no locks, only files older than `STALE_SECONDS` are deleted.
    """
    for path in folder.glob(pattern):
        with suppress(OSError), open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            except OSError:
                if time.time() - path.stat().st_mtime < STALE_SECONDS:
                    continue
            path.unlink()


def _open_locked(path: Path) -> BinaryIO:
    """A new file under a temporary name in the folder of `path`, locked against `delete_abandoned`.

    The name is random: process ids repeat in containers that share a disk. (`tempfile` would make
    a file that only its owner may read.)
    """
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        file = open(temporary, "xb")  # noqa: SIM115
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():
            return file
        file.close()  # deleted by another process before it was locked
