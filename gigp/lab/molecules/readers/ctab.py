"""Tables of atoms and bonds, V2000 and V3000 (CTfile formats, BIOVIA)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gigp.errors import InputError
from gigp.lab.data.text import parse_numbers, shorten
from gigp.lab.molecules.readers.hydrogens import Bond

HEADER = 3  # lines before the counts line: name, program with the flag 2D or 3D, comment
V3000 = "M  V30 "
INTEGER = re.compile(r"[+-]?\d{1,3}", re.ASCII)
ATOM_CODES = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}  # charges in the block of atoms; 4: radical
UNPAIRED = {1: 2, 2: 1, 3: 2}  # electrons, by code of a radical: singlet, doublet, triplet


class Table(NamedTuple):
    """Atoms and bonds of a record.

    Attributes:
        elements: symbols of the atoms.
        positions: rows x, y, z.
        bonds: empty where they are not readable.
        formal: charges by number of the atom, from 1.
        radicals: codes of radicals by number of the atom.
    """

    elements: list[str]
    positions: list[list[float]]
    bonds: list[Bond]
    formal: dict[int, int]
    radicals: dict[int, int]


def parse_v2000(lines: list[str], before: int) -> Table:
    """The table of a record of fixed columns, after `before` lines of the file."""
    counts = lines[HEADER]
    if not (counts[:3].isascii() and counts[:3].strip().isdecimal()):
        raise InputError(
            f"line {before + HEADER + 1}: {shorten(counts, 40)} should be a V2000 counts line."
        )
    count = int(counts[:3])
    elements, positions, codes = [], [], {}
    rows = lines[HEADER + 1 : HEADER + 1 + count]
    for number, line in enumerate(rows, before + HEADER + 2):
        xyz = parse_numbers([line[:10], line[10:20], line[20:30]])
        if xyz is None or not line[31:34].strip():
            raise InputError(
                f"line {number}: {shorten(line)} should be x, y, z and an element, as V2000 places "
                "them."
            )
        elements.append(line[31:34].strip())
        positions.append(xyz)
        if INTEGER.fullmatch(code := line[36:39].strip()):
            codes[len(elements)] = int(code)
    check_count(count, len(elements), before)
    rest = lines[HEADER + 1 + count :]
    num = counts[3:6].strip()
    bonds = rest[: int(num)] if num.isascii() and num.isdecimal() else []
    formal, radicals = _properties(rest, codes)
    parsed = parse_bonds([b[6:9], b[:3], b[3:6]] for b in bonds)
    return Table(elements, positions, parsed, formal, radicals)


def _properties(lines: list[str], codes: dict[int, int]) -> tuple[dict[int, int], dict[int, int]]:
    """Charges and radicals by atom: those of the lines M  CHG and M  RAD, which replace all in the
    block of atoms where there are any.
    """
    formal: dict[int, int] = {}
    radicals: dict[int, int] = {}
    replaced = False
    for line in lines:
        if line.startswith(("M  CHG", "M  RAD")):  # how many, and pairs of atom and number
            replaced = True
            target = formal if line.startswith("M  CHG") else radicals
            words = line.split()[3:]
            for atom, value in zip(words[::2], words[1::2], strict=False):
                if INTEGER.fullmatch(atom) and INTEGER.fullmatch(value):
                    target[int(atom)] = int(value)
    if replaced:
        return formal, radicals
    return (
        {atom: ATOM_CODES[code] for atom, code in codes.items() if code in ATOM_CODES},
        {atom: 2 for atom, code in codes.items() if code == 4},
    )


def parse_v3000(lines: list[str], before: int) -> Table:
    """The table of a record of rows `index element x y z ...` between BEGIN ATOM and END ATOM."""
    count, block = 0, ""
    table = Table([], [], [], {}, {})
    bonds = []
    for number, words in _rows_of_v3000(lines, before):
        if words[:1] == ["COUNTS"] and len(words) > 1 and words[1].isdecimal():
            count = int(words[1][:9])
        elif words[:1] in (["BEGIN"], ["END"]):
            block = words[-1] if words[0] == "BEGIN" else ""
        elif block == "BOND":
            bonds.append(words[1:4])
        elif block == "ATOM":
            xyz = parse_numbers(words[2:5])
            if xyz is None or len(xyz) < 3:
                shown = shorten(lines[number - before - 1])
                raise InputError(
                    f"line {number}: {shown} should be a number, an element, and x y z."
                )
            table.elements.append(words[1])
            table.positions.append(xyz)
            for word in words[6:]:
                name, _, value = word.partition("=")
                if name in ("CHG", "RAD") and INTEGER.fullmatch(value) and int(value):
                    target = table.formal if name == "CHG" else table.radicals
                    target[len(table.elements)] = int(value)
    check_count(count, len(table.elements), before)
    return table._replace(bonds=parse_bonds(bonds))


def _rows_of_v3000(lines: list[str], before: int) -> Iterator[tuple[int, list[str]]]:
    """Words of the rows of a table, with the number of their last line; a hyphen at the end of a
    line continues it."""
    joined: list[str] = []
    for number, line in enumerate(lines[HEADER + 1 :], before + HEADER + 2):
        if not line.startswith(V3000):
            continue
        part = line.removeprefix(V3000).rstrip()
        joined.append(part.removesuffix("-"))
        if not part.endswith("-"):
            yield number, "".join(joined).split()
            joined.clear()


def parse_bonds(bonds: Iterable[Sequence[str]]) -> list[Bond]:
    """Type and atoms of bonds, for checks only; empty if one is not readable."""
    try:
        return [(int(kind), int(first), int(second)) for kind, first, second in bonds]
    except ValueError:
        return []


def check_count(stated: int, present: int, before: int) -> None:
    """Refuse a record that states another number of atoms than it has."""
    if present != stated:
        raise InputError(
            f"line {before + HEADER + 1}: the record states {stated} atoms, but has {present}."
        )
