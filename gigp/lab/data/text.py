"""Text files of any program: lines, numbers, and printable text."""

import codecs
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

# an exponent is written with e, or d as in Fortran, or *^ as in the files of QM9
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:(?:[eEdD]|\*\^)[+-]?\d+)?", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# control characters, halves of characters, and separators of lines; the others reverse the text
HIDDEN_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
REVERSING = {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}


def read_text(path: Path) -> str:
    """Text in UTF-8 or, with a byte order mark, UTF-16; otherwise in Latin-1, which keeps names
    apart that differ in one letter.
    """
    content = path.read_bytes()
    if content.startswith(UTF16_MARKS):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_lines(path: Path) -> list[str]:
    """Lines of a text file; they end with LF, CRLF or CR.

    `str.splitlines` would also split at form feeds and other characters that comments may hold.
    """
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def parse_number(word: str) -> float | None:
    """A number as programs write it: 1.5, 1.5e-3, 1.5D-03, 1.5*^-3, NaN; None for anything else,
    also for 1_000 and digits of other scripts, which Python would take.
    """
    word = word.strip()
    if NUMBER.fullmatch(word):
        return float(re.sub(r"[dD]|\*\^", "e", word))
    return float(word) if NOT_FINITE.fullmatch(word) else None


def parse_numbers(words: Sequence[str]) -> list[float] | None:
    """All of them as numbers, or None if one is not."""
    numbers = [number for word in words if (number := parse_number(word)) is not None]
    return numbers if len(numbers) == len(words) else None


def shorten(text: str, length: int = 60) -> str:
    """The text in quotes, its middle left out where it is longer."""
    text = text.strip()
    if len(text) > length:
        half = length // 2
        text = f"{text[:half]}...{text[-half // 2 :]}"
    return repr(text)


def printable(text: str) -> str:
    """The text with control characters as escapes, so that a name neither moves a terminal's cursor
    nor breaks a line; tabs stay.
    """

    def hidden(char: str) -> bool:
        return unicodedata.category(char) in HIDDEN_CATEGORIES or char in REVERSING

    return "".join(
        char.encode("unicode_escape").decode() if char != "\t" and hidden(char) else char
        for char in text
    )
