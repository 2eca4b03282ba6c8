"""Arrays of molecules and their properties from the user's files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gigp.errors import InputError
from gigp.lab import progress
from gigp.lab.data.cache import Arrays
from gigp.lab.data.entries import InputEntry, find_files, iterate_entries
from gigp.lab.data.splits import WORDS
from gigp.lab.data.text import parse_number, shorten, text_size
from gigp.lab.files import write_atomically
from gigp.lab.molecules.labels import Fields, find_names, listed, parse_label, read_table
from gigp.lab.molecules.readers import MOLECULE_READERS
from gigp.lab.molecules.readers.electrons import stated_charge, stated_multiplicity

MOST_LISTED = 20  # wrong molecules in a message


@dataclass(frozen=True)
class Reading:
    """What is read of files of molecules.

    Attributes:
        path: file or folder of molecules.
        targets: names of T properties.
        table: CSV file of properties by molecule, or None where `path` has them.
        split: property with the part of a molecule, `train`, `val` or `test`; None: files of a
            folder may be called so.
        group: property whose equal values stay on one side of a split, or None.
        skipped: file to list molecules in that are wrong, and left out; None: they are an error.
    """

    path: Path
    targets: tuple[str, ...]
    table: Path | None = None
    split: str | None = None
    group: str | None = None
    skipped: Path | None = None


def read_molecules(reading: Reading) -> Arrays:
    """Read molecules with their properties.

    Returns:
        charges (A,) int8 and positions (A, 3) float32 of all atoms, sizes (M,) int32; targets
        (M, T) float64 and known (M, T) uint8, whether a molecule has them; electrons (M, 2) int16,
        charge and spin multiplicity; parts (M,) int8, an index into `splits.PARTS`, or -1; groups
        (M,) int32, -1 without; and names, as bytes of JSON.

    Raises:
        InputError: listing the first molecules that are wrong.
    """
    entries = _read_entries(reading)
    names = find_names(entries, None)
    rows: Sequence[Fields]
    if reading.table is None:
        rows = [entry.content.fields if entry.content else {} for entry in entries]
    else:
        table = read_table(reading.table)
        names = find_names(entries, table, reading.table)
        rows = [table.get(name, {}) for name in names]
    wrong, good = [], []
    for entry, name, row in zip(entries, names, rows, strict=True):
        try:
            good.append((entry.content, name, *_check(reading, entry, name, row)))
        except InputError as error:
            wrong.append((entry, str(error)))
    _report(reading, wrong, len(entries))
    return _to_arrays(good, _parts_of_files(entries) if reading.split is None else None, wrong)


def _read_entries(reading: Reading) -> list[InputEntry]:
    """All entries of the files, wrong ones included."""
    files, entries = find_files(reading.path, MOLECULE_READERS, skip=reading.table), []
    with progress.reading(f"Reading {reading.path.name}", sum(map(text_size, files))) as catch_up:
        for entry in iterate_entries(reading.path, MOLECULE_READERS, reading.table):
            entries.append(entry)
            catch_up()
    return entries


def _check(
    reading: Reading, entry: InputEntry, name: str, row: Fields
) -> tuple[list[float], int, str, InputEntry]:
    """Targets, part and group of a molecule.

    Raises:
        InputError: something is wrong with it.
    """
    if entry.error:
        raise InputError(entry.error)
    if entry.content.open_valences:
        raise InputError(entry.content.open_valences)
    _check_finite_extent(entry)
    if reading.table is not None and not row:
        raise InputError(f"{reading.table} has no row for it ({shorten(name, 40)}).")
    if "energy" in reading.targets and "energy" not in row and _is_number(entry.name):
        row = {**row, "energy": entry.name}  # a comment that is one number
    alone = len(reading.targets) == 1
    values = [parse_label(row, target, alone, entry.name) for target in reading.targets]
    if not np.isfinite(values).any():
        raise InputError(
            f"it has none of {', '.join(reading.targets)}; its properties are {listed(row)}."
        )
    part = -1 if reading.split is None else _part(row, reading.split)
    group = "" if reading.group is None else _text(row, reading.group)
    return values, part, group, entry


def _report(reading: Reading, wrong: list[tuple[InputEntry, str]], num: int) -> None:
    """List wrong molecules in a file, or refuse them.

    Raises:
        InputError: there are some, and they shall not be left out, or there are no others.
    """
    if not wrong:
        return
    lines = [f"{describe(entry)}: {error}" for entry, error in wrong]
    if reading.skipped is not None and len(wrong) < num:
        reading.skipped.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(reading.skipped, "\n".join(lines) + "\n")
        return
    hint = "; dataset.skip_broken=true leaves them out" if len(wrong) < num else ""
    if len(wrong) == 1:
        raise InputError(lines[0] + (" dataset.skip_broken=true leaves it out." if hint else ""))
    more = f"\n  and {len(lines) - MOST_LISTED:,} more" if len(lines) > MOST_LISTED else ""
    listing = "\n  ".join(lines[:MOST_LISTED])
    raise InputError(f"{len(wrong):,} of {num:,} molecules are wrong{hint}:\n  {listing}{more}")


def _to_arrays(
    good: list, parts_of_files: dict[str, int] | None, wrong: list[tuple[InputEntry, str]]
) -> Arrays:
    """Arrays of the molecules that are right."""
    molecules, names, values, parts, groups, entries = zip(*good, strict=True)
    if parts_of_files is not None:
        parts = tuple(parts_of_files[entry.file] for entry in entries)
    targets = np.array(values, np.float64)
    places = {group: i for i, group in enumerate(sorted(set(groups)))}
    grouped = places.keys() != {""}
    return {
        "charges": np.concatenate([m.charges.numpy() for m in molecules]).astype(np.int8),
        "positions": np.concatenate([m.positions.numpy() for m in molecules]).astype(np.float32),
        "sizes": np.array([len(m.charges) for m in molecules], np.int32),
        "targets": np.nan_to_num(targets),
        "known": np.isfinite(targets).astype(np.uint8),
        "electrons": np.array([_electrons(m.fields) for m in molecules], np.int16),
        "parts": np.array(parts, np.int8),
        "groups": np.array([places[g] if grouped else -1 for g in groups], np.int32),
        "names": np.frombuffer(json.dumps(names).encode(), np.uint8),
        "skipped": np.array([len(wrong)], np.int64),
    }


def _electrons(fields: Fields) -> tuple[int, int]:
    """Charge and spin multiplicity of a molecule; 0 and 1 where it states none."""
    charge, spin = stated_charge(fields), stated_multiplicity(fields)
    return round(charge[1]) if charge else 0, spin[1] if spin else 1


def describe(entry: InputEntry) -> str:
    """File, number and name of a molecule, for messages."""
    name = f" ({entry.name[:40]})" if entry.name else ""
    return f"{entry.file}, molecule {entry.number}{name}" if entry.number else entry.file


def _parts_of_files(entries: Iterable[InputEntry]) -> dict[str, int]:
    """Part by file, where several files are all called train, val or test; else -1."""
    stems = {entry.file: Path(entry.file).name.partition(".")[0].lower() for entry in entries}
    named = len(stems) > 1 and set(stems.values()) <= set(WORDS)
    return {file: WORDS[stem] if named else -1 for file, stem in stems.items()}


def _check_finite_extent(entry: InputEntry) -> None:
    """Refuse periodic structures."""
    fields = {key.lower(): value for key, value in entry.content.fields.items()}
    periodic = fields.get("pbc", "T T T" if "lattice" in fields else "F F F")
    if any(word[:1].upper() in ("T", "1") for word in periodic.replace(",", " ").split()):
        raise InputError(
            f"it is periodic (pbc={periodic}), and crystals are not supported; if it is a molecule "
            'in a box, write pbc="F F F".'
        )


def _part(fields: Fields, split: str) -> int:
    """Index of the part that a molecule belongs to."""
    word = fields.get(split)
    if word is None or word.strip().lower() not in WORDS:
        given = "missing" if word is None else shorten(word, 40)
        raise InputError(
            f"its {split} is {given}; it must be train, val or test, or leave dataset.split out "
            "for a seeded draw."
        )
    return WORDS[word.strip().lower()]


def _text(fields: Mapping[str, str], name: str) -> str:
    if not fields.get(name, "").strip():
        raise InputError(
            f"it has no {name}, by which dataset.group={name} keeps molecules together; its "
            f"properties are {listed(fields)}."
        )
    return fields[name].strip()


def _is_number(text: str) -> bool:
    return parse_number(text) is not None
