"""Base class of the data modules: splits, data that move to a device once, and loaders."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gigp.backbones.base import Atoms
from gigp.errors import InputError
from gigp.lab.data.sampler import BatchSampler, Samples, check_finite
from gigp.lab.data.shapes import bound_sizes
from gigp.lab.data.splits import Part
from gigp.lab.data.targets import Target
from gigp.lab.lightning_bases import LightningDataModule
from gigp.pointcloud import PointCloud, Sizes

CHUNK = 10_000  # samples checked at a time
# entries of the description that identify the data
IDENTITY = ("dataset", "source", "sha256", "split_hash", "features_of")


class LoaderSettings(TypedDict, total=False):
    """Settings that all data sets have, see `PointCloudDataModule`."""

    train_size: int | None
    val_size: int | None
    test_size: int | None
    batch_size: int
    eval_batch_size: int
    augment: bool
    seed: int


class PointCloudDataModule(LightningDataModule):
    """Base of the data sets. A subclass sets the attributes below in `setup`, and implements
    `get_batch` and `prepare_batch`.

    Args:
        train_size, val_size, test_size: take the first so many of each part; None takes all.
        batch_size: clouds in a batch of training.
        eval_batch_size: clouds in a batch of validation and test.
        augment: turn and shift every training cloud by random amounts.
        seed: seed of the order of training.

    Attributes:
        kind: `regression` or `classification`.
        in_channels: number of channels of the input features.
        extra_channels: how many of them are input features of a backbone, behind its own features.
        out_dim: numbers to predict for each cloud.
        dim: dimension of the positions.
        targets: quantities to predict; none for classification.
        per_point_outputs: the features are outputs of a model for every point, which a pool
            combines without a head.
        grid: positions that all clouds share, (N, d), or None.
        atoms: description of the points where they are atoms, or None.
        indices: samples of each part as numbers in the order of the source, (n,).
        values: targets of all samples in internal units, references subtracted, (M, T); classes,
            (M,).
        arrays: names of the tensors that batches are taken from.
        counts: number of points of every sample, (M,), where clouds differ in size.
        fixed_shapes: all batches of a size have one shape, as compiled networks need.
        versions: versions of every training cloud, see `BatchSampler`; `indices` has the first.
        description: entry of the record about the data; includes their `source` and the `sha256`
            of their arrays.
    """

    kind: Literal["regression", "classification"]
    in_channels: int
    out_dim: int
    dim: int
    sizes: Mapping[Part, int | None]
    targets: tuple[Target, ...] = ()
    extra_channels: int = 0
    per_point_outputs: bool = False
    values: Tensor
    grid: Tensor | None = None
    atoms: Atoms | None = None
    indices: dict[Part, Tensor]
    arrays: ClassVar[tuple[str, ...]]
    counts: np.ndarray
    fixed_shapes: bool = False
    versions: int = 1
    description: dict[str, Any]

    def __init__(
        self,
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        batch_size: int = 75,
        eval_batch_size: int = 250,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or eval_batch_size < 1:
            raise InputError(
                f"batch_size={batch_size}, eval_batch_size={eval_batch_size}: both must be "
                "positive."
            )
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.augment, self.seed = augment, seed

    def setup(self, stage: str | None = None) -> None:
        """Read the data and set the attributes above, once."""
        raise NotImplementedError

    def prepare_data(self) -> None:
        """Build missing caches; Lightning calls this in one process before `setup` in all."""
        self.setup()

    @property
    def device(self) -> torch.device:
        """The device of the data."""
        return getattr(self, self.arrays[0]).device

    def move_to(self, device: torch.device) -> None:
        """Move the data to a device once, where they take at most half of its free memory.

        Raises:
            InputError: a number is not finite, see `check_finite`.
        """
        if device == self.device or not self._fits(device):
            return
        for indices in self.indices.values():
            for chunk in indices.split(CHUNK):
                fetched = self.get_batch(chunk)
                if isinstance(fetched[0], PointCloud):
                    check_finite(fetched[0], chunk)
        for name in self.arrays:
            array = getattr(self, name)
            setattr(self, name, None if array is None else array.to(device))

    def _fits(self, device: torch.device) -> bool:
        if device.type != "cuda":
            return True
        arrays = [getattr(self, name) for name in self.arrays]
        size = sum(a.numel() * a.element_size() for a in arrays if a is not None)
        return size <= torch.cuda.mem_get_info(device)[0] // 2

    def known_sizes(self, counts: np.ndarray) -> Sizes:
        """Sizes of a batch, known on the host: its numbers of points, or upper bounds where all
        batches have the same shape.

        Args:
            counts: number of points of each cloud, (B,).
        """
        if not self.fixed_shapes:
            return Sizes(counts)
        return bound_sizes(
            counts, self.counts[self.indices["train"].numpy()], int(self.counts.max())
        )

    @abstractmethod
    def get_batch(self, indices: Tensor, device_indices: Tensor | None = None) -> Any:
        """Raw batch of samples, on the device of the data.

        Args:
            indices: the samples, on the host, (B,).
            device_indices: the same indices on the device of the data.
        """

    @abstractmethod
    def prepare_batch(self, batch: Any, augment: bool) -> tuple[PointCloud, Tensor]:
        """Clouds and targets of a raw batch, on its device, randomly moved if `augment`."""

    def turned_batch(self, indices: Tensor, turns: Tensor) -> tuple[PointCloud, Tensor]:
        """Clouds in other orientations, and their targets.

        Args:
            indices: the samples, on the host, (B,).
            turns: a rotation of each, (B, 3, 3).

        Raises:
            InputError: these are no clouds in space.
        """
        raise InputError(
            f"{type(self).__name__} has no clouds in space that could be turned; use rotations=0 "
            "and, where the data set has it, orientations=0."
        )

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        if device == self.device:  # saves a walk through the batch
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> tuple[PointCloud, Tensor]:
        if self.trainer is None:
            return self.prepare_batch(batch, augment=False)
        finished = self.prepare_batch(batch, self.augment and self.trainer.training)
        # integer features and positions, too
        return self.trainer.precision_plugin.convert_input(finished)

    def state_dict(self) -> dict[str, Any]:
        """The identity of the data, which is kept in checkpoints."""
        return {key: self.description[key] for key in IDENTITY if key in self.description}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse to go on with other data than the run was started with.

        Raises:
            InputError: listing what differs.
        """
        if not hasattr(self, "description"):
            return
        now = self.state_dict()
        if differences := [
            f"{k}: {state[k]} there, {now.get(k)} now" for k in state if state[k] != now.get(k)
        ]:
            raise InputError(
                "the data are not those that this run was started with:\n  "
                + "\n  ".join(differences)
                + "\nBring them back, or start again with overwrite=true."
            )

    def train_targets(self) -> Tensor:
        """Targets of the training set in internal units, references subtracted, (n, T)."""
        return self.values[self.indices["train"]]

    def target_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the training targets, (T,)."""
        targets = self.train_targets().double()
        mean = targets.nanmean(0)
        known = targets.isfinite()
        square = torch.where(known, targets - mean, 0.0).square().sum(0)
        std = (square / (known.sum(0) - 1)).sqrt() if self.has_missing() else targets.std(0)
        return mean.float(), std.clamp(min=1e-12).float()

    def has_missing(self) -> bool:
        """Whether some samples lack some of the targets, which are NaN then."""
        return self.values.is_floating_point() and bool(self.values.isnan().any())

    def true_targets(self, indices: Tensor) -> Tensor:
        """Targets of samples in the units of tables, (n, T) float64; classes, (n,).

        Args:
            indices: the samples, on the host.
        """
        values = self.values.cpu()[indices]
        if self.kind == "classification":
            return values
        return values.double() * torch.tensor([t.factor for t in self.targets], dtype=torch.double)

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs; numbers, where they have none."""
        return getattr(self, "classes", tuple(map(str, range(self.out_dim))))

    def sample_names(self, indices: Tensor) -> list[str]:
        """Names of samples; their numbers in the source, where they have none."""
        return [str(i) for i in indices.tolist()]

    def train_dataloader(self) -> DataLoader:
        return self._loader("train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", self.eval_batch_size)

    def test_dataloader(self) -> DataLoader:
        return self._loader("test", self.eval_batch_size)

    def train_clouds(self, batch_size: int = 1000) -> Iterator[PointCloud]:
        """The training clouds in order, not augmented, for calibration and fits of a model."""
        for indices in self.indices["train"].split(batch_size):
            yield self.prepare_batch(self.get_batch(indices), augment=False)[0]

    def _loader(self, part: Part, batch_size: int, shuffle: bool = False) -> DataLoader:
        if self.trainer is not None:
            self.move_to(self.trainer.strategy.root_device)
        samples = Samples(self.get_batch, self.indices[part])
        sampler = BatchSampler(
            samples.indices, batch_size, shuffle, self.seed, self.device, self.versions
        )
        # A loader draws a seed for its workers when it starts. A generator of its own keeps this
        # from changing the augmentations of a resumed run, whose loader starts at another time.
        return DataLoader(samples, sampler=sampler, batch_size=None, generator=torch.Generator())
