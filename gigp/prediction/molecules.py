"""Molecules from .xyz, .sdf and .csv files.

The readers are this project's own, because they must go on after a broken frame and say what is
wrong with it; the usual libraries stop at the first, and none reads the files of QM9 itself, with
exponents as in 1.2*^-5.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gigp.datasets.atoms import ELEMENTS
from gigp.errors import InputError
from gigp.prediction.entries import Found, Reader

MOST_ATOMS = 400  # 29 in QM9; memory grows with the square
CLOSEST = 0.1  # Angstrom; atoms nearer than this are in one place
CSV_COLUMNS = ("molecule", "element", "x", "y", "z")


class Molecule(NamedTuple):
    """Nuclear charges (n,) int64 and positions (n, 3) float64 in Angstrom."""

    charges: Tensor
    positions: Tensor


def make_molecule(elements: Sequence[str], positions: Sequence[Sequence[float]]) -> Molecule:
    """A molecule of elements by symbol or nuclear charge, and positions in Angstrom.

    Raises:
        InputError: no atoms or too many, other elements than QM9's, positions that are not finite
            or coincide.
    """
    if not 1 <= len(elements) <= MOST_ATOMS:
        raise InputError(
            f"{len(elements)} atoms; a molecule has 1 to {MOST_ATOMS} (QM9's have up to 29)."
        )
    names = {str(charge): symbol for symbol, charge in ELEMENTS.items()}
    symbols = [names.get(element, element.capitalize()) for element in elements]
    if unknown := sorted(set(symbols) - set(ELEMENTS)):
        raise InputError(
            f"element {', '.join(unknown)} is unknown to models of QM9, which know "
            f"{', '.join(ELEMENTS)}."
        )
    pos = torch.tensor(positions, dtype=torch.float64)  # (n, 3)
    if not pos.isfinite().all():
        atom = int((~pos.isfinite()).any(1).nonzero()[0])
        raise InputError(f"the position of atom {atom + 1} is not finite: {pos[atom].tolist()}.")
    if len(pos) > 1 and (nearest := torch.pdist(pos).min().item()) < CLOSEST:
        raise InputError(
            f"two atoms lie {nearest:.2g} Angstrom apart; are these really positions, and in "
            "Angstrom?"
        )
    return Molecule(torch.tensor([ELEMENTS[symbol] for symbol in symbols]), pos)


def read_xyz(path: Path) -> Iterator[Found]:
    """Frames of an .xyz file, plain, extended (Properties=...), or as QM9's own with further lines
    after the atoms.

    A frame reaches from one line that holds nothing but a number to the next; its comment line is
    its name.
    """
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    at = _next_count(lines, 0)
    if any(line.strip() for line in lines[:at]):
        yield (
            "",
            InputError(f"line 1: the number of atoms should stand here, not {lines[0][:40]!r}."),
        )
    while at < len(lines):
        end = _next_count(lines, at + 2)
        count, name = int(lines[at]), lines[at + 1].strip() if at + 1 < len(lines) else ""
        body = [
            (number, line)
            for number, line in enumerate(lines[at + 2 : end], at + 3)
            if line.strip()
        ]
        rest = [number for number, line in body[count:] if _is_atom(line)]
        if rest and rest[0] == body[count][0]:
            yield name, InputError(f"line {at + 1}: the frame says {count} atoms, but more follow.")
        else:
            yield name, _attempt(_frame, count, name, body, at + 1)
            if rest:
                number, line = body[count]
                yield (
                    "",
                    InputError(
                        f"line {number}: the number of atoms should stand here, not {line[:40]!r}."
                    ),
                )
        at = end


def read_sdf(path: Path) -> Iterator[Found]:
    """Records of an .sdf file in the V2000 format; the first line of a record is its name."""
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    start = 0
    for end in [*(i for i, line in enumerate(lines) if line.startswith("$$$$")), len(lines)]:
        if any(line.strip() for line in lines[start:end]):
            yield lines[start].strip(), _attempt(_record, lines[start:end], start)
        start = end + 1


def read_csv(path: Path) -> Iterator[Found]:
    """Molecules of a .csv file with the columns molecule, element, x, y, z: one row for each atom,
    in Angstrom.

    Rows with the same text under `molecule`, which is its name, belong together.

    Raises:
        InputError: there are no such columns.
    """
    rows: dict[str, list[tuple[int, dict[str, str]]]] = {}
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        table = csv.DictReader(file, skipinitialspace=True)
        try:
            _check_columns(path, table.fieldnames or [])
            table.fieldnames = [name.strip().lower() for name in table.fieldnames or []]
            for row in table:
                rows.setdefault((row["molecule"] or "").strip(), []).append((table.line_num, row))
        except csv.Error as error:
            raise InputError(f"{path}, line {table.line_num}: {error}.") from error
    for name, atoms in rows.items():
        yield name, _attempt(_table, atoms)


READERS: dict[str, Reader] = {
    ".xyz": read_xyz,
    ".extxyz": read_xyz,
    ".sdf": read_sdf,
    ".mol": read_sdf,
    ".csv": read_csv,
}


def _attempt(parse, *arguments) -> Molecule | InputError:
    """What a parser returns, or the error that it raises."""
    try:
        return parse(*arguments)
    except InputError as error:
        return error


def _next_count(lines: list[str], start: int) -> int:
    """Index of the next line that is a number of atoms, else of the end."""
    return next((i for i in range(start, len(lines)) if lines[i].strip().isdecimal()), len(lines))


def _is_atom(line: str) -> bool:
    """Whether a line holds a symbol or nuclear charge, and three other numbers, in whatever
    order.
    """
    words = line.split()
    named = any(re.fullmatch(r"[A-Za-z]{1,2}|\d{1,3}", word) for word in words)
    return named and len(words) > 3 and sum(_floats([word]) is not None for word in words) >= 3


def _floats(words: Sequence[str]) -> list[float] | None:
    try:
        return [float(word.replace("*^", "e")) for word in words]
    except ValueError:
        return None


def _frame(count: int, comment: str, body: list[tuple[int, str]], line: int) -> Molecule:
    """A molecule from a frame that starts at a line; body: numbered lines."""
    if len(body) < count:
        missing = " (the second line of a frame is a comment)" if _is_atom(comment) else ""
        raise InputError(
            f"line {line}: the frame says {count} atoms, but has {len(body)}{missing}."
        )
    element, x = _columns(comment)
    elements, positions = [], []
    for number, text in body[:count]:
        words = text.split()
        xyz = _floats(words[x : x + 3])
        if len(words) <= element or not xyz or len(xyz) < 3:
            raise InputError(
                f"line {number}: {text.strip()[:60]!r} should be an element and its position x y z."
            )
        elements.append(words[element])
        positions.append(xyz)
    return make_molecule(elements, positions)


def _columns(comment: str) -> tuple[int, int]:
    """In which columns of a frame the element and x stand; `Properties=species:S:1:pos:R:3` in the
    comment tells.
    """
    match = re.search(r"\bProperties\s*=\s*\"?([\w:]+)", comment)
    if match is None:
        return 0, 1
    fields, column, start = match[1].split(":"), 0, {}
    for name, width in zip(fields[::3], fields[2::3], strict=False):
        start[name] = column
        column += int(width) if width.isdecimal() else 1
    element = start.get("species", start.get("Z"))
    if element is None or "pos" not in start:
        raise InputError(f"Properties={match[1]} names no columns species (or Z) and pos.")
    return element, start["pos"]


def _record(lines: list[str], before: int) -> Molecule:
    """A molecule from a V2000 record, after so many lines of the file."""
    if len(lines) < 4:
        raise InputError(
            f"line {before + 1}: a record has three lines of header and a counts line."
        )
    counts, dimension = lines[3], lines[1][20:22]
    if "V3000" in counts:
        raise InputError(
            f"line {before + 4}: the record is in the V3000 format; write it as V2000."
        )
    if not counts[:3].strip().isdecimal():
        raise InputError(f"line {before + 4}: {counts[:40]!r} should be a V2000 counts line.")
    if dimension == "2D":
        raise InputError(
            f"line {before + 2}: a 2D drawing has no positions in space; write 3D coordinates."
        )
    count = int(counts[:3])
    elements, positions = [], []
    for number, line in enumerate(lines[4 : 4 + count], before + 5):
        xyz = _floats([line[:10], line[10:20], line[20:30]])
        if xyz is None or not line[31:34].strip():
            raise InputError(
                f"line {number}: {line[:60]!r} should be x, y, z and an element, as V2000 places "
                "them."
            )
        elements.append(line[31:34].strip())
        positions.append(xyz)
    if len(elements) < count:
        raise InputError(
            f"line {before + 4}: the record says {count} atoms, but ends after {len(elements)}."
        )
    return make_molecule(elements, positions)


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a table without positions, and say why a SMILES has none."""
    given = [name.strip().lower() for name in names]
    missing = [name for name in CSV_COLUMNS if name not in given]
    if not names:
        raise InputError(f"{path} is empty: it holds nothing to predict.")
    if missing:
        smiles = (
            " A SMILES says which atoms are bonded, not where they are."
            if "smiles" in " ".join(given)
            else ""
        )
        raise InputError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}.{smiles} Give "
            f"one row for each atom, with the columns {', '.join(CSV_COLUMNS)} in Angstrom, or an "
            ".xyz or .sdf file."
        )


def _table(atoms: list[tuple[int, dict[str, str]]]) -> Molecule:
    """A molecule from numbered rows of a table."""
    positions = []
    for number, row in atoms:
        xyz = _floats([row[axis] or "" for axis in "xyz"])
        if xyz is None or not row["element"]:
            cells = ", ".join(str(row[name]) for name in CSV_COLUMNS[1:])
            raise InputError(
                f"line {number}: {cells!r} should be an element and its position x, y, z."
            )
        positions.append(xyz)
    return make_molecule([row["element"].strip() for _, row in atoms], positions)
