"""From an input file to a table of predictions."""

import csv
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gigp.errors import InputError
from gigp.lab.data.entries import InputEntry, read_entries
from gigp.lab.data.text import printable
from gigp.lab.prediction.inputs import Inputs
from gigp.lab.prediction.models import load
from gigp.lab.prediction.predictor import Predictor
from gigp.lab.runs.console import quiet

log = logging.getLogger(__name__)

Values = list[float] | None  # predictions of one entry; None where it is wrong
NOT_FINITE = "the model gives no finite number; check the positions."


def predict(
    run: str | Path, path: str | Path, batch_size: int | None = None
) -> tuple[str, list[InputEntry]]:
    """Predict for everything in a file or folder. A warning is logged where inputs are unlike the
    training set of the model.

    Args:
        run: folder of a run or model for molecules or images, or the name of a model.
        path: input, see docs/using_models.md for the formats.
        batch_size: see `Predictor`.

    Returns:
        A CSV table with one row for each molecule or image, wrong ones included, which have an
        error in place of numbers; and the entries of the input, in the same order.

    Raises:
        InputError: the run or the input as a whole is wrong.
    """
    quiet()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    predictor = load(run, batch_size=batch_size, device=device)
    entries = [_check(predictor, entry) for entry in read_entries(Path(path), predictor.readers)]
    contents = [entry.content for entry in entries if not entry.error]
    if warning := predictor.warning(contents):
        log.warning("Warning: %s", warning)
    found = iter(_predict(predictor, contents))
    rows: list[Values] = []
    for i, entry in enumerate(entries):
        row = None if entry.error else next(found)
        if isinstance(row, str):
            entries[i], row = entry._replace(error=row), None
        rows.append(row)
    return format_table(predictor.inputs, entries, rows), entries


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


def format_table(inputs: Inputs, entries: Sequence[InputEntry], rows: Sequence[Values]) -> str:
    """A CSV table of entries and their predictions; control characters of names are escaped.

    Args:
        inputs: kind of the inputs.
        entries: molecules or images.
        rows: predictions of each entry.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file", "number", "name", *map(printable, inputs.columns), "error"])
    for entry, row in zip(entries, rows, strict=True):
        cells = [""] * len(inputs.columns) if row is None else inputs.cells(row)
        names = [printable(entry.file), entry.number, printable(entry.name)]
        writer.writerow([*names, *map(printable, cells), printable(entry.error)])
    return table.getvalue()


def _check(predictor: Predictor, entry: InputEntry) -> InputEntry:
    """The entry, with an error where the model cannot take it."""
    if not entry.error:
        try:
            predictor.check(entry.content)
        except InputError as error:
            return entry._replace(content=None, error=str(error))
    return entry
