"""From an input file to a table of predictions."""

import csv
import io
import logging
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import torch

from gigp.errors import InputError, printable
from gigp.lab.data.entries import InputEntry, find_files, iterate_entries
from gigp.lab.data.text import table_cell, text_size
from gigp.lab.prediction.models import load
from gigp.lab.prediction.predictor import Predictor
from gigp.lab.prediction.tally import Tally
from gigp.lab.progress import reading
from gigp.lab.runs.quiet import quiet_libraries

log = logging.getLogger(__name__)

MOST = 2000  # inputs that are in memory at a time
Values = list[float] | None  # predictions of one entry; None where it is wrong
NOT_FINITE = "the model gives no finite number; check the positions."


def predict(
    run: str | Path | Sequence[str | Path],
    path: str | Path,
    batch_size: int | None = None,
    check: bool = True,
    extrapolate: bool = False,
    rotations: int = 0,
) -> tuple[str, list[InputEntry]]:
    """Predict for everything in a file or folder, a part of it at a time, so that files may be
    larger than the memory. A warning is logged where inputs are unlike the training set of the
    model.

    Args:
        run: folder of a run or model for molecules or images, or the name of a model; or several,
            see `load`.
        path: input, see docs/using_models.md for the formats.
        batch_size: see `Predictor`.
        check: refuse what the model has never seen; else the table has a column `unchecked` with
            the reason for which an input would be refused.
        extrapolate, rotations: see `Predictor`.

    Returns:
        A CSV table with one row for each molecule or image, wrong ones included, which have an
        error in place of numbers; and the entries of the input without their contents, in the same
        order.

    Raises:
        InputError: the run or the input as a whole is wrong.
    """
    quiet_libraries()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    predictor = load(
        run,
        batch_size=batch_size,
        device=device,
        check=False,
        extrapolate=extrapolate,
        rotations=rotations,
    )
    table, entries, tally = io.StringIO(), [], predictor.tally()
    write_header(table, predictor, check)
    source = iterate_entries(Path(path), predictor.readers)
    total = sum(map(text_size, find_files(Path(path), predictor.readers)))
    num = min(MOST, predictor.batch_size or predictor.models[0].data.eval_batch_size)
    with reading(f"Predicting {Path(path).name}", total) as catch_up:
        while chunk := list(islice(source, num)):
            for entry, row in predict_entries(predictor, chunk, check, tally):
                write_row(table, predictor, entry, row, check)
                entries.append(entry._replace(content=None))
            catch_up()
    for sentence in tally.sentences():
        log.warning("Warning: %s", printable(sentence))
    return table.getvalue(), entries


def predict_entries(
    predictor: Predictor, entries: list[InputEntry], check: bool, tally: Tally
) -> Iterator[tuple[InputEntry, Values]]:
    """Entries with their predictions; those that are wrong have an error instead."""
    entries = _check(predictor, entries, check)
    good = [entry for entry in entries if not entry.error]
    contents = [entry.content for entry in good]
    tally.add(contents, [entry.name for entry in good])
    predictions = iter(_predict(predictor, contents))
    for entry in entries:
        row = None if entry.error else next(predictions)
        yield (entry._replace(error=row), None) if isinstance(row, str) else (entry, row)


def _predict(predictor: Predictor, contents: Sequence[Any]) -> list[list[float] | str]:
    """Predictions of every input, or its error; a failure does not affect the other inputs."""
    try:
        rows = predictor(contents).tolist()
    except (InputError, torch.OutOfMemoryError) as error:
        if len(contents) == 1:
            return [str(error)]
        half = len(contents) // 2
        return _predict(predictor, contents[:half]) + _predict(predictor, contents[half:])
    return [row if all(map(math.isfinite, row)) else NOT_FINITE for row in rows]


def write_header(table: TextIO, predictor: Predictor, check: bool) -> None:
    """Write the names of the columns."""
    last = ["error"] if check else ["unchecked", "error"]
    csv.writer(table, lineterminator="\n").writerow(
        ["file", "number", "name", *map(table_cell, predictor.columns), *last]
    )


def write_row(
    table: TextIO, predictor: Predictor, entry: InputEntry, row: Values, check: bool = True
) -> None:
    """Write an entry and its predictions; control characters are escaped, and formulas
    quoted."""
    cells = [""] * len(predictor.columns) if row is None else predictor.cells(row)
    names = [table_cell(entry.file), entry.number, table_cell(entry.name)]
    last = [entry.error] if check else [entry.unchecked, entry.error]
    csv.writer(table, lineterminator="\n").writerow(
        [*names, *map(table_cell, cells), *map(table_cell, last)]
    )


def _check(predictor: Predictor, entries: list[InputEntry], check: bool) -> list[InputEntry]:
    """Entries, with an error where the model cannot take them, or does not know their kind."""
    checked = [_check_one(predictor, entry) for entry in entries]
    good = [i for i, entry in enumerate(checked) if not entry.error]
    reasons = predictor.refusals([checked[i].content for i in good])
    for i, reason in zip(good, reasons, strict=True):
        if reason and check:
            checked[i] = checked[i]._replace(content=None, error=reason)
        elif reason:
            checked[i] = checked[i]._replace(unchecked=reason)
    return checked


def _check_one(predictor: Predictor, entry: InputEntry) -> InputEntry:
    """The entry, with an error where the model cannot take it."""
    if not entry.error:
        try:
            predictor.check(entry.content)
        except InputError as error:
            return entry._replace(content=None, error=str(error))
    return entry
