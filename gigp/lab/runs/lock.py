"""A lock on a folder, so that two processes never work in one run folder."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from gigp.errors import InputError
from gigp.lab.files import open_lock, take_lock

log = logging.getLogger(__name__)

NAME = ".lock"


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
        file = open_lock(folder / NAME)
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


def _lock(file: IO) -> bool:
    """Take the lock, or return False where another process has it."""
    taken = take_lock(file)
    if taken is None:
        log.warning(
            "this file system has no locks: make sure that no two processes work on the same run."
        )
    # the process before this one may have deleted the file in between
    return taken is None or (taken and os.fstat(file.fileno()).st_nlink > 0)
