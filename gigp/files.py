"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gigp.errors import InputError


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one sentence that the disk is full or read-only."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}.") from error


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        InputError: the disk is full or read-only.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        try:
            with open(temporary, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
