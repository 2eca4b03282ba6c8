"""One run in several processes: their number, the rows of a batch for each, sums over all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from gigp.pointcloud import PointCloud

_single_process = False


def world_size() -> int:
    """Number of processes of this run; 1 unless Lightning has connected several."""
    connected = dist.is_available() and dist.is_initialized() and not _single_process
    return dist.get_world_size() if connected else 1


@contextmanager
def single_process() -> Iterator[None]:
    """Make `world_size` return 1 inside the block, so that every process computes all rows."""
    global _single_process
    _single_process = True
    try:
        yield
    finally:
        _single_process = False


def shard_batch(batch: tuple[PointCloud, Tensor]) -> tuple[PointCloud, Tensor]:
    """Every W-th row of a global batch, beginning with this process's rank, for W processes.

    The shard is empty where the batch has too few clouds.
    """
    cloud, target = batch
    return shard_cloud(cloud), target[_rows()]


def shard_cloud(cloud: PointCloud) -> PointCloud:
    """Every W-th cloud of a global batch; see `shard_batch`."""
    if world_size() == 1:
        return cloud
    pos, feat, mask, *_ = cloud
    # all clouds may share their positions
    rows, rows_of_pos = _rows(), slice(None) if len(pos) == 1 else _rows()
    mass = None if cloud.mass is None else cloud.mass[rows_of_pos]
    return PointCloud(pos[rows_of_pos], feat[rows], mask[rows_of_pos], mass=mass)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of a global batch, on the CPU, from the rows that each process has of it.

    Args:
        rows: this process's, as `shard_batch` shares them; (b, ...).
    """
    rows = rows.cpu()
    world = world_size()
    if world == 1:
        return rows
    parts: list[Tensor] = [rows] * world
    dist.all_gather_object(parts, rows)
    whole = rows.new_empty(sum(map(len, parts)), *rows.shape[1:])
    for rank, part in enumerate(parts):
        whole[rank::world] = part
    return whole


def _rows() -> slice:
    return slice(dist.get_rank() if world_size() > 1 else 0, None, world_size())


class _AllReduceSum(torch.autograd.Function):
    """`torch.distributed.nn.functional.all_reduce`, which PyTorch 2.15 deprecates in favor of a
    private module.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


def sum_over_processes(x: Tensor) -> Tensor:
    """Sum of a tensor of equal shape over all processes. Its gradient is that of the sum of all
    their losses.
    """
    return _AllReduceSum.apply(x)
