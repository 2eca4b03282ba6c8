"""Paths that users give, reading of regular files, atomic writing, and locks."""

import errno
import fcntl
import glob
import io
import math
import os
import secrets
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from gigp.errors import InputError

STALE_SECONDS = 24 * 3600  # older temporary files are abandoned if the file system has no locks
MOST_ARRAYS = 64 * 10**9  # bytes of the arrays of a file
ARRAY_ERRORS = (  # of a damaged file of arrays
    *(OSError, EOFError, MemoryError, OverflowError, RuntimeError, SyntaxError),
    *(KeyError, ValueError, zipfile.BadZipFile, zlib.error),
)
# errors of file systems (NFS, Lustre, FUSE) that do not support a kind of lock
UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def to_path(text: str | Path) -> Path:
    """A path with a leading ~ replaced by the home folder, unless a file or folder of that name
    exists. Many shells leave ~ alone after `=`.
    """
    return Path(text if os.path.exists(text) else os.path.expanduser(text))


def open_regular(path: Path, most: int | None = None) -> io.BufferedReader:
    """Open a regular file to read; a pipe would wait, and a device may never end.

    Args:
        most: bytes that the file may have.

    Raises:
        OSError: it is missing, too large, or something else; `strerror` tells.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    state, reason = os.fstat(number), ""
    if not stat.S_ISREG(state.st_mode):
        reason = "it is not a regular file"
    elif most is not None and state.st_size > most:
        reason = f"it has {state.st_size:,} bytes; {most:,} are allowed"
    if reason:
        os.close(number)
        raise OSError(errno.EINVAL, reason, str(path))
    return os.fdopen(number, "rb")


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises:
        OSError: see `open_regular`.
    """
    with open_regular(path, most) as file:
        return file.read(os.fstat(file.fileno()).st_size)  # reading `most` would allocate it


def read_arrays(path: Path, most: int = MOST_ARRAYS) -> dict[str, np.ndarray]:
    """The plain arrays of an .npz file, which together hold at most so many bytes.

    Raises:
        ARRAY_ERRORS: the file is damaged, larger, or holds something else.
    """
    arrays = {}
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            most -= part.file_size
            if most < 0:
                raise ValueError(f"{part.filename!r:.60} is too large")
            arrays[part.filename.removesuffix(".npy")] = _parse_array(archive.read(part))
    return arrays


def _parse_array(content: bytes) -> np.ndarray:
    """An array in NumPy's format, which allocates no more than the content has."""
    stream, form = io.BytesIO(content), np.lib.format
    read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
    shape, transposed, dtype = read[form.read_magic(stream)](stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("not as many plain numbers as it states")
    numbers = np.frombuffer(content, dtype, math.prod(shape), stream.tell())
    return numbers.reshape(shape, order="F" if transposed else "C").copy()


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
            sync_folder(path.parent)
    except BaseException:
        Path(file.name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, or a loss of power may undo a rename; some file
    systems cannot.
    """
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def delete_abandoned(folder: Path, pattern: str = ".*.tmp") -> None:
    """Delete the temporary files of processes that were killed.

    A process that is alive, be it in another container or on another machine, holds a lock on its
    file. Where the file system knows no locks, only files older than `STALE_SECONDS` are deleted.
    """
    for path in folder.glob(pattern):
        with suppress(OSError), open(path, "r+b") as file:
            taken = take_lock(file)
            young = time.time() - path.stat().st_mtime < STALE_SECONDS
            if taken is False or (taken is None and young):
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
            take_lock(file)
        if temporary.exists():
            return file
        file.close()  # deleted by another process before it was locked


def take_lock(file: IO, wait: bool = False) -> bool | None:
    """Lock an open file until it is closed or the process ends. If the file system does not support
    `flock`, a POSIX lock is tried.

    Args:
        file: open for writing.
        wait: wait for a process that has it.

    Returns:
        True; False where another process has it; None where the file system knows no locks.
    """
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    for lock in (fcntl.flock, fcntl.lockf):
        try:
            lock(file, how)
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            if error.errno not in UNKNOWN:
                raise
        else:
            return True
    return None


def open_lock(path: Path) -> IO:
    """Open the file of a lock; a symbolic link is not followed."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+")


@contextmanager
def locked(path: Path, tell: Callable[[], None]) -> Iterator[None]:
    """Let one process at a time make a file; the others wait. On a file system without locks
    several processes may make it at once.

    Args:
        path: the file; the lock is a hidden file beside it, which goes in the end.
        tell: called before waiting.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    beside = path.with_name(f".{path.name}.lock")
    while True:
        with open_lock(beside) as file:
            if take_lock(file) is False:
                tell()
                take_lock(file, wait=True)
            if os.fstat(file.fileno()).st_nlink == 0:  # deleted by the process before this one
                continue
            try:
                yield
            finally:
                beside.unlink(missing_ok=True)
            return
