"""Images from the user's files: a folder for each class, or an .npz file."""

import json
import logging
import math
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.cache import load_or_build
from gigp.lab.data.datamodule import LoaderSettings
from gigp.lab.data.splits import Part, check_fractions, drawn_split, named_split, take
from gigp.lab.hashing import hash_arrays, hash_split
from gigp.lab.images.clouds import ImageClouds
from gigp.lab.images.files import MOST_CLASSES, hash_image_files, read_images
from gigp.lab.images.readers import LARGEST, SMALLEST, WHITE, ImageRules

log = logging.getLogger(__name__)

FORMAT = 1  # of the cache; a higher number makes every cache be built again
LEARNED = ("side", "classes", "mean", "std")  # from the files, and then from the checkpoint


class Images(ImageClouds):
    """Square gray images from files, in 2 to 256 classes. Gray values are normalized by their mean
    and standard deviation over the training set.

    Args:
        path: folder of images, CLASS/FILE or PART/CLASS/FILE with the parts train, val and test; or
            images beside a table of their labels (.csv); or an .npz file with `images` (n, side,
            side), `labels` (n,) and, for parts that are not drawn, `split` (n,), or with x_train,
            y_train, x_test, y_test; or a .csv file of labels and pixels.
        val_fraction, test_fraction: shares of the images in the seeded draw, where the files name
            no parts.
        split_seed: seed of the draw.
        cache: folder of the compact cache.
        settings: see `PointCloudDataModule`; `augment` turns every training image by a random angle
            and shifts it by up to a fourteenth of its side.

    Raises:
        InputError: there are no such files, or an image is damaged or of another size; all with the
            name of the file, or the row of the array.
    """

    def __init__(
        self,
        path: str,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        cache: str = "data",
        **settings: Unpack[LoaderSettings],
    ) -> None:
        super().__init__(**settings)
        self.path, self.cache, self.split_seed = Path(path), Path(cache), split_seed
        self.fractions = check_fractions(val_fraction, test_fraction)

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "indices"):
            return
        version = f"images-{FORMAT}-{hash_image_files(self.path)[:16]}"
        arrays = load_or_build(
            self.cache / f"{version}.cache", version, lambda: read_images(self.path)
        )
        self.images = torch.from_numpy(arrays["images"])  # (M, side, side)
        self.labels = self.values = torch.from_numpy(arrays["labels"])  # (M,)
        classes = tuple(json.loads(bytes(arrays["names"])))
        side = self.images.shape[1]
        if hasattr(self, "classes") and (self.classes, self.side) != (classes, side):
            raise InputError(
                f"{self.path} has other classes, or images of another size, than the run that goes "
                "on. Bring its images back, or start again with overwrite=true."
            )
        self._set_kind(side, classes)
        self.indices = take(self._split(arrays["parts"]), self.sizes)
        self.mean, self.std = self._statistics()
        seen = set(self.labels[self.indices["train"]].tolist())
        if unseen := [name for i, name in enumerate(classes) if i not in seen]:
            log.warning("No training image is of class %s.", ", ".join(unseen))
        drawn = f"seeded draw {self.split_seed}"
        self.description = {
            "dataset": "images",
            "source": self.path.name,
            "sha256": hash_arrays(arrays),
            "split": drawn if arrays["parts"][0] < 0 else "named in the files",
            "split_hash": hash_split(self.indices),
            "sizes": {part: len(indices) for part, indices in self.indices.items()},
            "targets": {"class": {"unit": "%", "kind": "classification"}},
            "classes": list(classes),
            "side": side,
        }

    def state_dict(self) -> dict[str, Any]:
        learned = {key: getattr(self, key) for key in LEARNED}
        return super().state_dict() | learned | {"classes": list(self.classes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what the files of a run said, and refuse other data than it was started with."""
        state = dict(state)
        learned = {key: state.pop(key) for key in LEARNED if key in state}
        if learned and not hasattr(self, "indices"):
            _check(learned)
            self._set_kind(learned["side"], tuple(learned["classes"]))
            self.mean, self.std = learned["mean"], learned["std"]
        super().load_state_dict(state)

    def _set_kind(self, side: int, classes: tuple[str, ...]) -> None:
        """Set the size of the images and the names of their classes."""
        self.set_side(side)
        self.rules, self.classes, self.out_dim = ImageRules(side), classes, len(classes)

    def _split(self, parts: np.ndarray) -> dict[Part, Tensor]:
        """Images of each part, as given in the files or drawn."""
        if parts[0] >= 0:
            what = f"image of {self.path} is in the part "
            return named_split(parts, what, self.fractions[0], self.split_seed)
        what = f"{self.path} has {len(parts)} images"
        return drawn_split(len(parts), self.fractions, self.split_seed, what)

    def _statistics(self) -> tuple[float, float]:
        """Mean and standard deviation of the gray values of the training images, in [0, 1]."""
        pixels = self.images[self.indices["train"]].flatten(1)[:, self.points]
        counts = pixels.flatten().bincount(minlength=WHITE + 1).double()
        values, total = torch.arange(WHITE + 1) / WHITE, counts.sum()
        mean = (counts @ values.double() / total).item()
        std = math.sqrt((counts @ (values.double() - mean).square() / total).item())
        if std == 0:
            raise InputError(f"all pixels of the training images in {self.path} are the same.")
        return mean, std


def _check(learned: dict[str, Any]) -> None:
    """Refuse what is no description of images, in a checkpoint that may come from anyone."""
    side, classes = learned.get("side"), learned.get("classes")
    numbers = (learned.get("mean"), learned.get("std"))
    if not (
        type(side) is int
        and SMALLEST <= side <= LARGEST
        and isinstance(classes, list)
        and 2 <= len(classes) <= MOST_CLASSES
        and all(isinstance(name, str) for name in classes)
        and all(type(value) is float and 0 <= value <= 1 for value in numbers)
        and numbers[1] != 0
    ):
        raise InputError(
            "the checkpoint does not describe images: their side, classes, mean and standard "
            "deviation are missing or damaged. Start again with overwrite=true."
        )
