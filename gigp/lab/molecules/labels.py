"""Properties of molecules: names, rows of tables, and numbers that may be missing."""

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gigp.errors import InputError, first_line
from gigp.lab.data.entries import InputEntry
from gigp.lab.data.text import parse_number, shorten
from gigp.lab.files import open_regular

LONGEST_HEADER = 10_000  # bytes
MOST_SHOWN = 12  # names in a message
MISSING = ("", "na", "n/a", "nan", "none", "null", "-", "?")  # texts of a label that is not known
UNNAMED = "Unnamed: 0"  # what pandas calls a column without a name

Fields = Mapping[str, str]


def find_names(
    entries: Sequence[InputEntry], table: Mapping[str, Fields] | None, path: Path | None = None
) -> list[str]:
    """Names of molecules: those that they give; those of their files where each holds one, and the
    given ones are not names of a table's rows.

    Args:
        table: rows by name, or None where there is no table.
        path: its file, for messages.

    Raises:
        InputError: two molecules have one name, so that a table cannot tell them apart.
    """
    given = [
        entry.content.fields.get("name", entry.name) if entry.content else entry.name
        for entry in entries
    ]
    stems = [Path(entry.file).name.partition(".")[0] for entry in entries]
    by_file = len(set(stems)) == len(stems) > 1
    if table is None:
        return [name or stem for name, stem in zip(given, stems, strict=True)] if by_file else given
    if by_file and sum(name in table for name in stems) > sum(name in table for name in given):
        return stems
    if len(set(given)) < len(given):
        ((twice, _),) = Counter(given).most_common(1)
        raise InputError(
            f"two molecules are called {shorten(twice)}, so that {path} cannot say which of them "
            "is meant; give every molecule a name of its own."
        )
    if not any(name in table for name in given):
        raise InputError(
            f"{path} has no row for any molecule: its first column names {listed(table)}, the "
            f"molecules are {listed(dict.fromkeys(given))}."
        )
    return given


def read_table(table: Path) -> dict[str, Fields]:
    """Rows of a CSV file by the text in its first column; a first column without a name is an
    index, and left out.

    Raises:
        InputError: it is no table, or a name has two rows.
    """
    try:
        with open_regular(table) as file:
            if len(file.readline(LONGEST_HEADER)) == LONGEST_HEADER:  # pandas guesses the delimiter
                raise ValueError(f"its first line has more than {LONGEST_HEADER:,} bytes")
            file.seek(0)
            options: dict[str, Any] = {"sep": None, "engine": "python", "encoding": "utf-8-sig"}
            frame = pd.read_csv(file, dtype=str, keep_default_na=False, **options)
    except (OSError, ValueError, pd.errors.ParserError, csv.Error) as error:
        reason = first_line(error)
        raise InputError(f"{table} is not a table of comma-separated values ({reason}).") from error
    if frame.columns[0] == UNNAMED and len(frame.columns) > 2:
        frame = frame.drop(columns=UNNAMED)
    rows: dict[str, Fields] = {}
    for number, row in enumerate(frame.to_dict("records"), 2):
        name = str(next(iter(row.values()))).strip()
        if name in rows:
            raise InputError(f"{table}, row {number}: {shorten(name)} has a row already.")
        rows[name] = {str(key).strip(): str(value).strip() for key, value in row.items()}
    return rows


def parse_label(fields: Fields, name: str, required: bool, comment: str = "") -> float:
    """The property `name` of a molecule; NaN where it is not known.

    Args:
        required: whether it must be known, as the only target.
        comment: name of the molecule, which may be a number without a name.

    Raises:
        InputError: it is not one finite number, or not known though required.
    """
    text = fields.get(name)
    if text is None and required:
        untagged = (
            f" Its comment is the number {comment.strip()}; target=energy takes it, or write "
            f"{name}={comment.strip()}."
            if parse_number(comment) is not None
            else ""
        )
        raise InputError(
            f"it has no property {name!r}; its properties are {listed(fields)}.{untagged}"
        )
    if not required and (text is None or text.strip().lower() in MISSING):
        return math.nan
    value = parse_number(text or "")
    if value is None or not math.isfinite(value):
        raise InputError(
            f"{name} is {shorten(text or '', 40)}, which is not one finite number. Leave the "
            "molecule out, or correct it."
        )
    return value


def listed(names: Mapping[str, object]) -> str:
    """The first of some names."""
    shown = [name for name in names if name][:MOST_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "none") + more
