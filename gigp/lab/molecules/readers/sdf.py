"""Molecules from .sdf and .mol files, V2000 and V3000 (CTfile formats, BIOVIA)."""

import re
from collections.abc import Iterator
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.data.entries import Found
from gigp.lab.data.text import parse_numbers, shorten, stream_lines
from gigp.lab.molecules.readers.ctab import HEADER, UNPAIRED, Table, parse_v2000, parse_v3000
from gigp.lab.molecules.readers.electrons import CHARGE, MULTIPLICITY, read_statement
from gigp.lab.molecules.readers.hydrogens import find_open_valences
from gigp.lab.molecules.readers.molecule import Molecule, attempt, make_molecule, nuclear_charge

COUNTS = re.compile(r".{3,}V[23]000\s*", re.ASCII)  # the fourth line of a record
UNSTAMPED = re.compile(r"[ \d]{2}\d[ \d]{2}\d.*", re.ASCII)  # the same in old files


def read_sdf(path: Path) -> Iterator[Found]:
    """Records of an .sdf file; the first line of a record is its name.

    A line $$$$ ends a record. Where it is missing, text after `M  END` that is not data begins
    the next record, so that nothing is lost.
    """
    chunk: list[str] = []
    before = 0
    for line in stream_lines(path):
        if line.startswith("$$$$"):
            yield from _read_chunk(chunk, before)
            before += len(chunk) + 1
            chunk = []
        else:
            chunk.append(line)
    yield from _read_chunk(chunk, before)


def _read_chunk(lines: list[str], before: int) -> Iterator[Found]:
    """Records between two delimiters, after `before` lines of the file."""
    end = len(lines)
    start = _find_header(lines, 0, end)
    while start < end:
        table_end = _find_table_end(lines, start, end)
        fields, after = _read_data(lines, table_end, end)
        table = lines[start:table_end]
        yield lines[start].strip(), attempt(_parse_record, table, before + start, fields)
        start = _find_header(lines, after, end)


def _find_header(lines: list[str], start: int, end: int) -> int:
    """Index where the next record begins, or `end`. Its first lines may be empty: the counts line
    tells, and without its stamp it is the fourth.
    """
    first = next((i for i in range(start, end) if lines[i].strip()), end)
    near = range(first, min(first + HEADER + 1, end))
    stamped = next((i for i in near if COUNTS.fullmatch(lines[i])), None)
    counts = next((i for i in near if _begins_atoms(lines, i, end)), first + HEADER)
    counts = counts if stamped is None else stamped
    return max(start, counts - HEADER) if first < end else end


def _begins_atoms(lines: list[str], i: int, end: int) -> bool:
    """Whether a line looks like a counts line, and the next one like an atom."""
    if i + 1 >= end or not UNSTAMPED.fullmatch(lines[i]):
        return False
    atom = lines[i + 1]
    return parse_numbers([atom[:10], atom[10:20], atom[20:30]]) is not None


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
    """Data fields from `start` on, and the index after the last of them.

    Up to the next field, all lines belong to a value, blank ones too, unless a record begins.
    """
    first = next((lines[i] for i in range(start, end) if lines[i].strip()), "")
    if not first.startswith(">"):
        return {}, start
    counts = (i for i in range(start, end) if COUNTS.fullmatch(lines[i]))
    end = next((max(start, i - HEADER) for i in counts), end)
    heads = [i for i in range(start, end) if lines[i].startswith(">")]
    fields = {}
    for head, following in zip(heads, [*heads[1:], end], strict=True):
        fields[_data_name(lines[head])] = "\n".join(lines[head + 1 : following]).strip()
    return fields, end if heads else start


def _data_name(line: str) -> str:
    """The name in a line `> ... <NAME>`, or nothing."""
    end = line.rfind(">")
    start = line.rfind("<", 1, max(1, end - 1))
    return line[start + 1 : end] if start > 0 else ""


def _parse_record(lines: list[str], before: int, fields: dict[str, str]) -> Molecule:
    """A molecule from the header and the table of a record, after `before` lines of the file."""
    if len(lines) <= HEADER:
        raise InputError(
            f"line {before + 1}: {shorten(lines[0])} begins no record: three lines of header and a "
            "counts line."
        )
    parse = parse_v3000 if "V3000" in lines[HEADER] else parse_v2000
    table = parse(lines, before)
    flat = all(z == 0 for _, _, z in table.positions)
    if flat and len(table.positions) > 1 and lines[1][20:22] != "3D":
        raise InputError(
            f"line {before + 2}: a 2D drawing has no positions in space (no 3D in columns 21 and "
            "22, and every z is 0); write 3D coordinates."
        )
    charges = [nuclear_charge(element) for element in table.elements]
    unpaired = {atom: UNPAIRED.get(code, 0) for atom, code in table.radicals.items()}
    stated = read_statement(f"{lines[0]} {lines[2]}", sum(charges)) | _stated(table, unpaired)
    missing = find_open_valences(charges, table.bonds, table.formal, unpaired)
    return make_molecule(table.elements, table.positions, stated | fields, missing)


def _stated(table: Table, unpaired: dict[int, int]) -> dict[str, str]:
    """Charge and multiplicity as fields, where atoms are charged or radicals."""
    states = {}
    if charge := sum(table.formal.values()):
        states[CHARGE] = f"{charge:+}"
    if any(unpaired.values()):
        states[MULTIPLICITY] = str(1 + sum(unpaired.values()))
    return states
