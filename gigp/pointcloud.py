"""The batch format of the whole package: dense tensors and a mask."""

from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gigp.errors import InputError, needs_extra


class PointCloud(NamedTuple):
    """A batch of point clouds, padded to the largest.

    Attributes:
        pos: positions, (B, N, d); (1, N, d) where the whole batch shares them, as images share the
            pixel grid.
        feat: features, (B, N, c).
        mask: True for real points, which come first, (B, N); (1, N) where the positions are shared.
        packing: of the mask, where whoever made the batch knows it; saves a GPU from telling the
            host the sizes.
        mass: masses of the points, (B, N), where the data has them: pools with `center="mass"` need
            them.
    """

    pos: Tensor
    feat: Tensor
    mask: Tensor
    packing: "Packing | None" = None
    mass: Tensor | None = None

    @classmethod
    def from_pyg(cls, data: Any) -> "PointCloud":
        """Pad a graph or a batch of graphs of PyTorch Geometric: its `pos`, its `x` (or no
        channels), its `batch`.

        Raises:
            InputError: it has no positions.
        """
        with needs_extra("pyg"):  # only here: it takes a second to import
            from torch_geometric.utils import to_dense_batch

        if data.pos is None:
            raise InputError(f"{data} has no positions; a point cloud needs data.pos, (N, d).")
        batch, num = getattr(data, "batch", None), getattr(data, "num_graphs", 1)
        feat = data.pos[:, :0] if data.x is None else data.x
        pos, mask = to_dense_batch(data.pos, batch, batch_size=num)
        return cls(pos, to_dense_batch(feat, batch, batch_size=num)[0], mask)


def masked(x: Tensor, mask: Tensor, fill: float = 0.0) -> Tensor:
    """x where the mask is True, `fill` elsewhere: what padding holds, NaN included, never leaks.

    Args:
        x: (..., c).
        mask: bool, broadcastable to x.shape[:-1].
    """
    return torch.where(mask.unsqueeze(-1), x, fill)


def center_points(pos: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Move the centroid of every cloud to the origin; padding does not count.

    Args:
        pos: positions, (B, N, d).
        mask: True for real points, (B, N).
        weight: positive weights of the points, (B, N), to move their weighted mean to the origin
            instead.
    """
    if weight is None:
        count = mask.sum(-1)[..., None, None].clamp(min=1)  # (B, 1, 1)
        return pos - masked(pos, mask).sum(-2, keepdim=True) / count
    weight = masked(weight.unsqueeze(-1), mask)  # (B, N, 1)
    return pos - masked(weight * pos, mask).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True)


class Packing:
    """The real points of a padded batch as rows, with clouds of equal size side by side.

    Args:
        mask: True for real points, (G, N); they come first in every cloud.

    Attributes:
        rows: position of every real point in the flattened (G * N,) batch, (R,).
        groups: for each distinct size n > 0 the pair (n, clouds), where clouds (g,) index into the
            batch.

    Raises:
        InputError: a cloud has padding before a real point.
    """

    def __init__(self, mask: Tensor) -> None:
        self.shape = mask.shape
        gap = (mask[:, 1:] & ~mask[:, :-1]).any(1)
        if gap.any():
            raise InputError(
                f"cloud {int(gap.nonzero()[0])} of the batch has padding before a real point; sort "
                "its points so that those with mask=True come first."
            )
        sizes, order = mask.sum(1).cpu().sort(stable=True)
        values, counts = sizes.unique_consecutive(return_counts=True)
        clouds = order.to(mask.device).split(counts.tolist())
        self.groups = [(n, c) for n, c in zip(values.tolist(), clouds, strict=True) if n > 0]
        self.rows = self._slots([n for n, _ in self.groups], mask.shape[1])

    def to(self, *args: Any, **kwargs: Any) -> "Packing":
        """A copy on another device, as `Tensor.to`; the host keeps knowing the sizes."""
        moved = copy(self)
        moved.rows = self.rows.to(*args, **kwargs)
        moved.groups = [(n, clouds.to(*args, **kwargs)) for n, clouds in self.groups]
        return moved

    def dense(self, x: Tensor) -> Iterator[Tensor]:
        """(G, N, ...) -> (g, n, ...) without padding, for every group of g clouds of n points."""
        return (x[clouds, :n] for n, clouds in self.groups)

    def rows_of(self, x: Tensor) -> Tensor:
        """Values of S signals on each of G clouds, (G * S, N, c), where G or S is 1 -> (R, S,
        c).
        """
        signals = x.shape[0] // self.shape[0] if self.shape[0] else 1
        x = x.unflatten(0, (self.shape[0], signals)).transpose(1, 2)  # (G, N, S, c)
        return x.flatten(0, 1)[self.rows]

    def clouds_of(self, x: Tensor, sizes: list[int]) -> Tensor:
        """Rows (Q, S, ...), with `sizes[i]` of them for each cloud of group i -> (G * S,
        max(sizes), ...), 0-padded.
        """
        num = max(sizes, default=0)
        out = x.new_zeros(self.shape[0] * num, *x.shape[1:]).index_copy(
            0, self._slots(sizes, num), x
        )
        return out.unflatten(0, (self.shape[0], num)).transpose(1, 2).flatten(0, 1)

    def _slots(self, sizes: list[int], num: int) -> Tensor:
        """Positions in the flattened (G * num,) batch of the first `sizes[i]` points of the clouds
        of group i.
        """
        slots = [
            (clouds[:, None] * num + torch.arange(n, device=clouds.device)).flatten()
            for n, (_, clouds) in zip(sizes, self.groups, strict=True)
        ]
        return torch.cat(slots) if slots else torch.zeros(0, dtype=torch.long)
