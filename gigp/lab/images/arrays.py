"""Images and their classes in one file: an archive of arrays, or a table with a row for each."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from gigp.errors import InputError, first_line
from gigp.lab.data.splits import WORDS
from gigp.lab.data.text import shorten
from gigp.lab.files import ARRAY_ERRORS, open_regular, read_arrays
from gigp.lab.images.readers import ImageRules, read_stack

IMAGES = ("images", "x", "X", "data", "features", "arr_0")
LABELS = ("labels", "label", "y", "Y", "targets", "target", "class", "classes", "arr_1")
# names of arrays by part, as Keras, MedMNIST and others have them
OF_PARTS = ("x_{part}", "X_{part}", "{part}_images", "images_{part}", "{part}_x", "{part}_data")
LABELS_OF_PARTS = ("y_{part}", "Y_{part}", "{part}_labels", "labels_{part}", "{part}_y")
Samples = tuple[list[Tensor], list[str], list[str]]  # images, names of classes, names of parts


def read_archive(path: Path) -> Samples:
    """Images of an .npz file: `images` and `labels`, with `split` if there are parts, or arrays for
    each part, such as x_train, y_train, x_test, y_test.

    Raises:
        InputError: the file is damaged, or has no such arrays.
    """
    try:
        arrays = read_arrays(path)
    except ARRAY_ERRORS as error:
        raise InputError(
            f"{path} is not a complete .npz file of plain arrays ({first_line(error)})."
        ) from error
    images, labels = _first(arrays, IMAGES), _first(arrays, LABELS)
    split = arrays.get("split")
    if not (images and labels) and (parts := _find_parts(arrays)):
        stacks = [arrays[name] for name, _, _ in parts]
        if len({stack.shape[1:] for stack in stacks}) > 1:
            raise InputError(f"{path}: the images of {parts[0][0]} and others differ in size.")
        split = np.concatenate([[word] * len(arrays[name]) for name, _, word in parts])
        arrays["images"] = np.concatenate(stacks)
        arrays["labels"] = np.concatenate([arrays[name] for _, name, _ in parts])
        images, labels = "images", "labels"
    if not (images and labels):
        names = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "none"
        raise InputError(
            f"{path} has no arrays 'images' and 'labels', nor x_train, y_train, x_test, y_test; "
            f"its arrays are {names}: rename them."
        )
    return _to_samples(path, arrays[images], arrays[labels], split, labels)


def read_pixel_table(path: Path) -> Samples:
    """Images of a .csv file with a label and the pixels of an image, row by row, in each row.

    Raises:
        InputError: there is no label, or not a square number of pixels.
    """
    try:
        with open_regular(path) as file:
            frame = pd.read_csv(file, encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path} is not a table of images ({first_line(error)}).") from error
    names = {str(name).strip().lower(): name for name in frame.columns}
    label = next((names[name] for name in LABELS if name in names), None)
    pixels = frame.drop(columns=[c for c in (label, names.get("split")) if c is not None])
    side = math.isqrt(pixels.shape[1])
    numeric = all(np.issubdtype(kind, np.number) for kind in pixels.dtypes)
    if label is None or side**2 != pixels.shape[1] or not numeric:
        raise InputError(
            f"{path} has {frame.shape[1]} columns; give one called label, and as many as a square "
            "image has pixels, with numbers."
        )
    split = frame[names["split"]].to_numpy(str) if "split" in names else None
    stack = pixels.to_numpy().reshape(-1, side, side)
    return _to_samples(path, stack, frame[label].to_numpy(), split, str(label))


def _first(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in arrays), "")


def _find_parts(arrays: Mapping[str, np.ndarray]) -> list[tuple[str, str, str]]:
    """Arrays of images and labels with the name of their part."""
    parts = []
    for word in WORDS:
        images = _first(arrays, tuple(name.format(part=word) for name in OF_PARTS))
        labels = _first(arrays, tuple(name.format(part=word) for name in LABELS_OF_PARTS))
        if images and labels:
            parts.append((images, labels, word))
    return parts


def _to_samples(
    path: Path, stack: np.ndarray, labels: np.ndarray, split: np.ndarray | None, name: str
) -> Samples:
    """Images, names of classes and of parts of arrays (n, side, side), (n,) and (n,)."""
    if stack.ndim == 4 and stack.shape[-1] == 1:
        stack = stack[..., 0]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    for array, kinds, what in (
        (stack, "buif", "images of numbers"),
        (labels, "biuUO", f"{name} of integers or text"),
    ):
        if array.dtype.kind not in kinds:
            raise InputError(f"{path} has no {what} (its type is {array.dtype}); give them.")
    words = np.full(len(stack), "") if split is None else split
    for what, array in ((name, labels), ("split", words)):
        if array.shape != stack.shape[:1]:
            raise InputError(f"{path}: {what} {array.shape} does not fit images {stack.shape}.")
    parts = [str(word).strip() for word in words.tolist()]
    images: list[Tensor] = []
    for row, (_, image) in enumerate(read_stack(path, stack, ImageRules(None))):
        if isinstance(image, InputError):
            raise InputError(f"{path}, images[{row}]: {image}")
        images.append(image)
        if split is not None and parts[row].lower() not in WORDS:
            raise InputError(
                f"{path}, split[{row}] is {shorten(parts[row], 40)}; it must be train, val or test."
            )
    return images, [str(label) for label in labels.tolist()], parts
