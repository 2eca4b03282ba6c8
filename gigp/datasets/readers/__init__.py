"""Readers of molecules and images. They go on after a broken entry and report its error,
where the readers of the usual libraries stop at the first.
"""

from functools import partial

from gigp.datasets.readers.entries import Reader
from gigp.datasets.readers.images import DIGITS, ImageRules, read_idx, read_npy, read_picture
from gigp.datasets.readers.sdf import read_sdf
from gigp.datasets.readers.table import read_csv
from gigp.datasets.readers.xyz import read_xyz

MOLECULE_READERS: dict[str, Reader] = {
    ".xyz": read_xyz,
    ".extxyz": read_xyz,
    ".sdf": read_sdf,
    ".mol": read_sdf,
    ".csv": read_csv,
}
PICTURE_READERS: dict[str, Reader] = {  # of single images of any size
    ending: partial(read_picture, rules=ImageRules(None)) for ending in (".png", ".jpg", ".jpeg")
}


def image_readers(rules: ImageRules) -> dict[str, Reader]:
    """Readers of the images that a data set takes."""
    return {
        ".png": partial(read_picture, rules=rules),
        ".jpg": partial(read_picture, rules=rules),
        ".jpeg": partial(read_picture, rules=rules),
        ".npy": partial(read_npy, rules=rules),
        ".idx": partial(read_idx, rules=rules),
        "idx3-ubyte": partial(read_idx, rules=rules),
    }


IMAGE_READERS = image_readers(DIGITS)
