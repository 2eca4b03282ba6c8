"""Molecules from .xyz files: plain, extended as ASE reads them, or as QM9's own."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.data.entries import Found
from gigp.lab.data.text import parse_number, parse_numbers, shorten, stream_lines
from gigp.lab.molecules.readers.comment import find_name, parse_comment
from gigp.lab.molecules.readers.electrons import fields_of_atoms, read_statement
from gigp.lab.molecules.readers.molecule import (
    CHARGES,
    LABEL,
    Molecule,
    attempt,
    make_molecule,
    nuclear_charge,
)
from gigp.lab.molecules.readers.units import BOHR, factor_to_angstrom

COUNT = re.compile(r"\s*(\d+)\s*", re.ASCII)
MOST_DIGITS = 9  # of a count; more are a mistake
PLAIN = "species:S:1:pos:R:3"  # columns where the comment names none, as in ASE
POSITIONS = ("pos", "positions", "position", "coords", "xyz")
ELEMENT = ("Z", "numbers", "species", "symbols", "element", "elements")  # numbers count first
Line = tuple[int, str]  # a line with its number in the file


def read_xyz(path: Path) -> Iterator[Found]:
    """Frames of an .xyz file, with any further lines after the atoms, as in QM9's own files.

    A frame reaches from one line that holds nothing but a whole number to the next; its second line
    is a comment.
    """
    frame: list[Line] = []
    for number, line in enumerate(stream_lines(path), 1):
        if len(frame) != 1 and COUNT.fullmatch(line):  # the line after a number is a comment
            yield from _read_frame(frame)
            frame = []
        frame.append((number, line))
    yield from _read_frame(frame)


def _read_frame(lines: list[Line]) -> Iterator[Found]:
    """The molecule of a frame, and the lines after it."""
    if not lines or not COUNT.fullmatch(lines[0][1]):
        if first := next((line for line in lines if line[1].strip()), None):
            yield "", _no_count(*first)
        return
    (start, number), comment = lines[0], lines[1][1].strip() if len(lines) > 1 else ""
    name = find_name(comment)
    if len(number.strip()) > MOST_DIGITS:
        yield name, InputError(f"line {start}: {shorten(number)} is not a number of atoms.")
        return
    count = int(number)
    body = [(number, line) for number, line in lines[2:] if line.strip()]
    further = [number for number, line in body[count:] if _is_atom(line)]
    if further and further[0] == body[count][0]:
        yield name, InputError(f"line {start}: the frame states {count} atoms, but more follow.")
        return
    yield name, attempt(_parse_frame, count, comment, body, start)
    if further:
        yield "", _no_count(*body[count])


def _no_count(number: int, line: str) -> InputError:
    return InputError(f"line {number}: expected the number of atoms, not {shorten(line, 40)}.")


def _is_atom(line: str) -> bool:
    """Whether a line holds an element and three other numbers, in any order."""
    words = line.split()
    numbers = [word for word in words if parse_number(word) is not None]
    labels = [match[1] for word in words if (match := LABEL.fullmatch(word))]
    if any(label.capitalize() in CHARGES for label in labels):
        return len(numbers) >= 3
    return len(numbers) > 3 and any(word.isdecimal() and len(word) <= 3 for word in words)


def _parse_frame(count: int, comment: str, body: list[Line], line: int) -> Molecule:
    """A molecule from a frame.

    Args:
        count: number of atoms that the frame states.
        comment: its second line.
        body: its other lines that are not empty, with their numbers.
        line: number of its first line.
    """
    if len(body) < count:
        missing = " (the second line of a frame is a comment)" if _is_atom(comment) else ""
        raise InputError(
            f"line {line}: the frame states {count} atoms, but has {len(body)}{missing}."
        )
    fields = parse_comment(comment)
    columns = _parse_columns(fields.get("Properties", PLAIN))
    element, x = _find_columns(columns, fields.get("Properties", PLAIN))
    elements, positions, rows = [], [], []
    for number, text in body[:count]:
        words = text.split()
        xyz = parse_numbers(words[x : x + 3])
        if len(words) <= element or xyz is None or len(xyz) < 3:
            raise InputError(
                f"line {number}: {shorten(text)} should be an element and its position x y z."
            )
        elements.append(words[element])
        positions.append(xyz)
        rows.append(words)
    return make_molecule(elements, positions, _complete(fields, comment, elements, columns, rows))


def _complete(
    fields: dict[str, str],
    comment: str,
    elements: Sequence[str],
    columns: dict[str, tuple[int, int]],
    rows: list[list[str]],
) -> dict[str, str]:
    """The fields of a comment, and what its words and the columns of its atoms say of charge, spin
    and unit, where a field of that name does not.
    """
    electrons = sum(map(nuclear_charge, elements))
    of_atoms = {
        name: [" ".join(words[start : start + width]) for words in rows]
        for name, (start, width) in columns.items()
    }
    said = fields_of_atoms(of_atoms) | read_statement(comment, electrons)
    if factor_to_angstrom({}, comment) == BOHR:
        said["units"] = "bohr"
    # a word alone, as charge in "charge 1", is a flag
    return fields | {name: text for name, text in said.items() if fields.get(name, "T") == "T"}


def _parse_columns(properties: str) -> dict[str, tuple[int, int]]:
    """First column and number of columns of every property, from a text such as
    species:S:1:pos:R:3.
    """
    words = properties.split(":")
    columns: dict[str, tuple[int, int]] = {}
    start = 0
    for name, width in zip(words[::3], words[2::3], strict=False):
        if not (width.isascii() and width.isdecimal() and len(width) < 4):
            raise InputError(
                f"Properties={shorten(properties)}: {shorten(width)} is not a valid width."
            )
        columns[name] = start, int(width)
        start += int(width)
    return columns


def _find_columns(columns: dict[str, tuple[int, int]], properties: str) -> tuple[int, int]:
    """Columns of the element and of x; numbers count before symbols, as in ASE."""
    element = next((columns[name][0] for name in ELEMENT if name in columns), None)
    x = next((columns[name][0] for name in POSITIONS if name in columns), None)
    if element is None or x is None:
        raise InputError(
            f"Properties={shorten(properties)} names no columns species (or Z) and pos."
        )
    return element, x
