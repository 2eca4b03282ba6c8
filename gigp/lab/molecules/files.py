"""Arrays of molecules and their properties from the user's files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gigp.errors import InputError
from gigp.lab.data.cache import Arrays
from gigp.lab.data.entries import InputEntry, read_entries
from gigp.lab.data.splits import WORDS
from gigp.lab.data.text import parse_number, shorten
from gigp.lab.molecules.readers import MOLECULE_READERS

MOST_SHOWN = 12  # names in a message

Fields = Mapping[str, str]


def read_molecules(
    path: Path, targets: list[str], table: Path | None = None, split: str | None = None
) -> Arrays:
    """Read molecules with their properties.

    Args:
        path: file or folder of molecules.
        targets: names of T properties.
        table: CSV file of properties by molecule, or None where `path` has them.
        split: name of the property with the part of a molecule: `train`, `val` or `test`.

    Returns:
        charges (A,) int8 and positions (A, 3) float32 of all atoms, sizes (M,) int32, targets
        (M, T) float64 and parts (M,) int8: an index into `splits.PARTS`, or -1.

    Raises:
        InputError: naming the first molecule that is wrong.
    """
    entries = read_entries(path, MOLECULE_READERS)
    if broken := [entry for entry in entries if entry.error]:
        more = f" {len(broken) - 1} more are wrong." if len(broken) > 1 else ""
        raise InputError(f"{describe(broken[0])}: {broken[0].error}{more}")
    fields = [entry.content.fields for entry in entries]
    if table is not None:
        fields = _join(entries, table)
    values, parts = [], []
    for entry, known in zip(entries, fields, strict=True):
        _check_finite_extent(entry)
        values.append([_number(entry, known, name) for name in targets])
        parts.append(-1 if split is None else _part(entry, known, split))
    molecules = [entry.content for entry in entries]
    return {
        "charges": np.concatenate([m.charges.numpy() for m in molecules]).astype(np.int8),
        "positions": np.concatenate([m.positions.numpy() for m in molecules]).astype(np.float32),
        "sizes": np.array([len(m.charges) for m in molecules], np.int32),
        "targets": np.array(values, np.float64),
        "parts": np.array(parts, np.int8),
    }


def describe(entry: InputEntry) -> str:
    """File, number and name of a molecule, for messages."""
    name = f" ({entry.name[:40]})" if entry.name else ""
    return f"{entry.file}, molecule {entry.number}{name}" if entry.number else entry.file


def _join(entries: list[InputEntry], table: Path) -> list[Fields]:
    """Properties of every molecule from the row of a table that has its name."""
    rows = _read_table(table)
    names = [entry.content.fields.get("name", entry.name) for entry in entries]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"two molecules are called {shorten(twice)}, so that {table} cannot say which of them "
            "is meant; give every molecule a name of its own."
        )
    for entry, name in zip(entries, names, strict=True):
        if name not in rows:
            raise InputError(
                f"{describe(entry)}: {table} has no row for it; its first column names "
                f"{_listed(rows)}."
            )
    return [rows[name] for name in names]


def _read_table(table: Path) -> dict[str, Fields]:
    """Rows of a CSV file by the text in its first column."""
    try:
        frame = pd.read_csv(
            table, sep=None, engine="python", dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"{table} is not a table of comma-separated values ({reason}).") from error
    rows: dict[str, Fields] = {}
    for number, row in enumerate(frame.to_dict("records"), 2):
        name = str(next(iter(row.values()))).strip()
        if name in rows:
            raise InputError(f"{table}, row {number}: {shorten(name)} has a row already.")
        rows[name] = {str(key).strip(): str(value).strip() for key, value in row.items()}
    return rows


def _check_finite_extent(entry: InputEntry) -> None:
    """Refuse periodic structures."""
    fields = {key.lower(): value for key, value in entry.content.fields.items()}
    periodic = fields.get("pbc", "T T T" if "lattice" in fields else "F F F")
    if any(word[:1].upper() in ("T", "1") for word in periodic.replace(",", " ").split()):
        raise InputError(
            f"{describe(entry)}: it is periodic (pbc={periodic}), and crystals are not supported. "
            'If it is a molecule in a box, write pbc="F F F".'
        )


def _number(entry: InputEntry, fields: Fields, name: str) -> float:
    """The property `name` of a molecule."""
    if name not in fields:
        raise InputError(
            f"{describe(entry)}: it has no property {name!r}; its properties are {_listed(fields)}."
        )
    value = parse_number(fields[name])
    if value is None or not np.isfinite(value):
        raise InputError(
            f"{describe(entry)}: {name} is {shorten(fields[name], 40)}, which is not one finite "
            "number. Leave the molecule out, or correct it."
        )
    return value


def _part(entry: InputEntry, fields: Fields, split: str) -> int:
    """Index of the part that a molecule belongs to."""
    word = fields.get(split)
    if word is None or word.strip().lower() not in WORDS:
        found = "missing" if word is None else shorten(word, 40)
        raise InputError(
            f"{describe(entry)}: its {split} is {found}; it must be train, val or test, or leave "
            "dataset.split out for a seeded draw."
        )
    return WORDS[word.strip().lower()]


def _listed(names: Mapping[str, object]) -> str:
    """The first of some names."""
    shown = [name for name in names if name][:MOST_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "none") + more
