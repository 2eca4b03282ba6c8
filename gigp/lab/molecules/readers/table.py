"""Molecules from .csv files, one row for each atom."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gigp.errors import InputError
from gigp.lab.data.entries import Found
from gigp.lab.data.text import parse_numbers, read_text
from gigp.lab.molecules.readers.molecule import Molecule, attempt, make_molecule

COLUMNS = ("molecule", "element", "x", "y", "z")
DELIMITERS = ",;\t|"
SEPARATOR = "sep="  # start of a first line in which spreadsheets state the delimiter


class Row(NamedTuple):
    """One atom.

    Attributes:
        line: number of the line in the file.
        cells: texts by column.
        surplus: cells beyond the header, as where a number has a comma.
    """

    line: int
    cells: dict[str, str]
    surplus: list[str]


def read_csv(path: Path) -> Iterator[Found]:
    """Molecules of a .csv file with the columns molecule, element, x, y, z, in Angstrom.

    Rows with the same text under `molecule`, which is its name, belong together. The delimiter is
    detected; where it is not a comma, numbers may have decimal commas. Rows without any text are
    left out.

    Raises:
        InputError: there are no such columns, or the quotes of a row are wrong.
    """
    text = read_text(path)
    molecules: dict[str, list[Row]] = {}
    name = ""
    delimiter = _find_delimiter(text)
    for row in _read_rows(path, text, delimiter):
        name = row.cells["molecule"] or name  # a row without a name spoils the one above
        molecules.setdefault(name, []).append(row)
    for name, rows in molecules.items():
        yield name, attempt(_parse_molecule, rows, delimiter != ",")


def _find_delimiter(text: str) -> str:
    """The delimiter that splits the first line into the most of our columns."""
    lines = io.StringIO(text, newline="")
    rows = (line.strip().lower() for line in lines if any(map(str.isalnum, line)))
    header = next((row for row in rows if not row.startswith(SEPARATOR)), "")

    def known(delimiter: str) -> int:
        return sum(cell.strip(' "') in COLUMNS for cell in header.split(delimiter))

    return max(DELIMITERS, key=known)


def _read_rows(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    names: list[str] | None = None
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells) or (names is None and cells[0].lower().startswith(SEPARATOR)):
                continue
            if names is None:
                names = [cell.lower() for cell in cells]
                _check_columns(path, names)
            else:
                padded = cells + [""] * (len(names) - len(cells))
                surplus = [cell for cell in cells[len(names) :] if cell]
                yield Row(reader.line_num, dict(zip(names, padded, strict=False)), surplus)
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: {error}; check the quotes around it."
        ) from error


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a table without positions, also where it has SMILES."""
    if missing := [name for name in COLUMNS if name not in names]:
        plural = "s" if len(missing) > 1 else ""
        smiles = (
            " A SMILES states which atoms are bonded, not where they are."
            if "smiles" in " ".join(names)
            else ""
        )
        raise InputError(
            f"{path} lacks the column{plural} {', '.join(missing)}.{smiles} Give one row for each "
            f"atom, with the columns {', '.join(COLUMNS)} in Angstrom, or an .xyz or .sdf file."
        )
    if twice := [name for name in COLUMNS if names.count(name) > 1]:
        raise InputError(f"{path} has the column {twice[0]} twice; remove one of them.")


def _parse_molecule(rows: list[Row], decimal_comma: bool) -> Molecule:
    """A molecule from its rows."""
    positions = []
    for row in rows:
        shown = ", ".join([*(row.cells[name] for name in COLUMNS[1:]), *row.surplus])
        if not row.cells["molecule"]:
            raise InputError(
                f"line {row.line}: no name in the column molecule, which may mean the molecule "
                "above or another one; write the name in every row."
            )
        if row.surplus:
            raise InputError(
                f"line {row.line}: {shown!r} has more cells than the header; put names and numbers "
                "that hold the delimiter into quotes."
            )
        numbers = [row.cells[axis] for axis in "xyz"]
        if decimal_comma:
            numbers = [cell if "." in cell else cell.replace(",", ".") for cell in numbers]
        xyz = parse_numbers(numbers)
        if xyz is None or not row.cells["element"]:
            raise InputError(
                f"line {row.line}: {shown!r} should be an element and its position x, y, z."
            )
        positions.append(xyz)
    return make_molecule([row.cells["element"] for row in rows], positions)
