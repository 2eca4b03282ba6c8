"""Arrays of images and their classes from the user's files."""

import json
import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.cache import Arrays
from gigp.lab.data.entries import find_files, read_entries
from gigp.lab.data.splits import WORDS
from gigp.lab.data.text import shorten
from gigp.lab.hashing import hash_file, hash_text
from gigp.lab.images.readers import PICTURE_READERS, ImageRules, first_line, read_stack

log = logging.getLogger(__name__)

MOST_CLASSES = 256  # results of test samples are kept in one byte


def find_images(path: Path) -> list[tuple[Path, str]]:
    """The .npz file, or the images in a folder, CLASS/FILE, or PART/CLASS/FILE where all folders
    are called train, val or test; each with the name of its part, or nothing.

    Raises:
        InputError: there are no such folders, or one without images.
    """
    if path.suffix.lower() == ".npz" and path.is_file():
        return [(path, "")]
    folders = _subfolders(path)
    has_parts = all(folder.name.lower() in WORDS for folder in folders)
    found: list[tuple[Path, str]] = []
    for folder in folders:
        for inner in _subfolders(folder) if has_parts else [folder]:
            files = find_files(inner, PICTURE_READERS, "dataset.path")
            found += [(file, folder.name if has_parts else "") for file in files]
            others = sorted({*inner.glob("[!.]*")} - {*files})
            if others:
                log.warning("%d files are left out, as %s is.", len(others), others[0])
    return found


def hash_image_files(path: Path) -> str:
    """SHA-256 of all images and of the names of their files and folders."""
    lines = []
    for file, _ in find_images(path):
        if not file.is_file():
            raise InputError(f"{file} is a pipe or device; give a regular file.")
        lines.append(f"{file.relative_to(path)} {hash_file(file)}\n")
    return hash_text("".join(lines))


def read_images(path: Path) -> Arrays:
    """Read images with their classes.

    Args:
        path: folder, or .npz file.

    Returns:
        images (M, side, side) uint8, labels (M,) int64, parts (M,) int8: an index into
        `splits.PARTS`, or -1; and names, the classes' names as bytes of JSON.

    Raises:
        InputError: naming the first file or row that is wrong.
    """
    images, labels, words = _read_folder(path) if path.is_dir() else _read_archive(path)
    names = sorted(set(labels))
    if all(map(str.isdecimal, names)):
        names.sort(key=len)  # 2 before 10
    if not 2 <= len(names) <= MOST_CLASSES:
        raise InputError(f"{path} has {len(names)} classes; there must be 2 to {MOST_CLASSES}.")
    places = {name: i for i, name in enumerate(names)}
    return {
        "images": torch.stack(images).round().byte().numpy(),
        "labels": np.array([places[label] for label in labels]),
        "parts": np.array([WORDS[word.lower()] if word else -1 for word in words], np.int8),
        "names": np.frombuffer(json.dumps(names).encode(), np.uint8),
    }


def _read_folder(path: Path) -> tuple[list[Tensor], list[str], list[str]]:
    """Images, and the names of their classes and parts, of a folder."""
    images: list[Tensor] = []
    found = find_images(path)
    for file, _ in found:
        (entry,) = read_entries(file, PICTURE_READERS)
        if entry.error:
            raise InputError(f"{file}: {entry.error}")
        images.append(entry.content)
        if images[-1].shape != images[0].shape:
            sizes = [f"{image.shape[0]} x {image.shape[1]}" for image in (images[-1], images[0])]
            raise InputError(
                f"{file}: {sizes[0]} pixels, but {found[0][0]} has {sizes[1]}; resize them to one "
                "size."
            )
    return images, [file.parent.name for file, _ in found], [part for _, part in found]


def _read_archive(path: Path) -> tuple[list[Tensor], list[str], list[str]]:
    """Images, and the names of their classes and parts, of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("images", "labels", "split") if name in file}
    # numpy has no error class for a broken file: those of tokens, zip, memory, values
    except Exception as error:
        raise InputError(
            f"{path} is not a complete .npz file of plain arrays ({first_line(error)})."
        ) from error
    for name, kinds, what in (
        ("images", "buif", "numbers"),
        ("labels", "biuU", "integers or text"),
    ):
        if name not in arrays or arrays[name].dtype.kind not in kinds:
            raise InputError(f"{path} has no array {name!r} of {what}; give one.")
    stack = arrays["images"]
    split = arrays.get("split", np.full(len(stack), ""))
    for name, array in (("labels", arrays["labels"]), ("split", split)):
        if array.shape != stack.shape[:1]:
            raise InputError(f"{path}: {name} {array.shape} does not fit images {stack.shape}.")
    words = [str(word).strip() for word in split.tolist()]
    images: list[Tensor] = []
    for row, (_, image) in enumerate(read_stack(path, stack, ImageRules(None))):
        if isinstance(image, InputError):
            raise InputError(f"{path}, images[{row}]: {image}")
        images.append(image)
        if "split" in arrays and words[row].lower() not in WORDS:
            shown = shorten(words[row], 40)
            raise InputError(f"{path}, split[{row}] is {shown}; it must be train, val or test.")
    return images, [str(label) for label in arrays["labels"].tolist()], words


def _subfolders(path: Path) -> list[Path]:
    """The folders in a folder, in alphabetical order; hidden ones are left out."""
    found = sorted(folder for folder in path.glob("[!.]*") if folder.is_dir())
    if not found:
        raise InputError(
            f"dataset.path={path} holds no folders: give a folder with one subfolder of .png or "
            ".jpeg images for each class, or an .npz file with the arrays images and labels."
        )
    return found
