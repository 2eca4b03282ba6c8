"""Molecules from .sdf and .mol files, V2000 and V3000 (CTfile formats, BIOVIA)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.data.entries import Found
from gigp.lab.data.text import parse_numbers, read_lines, shorten
from gigp.lab.molecules.readers.hydrogens import Bond, check_hydrogens
from gigp.lab.molecules.readers.molecule import Molecule, attempt, make_molecule

COUNTS = re.compile(r".{3,}V[23]000\s*", re.ASCII)  # the fourth line of a record
DATA_NAME = re.compile(r">.*<(.+)>")
HEADER = 3  # lines before the counts line: name, program with the flag 2D or 3D, comment
V3000 = "M  V30 "
V3000_CHARGE = re.compile(r"\bCHG=(-?\d{1,3})\b", re.ASCII)
INTEGER = re.compile(r"[+-]?\d{1,3}", re.ASCII)
Atoms = tuple[list[str], list[list[float]], list[Bond]]  # elements, positions, bonds
# a charge or an unpaired electron, in V2000 and in V3000
CHARGED = re.compile(r"M  (CHG|RAD)|M  V30 .*\b(CHG|RAD)=[^0]", re.ASCII)


def read_sdf(path: Path) -> Iterator[Found]:
    """Records of an .sdf file; the first line of a record is its name.

    A line $$$$ ends a record. Where it is missing, text after `M  END` that is not data begins
    the next record, so that nothing is lost.
    """
    lines = read_lines(path)
    ends = [i for i, line in enumerate(lines) if line.startswith("$$$$")]
    for before, end in pairwise([-1, *ends, len(lines)]):
        start = _find_header(lines, before + 1, end)
        while start < end:
            table_end = _find_table_end(lines, start, end)
            fields, after = _read_data(lines, table_end, end)
            table = lines[start:table_end]
            yield lines[start].strip(), attempt(_parse_record, table, start, fields)
            start = _find_header(lines, after, end)


def _find_header(lines: list[str], start: int, end: int) -> int:
    """Index where the next record begins, or `end`. Its first lines may be empty: the counts line
    tells.
    """
    first = next((i for i in range(start, end) if lines[i].strip()), end)
    near = range(first, min(first + HEADER + 1, end))
    counts = next((i for i in near if COUNTS.fullmatch(lines[i])), first + HEADER)
    return max(start, counts - HEADER) if first < end else end


def _find_table_end(lines: list[str], start: int, end: int) -> int:
    """Index after the atoms and bonds of the record that begins at `start`."""
    for i in range(start + HEADER + 1, end):
        if lines[i].split() == ["M", "END"]:
            return i + 1
        if lines[i].startswith(">"):
            return i
        if COUNTS.fullmatch(lines[i]):  # of a record after one without M  END
            return i - HEADER
    return end


def _read_data(lines: list[str], start: int, end: int) -> tuple[dict[str, str], int]:
    """Data fields from `start` on, and the index after the last of them."""
    fields: dict[str, str] = {}
    i = after = start
    while i < end and (lines[i].startswith(">") or not lines[i].strip()):
        if lines[i].startswith(">"):
            name = DATA_NAME.match(lines[i])
            values = []
            while i + 1 < end and lines[i + 1].strip():
                i += 1
                values.append(lines[i])
            fields[name[1] if name else ""] = "\n".join(values)
            after = i + 1
        i += 1
    return fields, after


def _parse_record(lines: list[str], before: int, fields: dict[str, str]) -> Molecule:
    """A molecule from the header and the table of a record, after `before` lines of the file."""
    if len(lines) <= HEADER:
        raise InputError(
            f"line {before + 1}: {shorten(lines[0])} begins no record: three lines of header and a "
            "counts line."
        )
    counts = lines[HEADER]
    parse = _parse_v3000 if "V3000" in counts else _parse_v2000
    elements, positions, bonds = parse(lines, before)
    flat = all(z == 0 for _, _, z in positions)
    if flat and len(positions) > 1 and lines[1][20:22] != "3D":
        raise InputError(
            f"line {before + 2}: a 2D drawing has no positions in space (no 3D in columns 21 and "
            "22, and every z is 0); write 3D coordinates."
        )
    if charge := _net_charge(lines):
        fields = {"charge": f"{charge:+}"} | fields
    molecule = make_molecule(elements, positions, fields)
    if not any(map(CHARGED.match, lines)):
        check_hydrogens(elements, bonds)
    return molecule


def _parse_v2000(lines: list[str], before: int) -> Atoms:
    counts = lines[HEADER]
    if not (counts[:3].isascii() and counts[:3].strip().isdecimal()):
        raise InputError(
            f"line {before + HEADER + 1}: {shorten(counts, 40)} should be a V2000 counts line."
        )
    count = int(counts[:3])
    elements, positions = [], []
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
    _check_count(count, len(elements), before)
    rest = lines[HEADER + 1 + count :]
    num = counts[3:6].strip()
    bonds = rest[: int(num)] if num.isascii() and num.isdecimal() else []
    return elements, positions, _parse_bonds([b[6:9], b[:3], b[3:6]] for b in bonds)


def _parse_v3000(lines: list[str], before: int) -> Atoms:
    """Rows `index element x y z ...` between BEGIN ATOM and END ATOM; a hyphen at the end of a line
    continues it."""
    count, block, joined = 0, "", ""
    elements, positions, bonds = [], [], []
    for number, line in enumerate(lines[HEADER + 1 :], before + HEADER + 2):
        if not line.startswith(V3000):
            continue
        joined += line.removeprefix(V3000).rstrip()
        if joined.endswith("-"):
            joined = joined.removesuffix("-")
            continue
        words, joined = joined.split(), ""
        if words[:1] == ["COUNTS"] and len(words) > 1 and words[1].isdecimal():
            count = int(words[1][:9])
        elif words[:1] in (["BEGIN"], ["END"]):
            block = words[-1] if words[0] == "BEGIN" else ""
        elif block == "BOND":
            bonds.append(words[1:4])
        elif block == "ATOM":
            xyz = parse_numbers(words[2:5])
            if xyz is None or len(xyz) < 3:
                raise InputError(
                    f"line {number}: {shorten(line)} should be a number, an element, and x y z."
                )
            elements.append(words[1])
            positions.append(xyz)
    _check_count(count, len(elements), before)
    return elements, positions, _parse_bonds(bonds)


def _parse_bonds(bonds: Iterable[Sequence[str]]) -> list[Bond]:
    """Type and atoms of bonds, for checks only; empty if one is not readable."""
    try:
        return [(int(kind), int(first), int(second)) for kind, first, second in bonds]
    except ValueError:
        return []


def _net_charge(lines: Sequence[str]) -> int:
    """Sum of the formal charges that a record states, in either format."""
    total = 0
    for line in lines:
        if line.startswith("M  CHG"):  # M  CHG, how many, and pairs of atom and charge
            charges = line.split()[4::2]
        else:
            charges = V3000_CHARGE.findall(line) if line.startswith(V3000) else []
        total += sum(int(charge) for charge in charges if INTEGER.fullmatch(charge))
    return total


def _check_count(stated: int, found: int, before: int) -> None:
    if found != stated:
        raise InputError(
            f"line {before + HEADER + 1}: the record states {stated} atoms, but has {found}."
        )
