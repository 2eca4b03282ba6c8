"""Arrays of images and their classes from the user's files."""

import json
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.cache import Arrays
from gigp.lab.data.entries import find_files, read_entries
from gigp.lab.data.splits import WORDS
from gigp.lab.hashing import hash_file, hash_text
from gigp.lab.images.arrays import LABELS, Samples, read_archive, read_pixel_table
from gigp.lab.images.readers import PICTURE_READERS

log = logging.getLogger(__name__)

ARCHIVES = {".npz": read_archive, ".csv": read_pixel_table}
FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_id", "path", "name", "id")
MOST_CLASSES = 256  # results of test samples are kept in one byte


class ImageFile(NamedTuple):
    """An image, or a file with all of them.

    Attributes:
        path: its file.
        part: name of its part, or nothing.
        label: name of its class; empty for a file with all images.
    """

    path: Path
    part: str = ""
    label: str = ""


def find_images(path: Path) -> list[ImageFile]:
    """The file with all images (.npz, or .csv of pixels); or the images in a folder: CLASS/FILE,
    PART/CLASS/FILE where all folders are called train, val or test, or those that a table beside
    them (.csv) gives a label.

    Raises:
        InputError: there are no such folders, or one without images.
    """
    if path.suffix.lower() in ARCHIVES and path.is_file():
        return [ImageFile(path)]
    if tables := sorted(path.glob("[!.]*.csv")) if path.is_dir() else []:
        return _find_labelled(path, tables)
    folders = _subfolders(path)
    has_parts = all(folder.name.lower() in WORDS for folder in folders)
    images: list[ImageFile] = []
    for folder in folders:
        for inner in _subfolders(folder) if has_parts else [folder]:
            files = find_files(inner, PICTURE_READERS, "dataset.path")
            part = folder.name if has_parts else ""
            images += [ImageFile(file, part, inner.name) for file in files]
            others = sorted({*inner.glob("[!.]*")} - {*files})
            if others:
                log.warning("%d files are left out, as %s is.", len(others), others[0])
    return images


def _find_labelled(folder: Path, tables: list[Path]) -> list[ImageFile]:
    """Images anywhere in a folder that the one table in it names, with their labels and parts.

    Raises:
        InputError: there are several tables, one lacks the columns, or names a file that is not
            there.
    """
    if len(tables) > 1:
        raise InputError(f"{folder} holds {len(tables)} tables; leave the one with the labels.")
    frame = pd.read_csv(tables[0], dtype=str, keep_default_na=False, encoding="utf-8-sig")
    names = {str(name).strip().lower(): name for name in frame.columns}
    label = next((names[name] for name in LABELS if name in names), None)
    file = next((names[name] for name in FILE_COLUMNS if name in names), None)
    if label is None or file is None:
        raise InputError(
            f"{tables[0]} has the columns {', '.join(map(str, frame.columns[:8]))}; name one file "
            "and one label."
        )
    by_name: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURE_READERS:
            by_name |= {path.name: path, path.stem: path, str(path.relative_to(folder)): path}
    labelled = []
    for row in frame.to_dict("records"):
        name = str(row[file]).strip()
        if name not in by_name:
            raise InputError(f"{tables[0]} names {name[:80]!r}, which is no image in {folder}.")
        part = str(row[names["split"]]).strip() if "split" in names else ""
        labelled.append(ImageFile(by_name[name], part, str(row[label]).strip()))
    return labelled


def hash_image_files(path: Path) -> str:
    """SHA-256 of all images, of the names of their files, and of their classes and parts."""
    lines = []
    for file in find_images(path):
        if not file.path.is_file():
            raise InputError(f"{file.path} is a pipe or device; give a regular file.")
        name = file.path.relative_to(path)
        lines.append(f"{name} {file.part} {file.label} {hash_file(file.path)}\n")
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
    read = _read_folder if path.is_dir() else ARCHIVES[path.suffix.lower()]
    images, labels, words = read(path)
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


def _read_folder(path: Path) -> Samples:
    """Images, and the names of their classes and parts, of a folder."""
    images: list[Tensor] = []
    files = find_images(path)
    for file, _, _ in files:
        (entry,) = read_entries(file, PICTURE_READERS)
        if entry.error:
            raise InputError(f"{file}: {entry.error}")
        images.append(entry.content)
        if images[-1].shape != images[0].shape:
            sizes = [f"{image.shape[0]} x {image.shape[1]}" for image in (images[-1], images[0])]
            raise InputError(
                f"{file}: {sizes[0]} pixels, but {files[0].path} has {sizes[1]}; resize them to "
                "one size."
            )
    return images, [file.label for file in files], [file.part for file in files]


def _subfolders(path: Path) -> list[Path]:
    """The folders in a folder, in alphabetical order; hidden ones are left out."""
    folders = sorted(folder for folder in path.glob("[!.]*") if folder.is_dir())
    if not folders:
        raise InputError(
            f"dataset.path={path} holds no folders: give a folder with one subfolder of .png or "
            ".jpeg images for each class, or an .npz file with the arrays images and labels, or a "
            ".csv file of labels and pixels."
        )
    return folders
