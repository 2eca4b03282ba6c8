"""Which samples are in which batch, in an order that a resumed run repeats."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from gigp.errors import InputError
from gigp.pointcloud import PointCloud


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of all random draws of an epoch, so that a resumed run draws the same numbers.

    Args:
        seed: seed of the run, below 2^32.
        epoch: number of the epoch, from 0.
    """
    return seed * 1_000_003 + epoch


class BatchIndex(NamedTuple):
    """Which samples a batch holds, known on the host and on the device of the data.

    Attributes:
        host, device: the same indices, (B,).
    """

    host: Tensor
    device: Tensor


class BatchSampler(Sampler[BatchIndex]):
    """Batches of samples, in an order that is a function of seed and epoch alone.

    The order of an epoch goes to the device of the data at once; a batch is a view of it.

    Args:
        indices: the samples, (n,).
        device: device of the data.
        batch_size: samples in a batch.
        shuffle: a new order every epoch, and no incomplete last batch (as published) unless it is
            the only one.
        seed: seed of the order.
        versions: versions of every sample, one of which an epoch takes, in turn; that of number v
            of sample i, of n samples, is i + v n.
    """

    def __init__(
        self,
        indices: Tensor,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        versions: int = 1,
    ) -> None:
        self.indices, self.batch_size, self.shuffle = indices, batch_size, shuffle
        self.seed, self.device, self.versions, self.epoch = seed, device, versions, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch, also the first after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole = len(self.indices) // self.batch_size
        return whole if self.shuffle and whole else -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[BatchIndex]:
        # a generator: after a resume Lightning asks for the iterator before it sets the epoch
        order = self.indices
        if self.shuffle:
            generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
            order = order[torch.randperm(len(order), generator=generator)]
            order = order + len(order) * (self.epoch % self.versions)
        parts = (x.split(self.batch_size)[: len(self)] for x in (order, order.to(self.device)))
        for host, device in zip(*parts, strict=True):
            yield BatchIndex(host, device)


class Samples(Dataset):
    """Some samples of a data module, fetched a batch at a time."""

    def __init__(self, get_batch: Callable[[Tensor, Tensor], Any], indices: Tensor) -> None:
        self.get_batch, self.indices = get_batch, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, batch: BatchIndex) -> Any:
        fetched = self.get_batch(batch.host, batch.device)
        if isinstance(fetched[0], PointCloud) and batch.device.device.type == "cpu":
            check_finite(
                fetched[0], batch.host
            )  # data on a GPU were checked before they were moved
        return fetched


def check_finite(cloud: PointCloud, samples: Tensor) -> None:
    """Refuse NaN, infinity, and coordinates whose squares overflow, in real points, where data
    enter; padding may hold anything.

    Args:
        cloud: a batch, on the host.
        samples: numbers of the clouds of the batch for messages, (B,).

    Raises:
        InputError: naming the sample, the point, the coordinate or channel, and the value.
    """
    for what, values, most in (
        ("position", cloud.pos, torch.finfo(cloud.pos.dtype).max ** 0.5 / 8),
        ("feature", cloud.feat, torch.finfo(cloud.feat.dtype).max),
    ):
        if values.numel() == 0:
            continue
        low, high = values.aminmax()  # one pass; NaN where there is one
        if not (low >= -most and high <= most):
            values, mask = torch.broadcast_tensors(values, cloud.mask.unsqueeze(-1))
            for i, point, channel in (~(values.abs() <= most) & mask).nonzero()[:1].tolist():
                raise InputError(
                    f"{what} {channel} of point {point} in sample {int(samples[i])} is "
                    f"{values[i, point, channel]}; every number must be finite, a {what} at most "
                    f"{most:.0e}. Leave the sample out, or correct it."
                )
