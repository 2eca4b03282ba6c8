"""Text files of any program: lines, numbers, and cells of tables."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TextIO, cast

from gigp.errors import InputError, printable
from gigp.lab.files import open_regular
from gigp.lab.progress import report_read

BLOCK = 1 << 20  # bytes that are read at a time
MOST_BYTES = 4 * 10**9  # of text, also when decompressed
LONGEST = 1_000_000  # characters in a line

# an exponent is written with e, or d as in Fortran, or *^ as in the files of QM9
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:(?:[eEdD]|\*\^)[+-]?\d+)?", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_text(path: Path) -> TextIO:
    """A file of text, opened: UTF-8 or, with a byte order mark, UTF-16; otherwise Latin-1, which
    keeps names apart that differ in one letter. Files that end in .gz are decompressed.

    Lines end with LF, CRLF or CR; `str.splitlines` would also split at form feeds and other
    characters that comments may hold.

    Raises:
        InputError: it is no gzip file, or larger than `MOST_BYTES` when decompressed.
    """
    encoding = _find_encoding(path)
    return io.TextIOWrapper(_open_bytes(path), encoding, "replace", None)


def stream_lines(path: Path, report: bool = True) -> Iterator[str]:
    """Lines of a text file without their ends, one at a time.

    Args:
        report: tell bars about files, see `report_read`; else the reader of the lines does.

    Raises:
        InputError: see `open_text`; or a line is longer than `LONGEST`.
    """
    with open_text(path) as file:
        number = 0
        while line := file.readline(LONGEST):
            number += 1
            if len(line) == LONGEST:
                raise InputError(
                    f"{path}, line {number} has more than {LONGEST:,} characters, more than a line "
                    "of a molecule; is this a file of text?"
                )
            if report:
                report_read(len(line))
            yield line.removesuffix("\n")


def text_size(path: Path) -> int:
    """Bytes of a file of text, decompressed, as it states them; 0 where it cannot be read."""
    try:
        size = path.stat().st_size
        if not path.name.lower().endswith(".gz"):
            return size
        with open_regular(path) as file:
            file.seek(-min(4, size), io.SEEK_END)
            return int.from_bytes(file.read(), "little")
    except OSError:
        return 0


def _open_bytes(path: Path) -> IO[bytes]:
    packed = path.name.lower().endswith(".gz")
    file = open_regular(path)
    return cast(IO[bytes], gzip.open(file)) if packed else file


def _find_encoding(path: Path) -> str:
    """The encoding of a file, every byte of which is looked at."""
    decoder, total = codecs.getincrementaldecoder("utf-8")(), 0
    with _open_bytes(path) as file:
        try:
            while block := file.read(BLOCK):
                if not total and block.startswith(UTF16_MARKS):
                    return "utf-16"
                total += len(block)
                if total > MOST_BYTES:
                    raise InputError(
                        f"{path} holds more than {MOST_BYTES:,} bytes of text; split it."
                    )
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(f"{path} is not a complete gzip file ({error}).") from error
    return "utf-8-sig"


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


def table_cell(text: str) -> str:
    """Text for a cell of a CSV file: printable, and behind a quote where a spreadsheet would take
    it for a formula: where it begins with =, +, - or @ and is no number.
    """
    formula = text.lstrip().startswith(("=", "+", "-", "@")) and parse_number(text) is None
    return printable(f"'{text}" if formula else text)
