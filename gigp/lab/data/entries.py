"""The entries of an input file or folder, including those with errors."""

import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gigp.errors import InputError


class InputEntry(NamedTuple):
    """One molecule or image.

    Attributes:
        file: path of its file.
        number: its place in the file, from 1; 0 where the file as a whole is wrong.
        name: its name in the file.
        content: the molecule or image; None where there is an error.
        error: the error of the entry; empty where it was read.
        unchecked: the reason for which it would be refused, where nothing is checked.
    """

    file: str
    number: int
    name: str
    content: Any
    error: str = ""
    unchecked: str = ""


# a name, and a molecule, an image, or the InputError that tells why it could not be read
Found = tuple[str, Any]
Reader = Callable[[Path], Iterator[Found]]


def find_files(
    path: Path, readers: dict[str, Reader], option: str = "input", skip: Path | None = None
) -> list[Path]:
    """The file, or the files in a folder that have a reader, in alphabetical order; hidden ones and
    folders are left out.

    Args:
        path: file or folder.
        readers: readers by the ending of the file's name.
        option: name of the setting that gives the path, for messages.
        skip: a file of the folder that is something else.

    Raises:
        InputError: there is no such file, or no reader for it.
    """
    endings = ", ".join(readers)
    try:
        is_folder, exists = path.is_dir(), path.exists()
        within = sorted(path.iterdir()) if is_folder else []
    except OSError as error:
        raise InputError(f"cannot read {option}={path}: {error.strerror or error}.") from error
    if is_folder:
        files = [
            file
            for file in within
            if _ending(file, readers) and not file.name.startswith(".") and not file.is_dir()
        ]
        files = [file for file in files if skip is None or file.resolve() != skip.resolve()]
        if not files:
            raise InputError(
                f"{option}={path} holds no file that ends in {endings}; these are what can be "
                "read here."
            )
        return files
    if not exists:
        raise InputError(
            f"there is no {option}={path}; give a file that ends in {endings}, or a folder of such "
            "files."
        )
    if not _ending(path, readers):
        raise InputError(
            f"{option}={path} cannot be read here: give a file that ends in {endings}, or a folder."
        )
    return [path]


def read_entries(path: Path, readers: dict[str, Reader]) -> list[InputEntry]:
    """All entries of a file or folder, see `iterate_entries`."""
    return list(iterate_entries(path, readers))


def iterate_entries(
    path: Path, readers: dict[str, Reader], skip: Path | None = None
) -> Iterator[InputEntry]:
    """Entries of a file, or of all files in a folder that have a reader, one after the other.

    A file of a folder that is wrong as a whole becomes one entry with number 0.

    Args:
        path: file or folder.
        readers: readers by the ending of the file's name.
        skip: see `find_files`.

    Raises:
        InputError: there is no such file, nothing reads it, or it holds nothing.
    """
    files = find_files(path, readers, skip=skip)
    if len(files) == 1:
        yield from _entries(files[0], readers)
        return
    for file in files:
        try:
            yield from _entries(file, readers)
        except InputError as error:
            yield InputEntry(str(file), 0, "", None, str(error))


def _entries(file: Path, readers: dict[str, Reader]) -> Iterator[InputEntry]:
    number = 0
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # reading a pipe could wait forever
            raise InputError(f"{file} is a pipe or device; copy what it gives into a file first.")
        for number, (name, content) in enumerate(readers[_ending(file, readers)](file), 1):
            if isinstance(content, InputError):
                yield InputEntry(str(file), number, name, None, str(content))
            else:
                yield InputEntry(str(file), number, name, content)
    except (OSError, EOFError, zlib.error) as error:  # the latter two of a gzip file
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {file}: {reason}.") from error
    if number == 0:
        raise InputError(f"{file} is empty: it holds nothing to predict.")


def _ending(file: Path, readers: dict[str, Reader]) -> str:
    """The ending that a reader is known for, or nothing."""
    return next((ending for ending in readers if file.name.lower().endswith(ending)), "")
