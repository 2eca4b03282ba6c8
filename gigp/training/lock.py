"""A lock on a folder, so that two processes never work in one run folder."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from gigp.errors import InputError

log = logging.getLogger(__name__)

NAME = ".lock"
# errors of file systems (NFS, Lustre, FUSE) that do not support a kind of lock
UNKNOWN = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class BusyError(InputError):
    """Another process is at work in the folder."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made if it is missing.

    If the block leaves nothing in the folder, the folder goes again.

    Raises:
        BusyError: another process works in it.
        InputError: it cannot be written.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _open(folder / NAME)
    except OSError as error:
        raise InputError(
            f"cannot write to {folder} ({error.strerror}); set results_dir=FOLDER."
        ) from error
    with file:
        if not _lock(file):
            raise BusyError(f"another process is at work on {folder}; wait for it or change name=.")
        try:
            yield
        finally:
            if missing and [path.name for path in folder.iterdir()] == [NAME]:
                (folder / NAME).unlink()
                with suppress(OSError):  # another process has created it
                    for path in missing:
                        path.rmdir()


def _open(path: Path) -> TextIO:
    """Open the file of a lock; a symbolic link is not followed."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+")


def _lock(file: TextIO) -> bool:
    """Take the lock, or return False where another process has it."""
    for lock in (fcntl.flock, fcntl.lockf):
        try:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            if error.errno not in UNKNOWN:
                raise
        else:
            # the process before this one may have deleted the file in between
            return os.fstat(file.fileno()).st_nlink > 0
    log.warning(
        "this file system knows no locks: see to it that no two processes work on the same run."
    )
    return True
