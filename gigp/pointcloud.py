"""The batch format of the package: dense tensors and a mask."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError


class PointCloud(NamedTuple):
    """A batch of point clouds, padded to the largest.

    Attributes:
        pos: positions, (B, N, d); (1, N, d) where the whole batch shares them, as images share the
            pixel grid.
        feat: features, (B, N, c).
        mask: True for real points, which come first, (B, N); (1, N) where the positions are shared.
        sizes: numbers of points of the clouds as known on the host, or None.
        mass: masses of the points, (B, N), where the data has them: pools with `center="mass"` need
            them.

    Examples:
        >>> cloud = PointCloud(torch.zeros(8, 20, 3), torch.zeros(8, 20, 16), torch.ones(8, 20) > 0)
        >>> pos, feat, mask, *_ = cloud
        >>> feat.shape
        torch.Size([8, 20, 16])
    """

    pos: Tensor
    feat: Tensor
    mask: Tensor
    sizes: "Sizes | None" = None
    mass: Tensor | None = None

    @classmethod
    def from_pyg(cls, data: Any) -> "PointCloud":
        """Pad a graph or a batch of graphs of PyTorch Geometric.

        Args:
            data: `pos` (N, d), `x` (N, c) or None for no channels, `batch` (N,) in any order, and
                `mass` (N,) where it has one.

        Raises:
            InputError: it is not a graph, or has no positions.
        """
        pos = getattr(data, "pos", None)
        if not isinstance(pos, Tensor):
            raise InputError(
                f"{type(data).__name__} has no positions; a point cloud is made from a graph of "
                "PyTorch Geometric with data.pos, (N, d)."
            )
        batch = getattr(data, "batch", None)
        if batch is None:
            batch = pos.new_zeros(len(pos), dtype=torch.long)
        if batch.shape != pos.shape[:1] or batch.dtype != torch.long:
            raise InputError(
                f"data.batch {tuple(batch.shape)} of {batch.dtype} does not name the graph of each "
                f"of {len(pos)} points; expected ({len(pos)},) of torch.int64."
            )
        num = getattr(data, "num_graphs", 1)
        batch, order = batch.sort(stable=True)
        sizes = batch.bincount(minlength=num)  # (B,)
        place = torch.arange(len(batch), device=pos.device) - (sizes.cumsum(0) - sizes)[batch]
        largest = int(sizes.max()) if len(sizes) else 0
        mask = torch.arange(largest, device=pos.device) < sizes[:, None]  # (B, N)

        def padded(values: Tensor) -> Tensor:
            if len(values) != len(pos):
                raise InputError(
                    f"data has {len(pos)} positions, but {len(values)} rows in x or mass."
                )
            out = values.new_zeros(*mask.shape, *values.shape[1:])
            return out.index_put((batch, place), values[order])

        feat = pos[:, :0] if data.x is None else data.x
        mass = getattr(data, "mass", None)
        return cls(padded(pos), padded(feat), mask, mass=None if mass is None else padded(mass))


def turn_points(cloud: PointCloud, turns: Tensor) -> PointCloud:
    """Clouds turned by rotations of their space, computed in double precision.

    Args:
        turns: one for all clouds, (d, d), or one for each, (B, d, d).
    """
    pos = cloud.pos.double() @ turns.double().mT.to(cloud.pos.device)
    return cloud._replace(pos=pos.to(cloud.pos.dtype))


def masked(x: Tensor, mask: Tensor, fill: float = 0.0) -> Tensor:
    """x where the mask is True, `fill` elsewhere; NaN in the padding has no effect.

    Args:
        x: (..., c).
        mask: bool, broadcastable to x.shape[:-1].

    Raises:
        InputError: a mask of another type.
    """
    check_mask(mask)
    return torch.where(mask.unsqueeze(-1), x, fill)


def check_cloud(cloud: Any) -> None:
    """Refuse what is not a batch of point clouds of the shapes and types that `PointCloud` has."""
    if not isinstance(cloud, PointCloud):
        raise InputError(
            f"{type(cloud).__name__} is not a gigp.PointCloud; pass PointCloud(pos, feat, mask)."
        )
    check_tensors(pos=cloud.pos, feat=cloud.feat)
    check_mask(cloud.mask)
    pos, feat, mask = cloud.pos.shape, cloud.feat.shape, cloud.mask.shape
    fits = len(pos) == len(feat) == 3 and pos[1] == feat[1] and pos[0] in (1, feat[0])
    if not fits or mask != pos[:2]:
        raise InputError(
            f"a cloud of pos {tuple(pos)}, feat {tuple(feat)}, mask {tuple(mask)}; expected "
            "(B, N, d), (B, N, c) and (B, N), with B = 1 in pos and mask where clouds share them."
        )


def check_tensors(**values: Any) -> None:
    """Refuse arrays, lists and None in place of tensors, by their names."""
    for name, value in values.items():
        if not isinstance(value, Tensor):
            if value is None:
                raise InputError(f"{name} is None; it must be a tensor.")
            raise InputError(
                f"{name} is a {type(value).__name__}; pass a tensor, as torch.as_tensor({name})."
            )


def check_mask(mask: Tensor) -> None:
    """Refuse masks that are not boolean."""
    check_tensors(mask=mask)
    if mask.dtype != torch.bool:
        raise InputError(
            f"mask is of {mask.dtype}; it is True for real points, so pass mask.bool()."
        )


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
    total = weight.sum(-2, keepdim=True)
    total = total.masked_fill(total == 0, 1)  # of clouds without points
    return pos - masked(weight * pos, mask).sum(-2, keepdim=True) / total


class Sizes:
    """How many points the clouds of a batch have, known on the host.

    Known where a batch is made; computing it from the mask would make the host wait for the GPU.

    Args:
        counts: number of points of every cloud, (B,).

    Attributes:
        counts: number of points of each cloud; None where only totals are known
            (`Sizes.at_most`).
        points: number of real points in the batch.
        pairs: number of ordered pairs of points of the same cloud.
        exact: False where `points` and `pairs` are upper bounds.
    """

    counts: np.ndarray | None

    def __init__(self, counts: np.ndarray) -> None:
        self.counts, self.exact = counts, True
        self.points, self.pairs = int(counts.sum()), int((counts * counts).sum())

    @classmethod
    def of(cls, mask: Tensor) -> "Sizes":
        """Count the points of a mask (B, N); the host waits where it is on a GPU.

        Raises:
            InputError: a cloud has padding before a real point.
        """
        gap = (mask[:, 1:] & ~mask[:, :-1]).any(1)
        if gap.any():
            raise InputError(
                f"cloud {int(gap.nonzero()[0])} of the batch has padding before a real point; sort "
                "its points so that those with mask=True come first."
            )
        return cls(np.array(mask.sum(1).tolist(), dtype=np.int64))

    @classmethod
    def at_most(cls, points: int, pairs: int) -> "Sizes":
        """Upper bounds that serve many batches, so that all of them have one shape."""
        sizes = cls.__new__(cls)
        sizes.counts, sizes.points, sizes.pairs, sizes.exact = None, points, pairs, False
        return sizes

    def times(self, num: int) -> "Sizes":
        """The sizes after every point is replaced by `num` points."""
        if self.counts is not None:
            return Sizes(num * self.counts)
        return Sizes.at_most(num * self.points, num * num * self.pairs)

    def kept(self, fraction: float) -> "Sizes":
        """The sizes where a fraction of the points of each cloud is kept, one point at least."""
        if self.counts is None:
            return Sizes.at_most(self.points, self.pairs)
        kept = np.maximum(np.rint(fraction * self.counts).astype(np.int64), 1)
        return Sizes(np.where(self.counts > 0, kept, 0))

    def pairs_with(self, other: "Sizes") -> int:
        """Number of pairs of a point and a kept point of the same cloud."""
        if self.counts is None or other.counts is None:
            return min(self.pairs, other.pairs)
        return int((self.counts * other.counts).sum())
