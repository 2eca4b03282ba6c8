"""Molecules from .csv files, one row for each atom."""

import csv
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gigp.errors import InputError
from gigp.lab.data.entries import Found
from gigp.lab.data.text import parse_numbers, stream_lines, text_size
from gigp.lab.molecules.readers.electrons import fields_of_atoms, is_charge, is_spin
from gigp.lab.molecules.readers.molecule import Molecule, attempt, make_molecule
from gigp.lab.molecules.readers.units import LENGTHS
from gigp.lab.progress import report_read

COLUMNS = ("molecule", "element", "x", "y", "z")
OTHER_NAMES = {  # of columns, in the order in which they are looked for
    "molecule": ("molecule_name", "molecule_id", "mol_id", "mol", "name", "id"),
    "element": ("symbol", "atomic_number", "atomic_num", "atom_symbol", "atom", "species"),
}
UNIT = re.compile(r"([xyz])[\s_]*+[(\[]?+\s*+([^\s()\[\]_]++)\s*+[)\]]?")  # x (bohr), y_nm
DELIMITERS = ",;\t|"
MOST_COLUMNS = 1000
SEPARATOR = "sep="  # start of a first line in which spreadsheets state the delimiter


class Header(NamedTuple):
    """The columns of a table.

    Attributes:
        places: number of the column of each of `COLUMNS`.
        others: columns with charges and spins, by name.
        unit: of the positions; empty where none is stated.
        width: number of columns.
    """

    places: dict[str, int]
    others: dict[str, int]
    unit: str
    width: int


class Atoms:
    """Rows of one molecule, kept small: a table may have millions.

    Attributes:
        elements: their texts.
        numbers: x, y, z of all atoms, one after the other.
        others: texts of further columns, by name, where they have any.
        error: what is wrong with the first bad row.
    """

    __slots__ = ("elements", "error", "numbers", "others")

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.numbers = array("d")
        self.others: dict[str, list[str]] | None = None
        self.error = ""


def read_csv(path: Path) -> Iterator[Found]:
    """Molecules of a .csv file with the columns molecule, element, x, y, z, in Angstrom.

    Rows with the same text under `molecule`, which is its name, belong together. The delimiter is
    detected; where it is not a comma, numbers may have decimal commas. Rows without any text are
    left out.

    Raises:
        InputError: there are no such columns, or the quotes of a row are wrong.
    """
    lines = stream_lines(path, report=False)  # no molecule is known before the last
    first = list(_first_lines(lines))
    delimiter = _find_delimiter(first[-1] if first else "")
    molecules: dict[str, Atoms] = {}
    symbols: dict[str, str] = {}  # every text of an element once
    header, name = None, ""
    for number, cells in _read_rows(path, chain(first, lines), delimiter):
        if header is None:
            header = _parse_header(path, [cell.lower() for cell in cells])
            continue
        cells += [""] * (header.width - len(cells))
        given = cells[header.places["molecule"]]
        name = given or name  # a row without a name spoils the one above
        atoms = molecules.setdefault(name, Atoms())
        atoms.error = atoms.error or _add_row(atoms, header, cells, number, delimiter, symbols)
    share = text_size(path) / max(1, len(molecules))
    for name in list(molecules):
        report_read(share)
        yield name, attempt(_make, molecules.pop(name), header.unit if header else "")


def _first_lines(lines: Iterator[str]) -> Iterator[str]:
    """Lines up to the header."""
    for line in lines:
        yield line
        if any(map(str.isalnum, line)) and not line.strip().lower().startswith(SEPARATOR):
            return


def _find_delimiter(header: str) -> str:
    """The delimiter that splits the header into the most of our columns."""

    def known(delimiter: str) -> int:
        cells = [cell.strip(' "').lower() for cell in header.split(delimiter)]
        names = {*COLUMNS, *chain.from_iterable(OTHER_NAMES.values())}
        return sum(cell in names or bool(UNIT.fullmatch(cell)) for cell in cells)

    return max(DELIMITERS, key=known)


def _read_rows(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with text, and the numbers of their last lines."""
    ended = (f"{line}\n" for line in lines)
    reader = csv.reader(ended, delimiter=delimiter, skipinitialspace=True, strict=True)
    begun = False
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells) and (begun or not cells[0].lower().startswith(SEPARATOR)):
                begun = True
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: {error}; check the quotes around it."
        ) from error


def _parse_header(path: Path, names: list[str]) -> Header:
    """The columns that are needed, also by other names, and the unit behind x, y, z."""
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{path} has {len(names):,} columns; {MOST_COLUMNS:,} are allowed.")
    units = {}
    for i, name in enumerate(names):
        if (match := UNIT.fullmatch(name)) and match[2] in LENGTHS:
            names[i], units[match[1]] = match[1], match[2]
    for column, known in OTHER_NAMES.items():
        if column not in names and (other := next((o for o in known if o in names), None)):
            names[names.index(other)] = column
    _check_columns(path, names)
    if len(set(units.values())) > 1 or len(units) not in (0, 3):
        raise InputError(f"{path} has no one unit for x, y and z; write the same behind all.")
    others = {
        name: i
        for i, name in enumerate(names)
        if name not in COLUMNS and (is_charge(name) or is_spin(name))
    }
    places = {column: names.index(column) for column in COLUMNS}
    return Header(places, others, units.get("x", ""), len(names))


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


def _add_row(
    atoms: Atoms, header: Header, cells: list[str], line: int, delimiter: str, known: dict[str, str]
) -> str:
    """Add an atom; what is wrong with its row, or nothing."""
    places, surplus = header.places, [cell for cell in cells[header.width :] if cell]
    element, *numbers = (cells[places[name]] for name in COLUMNS[1:])
    shown = ", ".join([element, *numbers, *surplus])
    if not cells[places["molecule"]]:
        return (
            f"line {line}: no name in the column molecule, which may mean the molecule above or "
            "another one; write the name in every row."
        )
    if surplus:
        return (
            f"line {line}: {shown!r} has more cells than the header; put names and numbers that "
            "hold the delimiter into quotes."
        )
    if delimiter != ",":
        numbers = [cell if "." in cell else cell.replace(",", ".") for cell in numbers]
    xyz = parse_numbers(numbers)
    if xyz is None or not element:
        return f"line {line}: {shown!r} should be an element and its position x, y, z."
    atoms.elements.append(known.setdefault(element, element))
    atoms.numbers.extend(xyz)
    for name, place in header.others.items():
        atoms.others = atoms.others or {other: [] for other in header.others}
        atoms.others[name].append(known.setdefault(cells[place], cells[place]))
    return ""


def _make(atoms: Atoms, unit: str) -> Molecule:
    """The molecule of some rows."""
    if atoms.error:
        raise InputError(atoms.error)
    fields = fields_of_atoms(atoms.others or {}) | ({"units": unit} if unit else {})
    positions = np.frombuffer(atoms.numbers).reshape(-1, 3).copy()
    return make_molecule(atoms.elements, positions, fields)
