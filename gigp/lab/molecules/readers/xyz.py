"""Molecules from .xyz files: plain, extended as ASE reads them, or as QM9's own."""

import re
from collections.abc import Iterator
from pathlib import Path

from gigp.errors import InputError
from gigp.lab.data.entries import Found
from gigp.lab.data.text import parse_number, parse_numbers, read_lines, shorten
from gigp.lab.molecules.readers.molecule import CHARGES, LABEL, Molecule, attempt, make_molecule

COUNT = re.compile(r"\s*(\d+)\s*", re.ASCII)
MOST_DIGITS = 9  # of a count; more are a mistake
PLAIN = "species:S:1:pos:R:3"  # columns where the comment names none, as in ASE
CLOSING = {'"': '"', "'": "'", "{": "}", "[": "]"}


def read_xyz(path: Path) -> Iterator[Found]:
    """Frames of an .xyz file, with any further lines after the atoms, as in QM9's own files.

    A frame reaches from one line that holds nothing but a whole number to the next; its comment
    line is its name.
    """
    lines = read_lines(path)
    start = _next_count(lines, 0)
    if any(line.strip() for line in lines[:start]):
        first = next(number for number, line in enumerate(lines, 1) if line.strip())
        yield "", _no_count(first, lines[first - 1])
    while start < len(lines):
        end = _next_count(lines, start + 2)
        name = lines[start + 1].strip() if start + 1 < len(lines) else ""
        yield from _read_frame(lines, start, end, name)
        start = end


def parse_comment(comment: str) -> dict[str, str]:
    """Pairs of a comment line as ASE reads them: key=value, where quotes ("..." or '...') and
    brackets hold values with spaces, a backslash protects a character, and a key alone is T.
    """
    pairs: dict[str, str] = {}
    key, last, text, closing, escaped, quoted = None, "", "", "", False, False
    for char in [*comment.strip(), " "]:
        if escaped:
            text, escaped = text + char, False
        elif char == "\\":
            escaped = True
        elif closing:
            text, closing = (text, "") if char == closing else (text + char, closing)
        elif char in CLOSING:
            closing, quoted = CLOSING[char], True
        elif char == "=" and key is None:
            key, text, quoted = text or last, "", False
        elif not char.isspace():
            text += char
        elif text or quoted:
            last = text if key is None else key
            pairs[last] = "T" if key is None else text
            key, text, quoted = None, "", False
    return pairs


def _next_count(lines: list[str], start: int) -> int:
    """Index of the next line that is a number of atoms, or of the end."""
    numbers = range(start, len(lines))
    return next((i for i in numbers if COUNT.fullmatch(lines[i])), len(lines))


def _read_frame(lines: list[str], start: int, end: int, name: str) -> Iterator[Found]:
    """The molecule of the frame in lines[start:end], and the lines after it."""
    number = lines[start].strip()
    if len(number) > MOST_DIGITS:
        yield name, InputError(f"line {start + 1}: {shorten(number)} is not a number of atoms.")
        return
    count = int(number)
    numbered = enumerate(lines[start + 2 : end], start + 3)
    body = [(number, line) for number, line in numbered if line.strip()]
    further = [number for number, line in body[count:] if _is_atom(line)]
    if further and further[0] == body[count][0]:
        yield (
            name,
            InputError(f"line {start + 1}: the frame states {count} atoms, but more follow."),
        )
        return
    yield name, attempt(_parse_frame, count, name, body, start + 1)
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


def _parse_frame(count: int, comment: str, body: list[tuple[int, str]], line: int) -> Molecule:
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
    element, x = _find_columns(fields.get("Properties", PLAIN))
    elements, positions = [], []
    for number, text in body[:count]:
        words = text.split()
        xyz = parse_numbers(words[x : x + 3])
        if len(words) <= element or xyz is None or len(xyz) < 3:
            raise InputError(
                f"line {number}: {shorten(text)} should be an element and its position x y z."
            )
        elements.append(words[element])
        positions.append(xyz)
    return make_molecule(elements, positions, fields)


def _find_columns(properties: str) -> tuple[int, int]:
    """Columns of the element and of x, from a text such as species:S:1:pos:R:3, which gives name,
    type and number of columns of every property; Z counts before species, as in ASE.
    """
    words = properties.split(":")
    start: dict[str, int] = {}
    column = 0
    for name, width in zip(words[::3], words[2::3], strict=False):
        if not (width.isascii() and width.isdecimal() and len(width) < 4):
            raise InputError(
                f"Properties={shorten(properties)}: {shorten(width)} is not a valid width."
            )
        start[name] = column
        column += int(width)
    element = start.get("Z", start.get("species"))
    if element is None or "pos" not in start:
        raise InputError(
            f"Properties={shorten(properties)} names no columns species (or Z) and pos."
        )
    return element, start["pos"]
