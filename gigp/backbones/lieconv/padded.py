"""The layout for GPUs: one masked table for a batch, and no operation that waits for the device.

How many rows and pairs there are is known on the host (`gigp.pointcloud.Sizes`); where they are is
found on the device. Where the host knows upper bounds only, as for compiled networks, whose shapes
must not change, copies of the last row fill the rows up, and count in no statistics.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gigp.backbones.lieconv.layout import Layout
from gigp.backbones.lieconv.neighborhood import Neighborhood, outer_sum
from gigp.nn.norm import RowWeights
from gigp.pointcloud import Sizes


class Places(NamedTuple):
    """Positions of the elements of clouds with different numbers of them.

    Attributes:
        cloud: index of the cloud of each element, (E,).
        rank: its number within the cloud, (E,).
        real: False for copies of the last element that fill up, (E,); None where there are none.
    """

    cloud: Tensor
    rank: Tensor
    real: Tensor | None

    @classmethod
    def of(cls, counts: Tensor, num: int, exact: bool) -> "Places":
        """List the elements of clouds one after the other.

        Args:
            counts: number of elements of each cloud, (B,).
            num: length of the list E.
            exact: `num` is the sum of the counts; else it may be larger.
        """
        ends, index = counts.cumsum(0), torch.arange(num, device=counts.device)
        real = None
        if not exact and counts.shape[0]:
            total = ends[-1]
            real, index = index < total, torch.minimum(index, (total - 1).clamp(min=0))
        cloud = torch.searchsorted(ends, index, right=True)
        if not exact:
            cloud = cloud.clamp(max=counts.shape[0] - 1)  # where all clouds are empty
        return cls(cloud, index - (ends - counts).index_select(0, cloud), real)


class Padded(Layout):
    """All clouds of a batch in one table, padded to the largest.

    Args:
        mask: True for real points, which come first, (B, N).
        counts: number of points of every cloud, (B,), on the device.
        sizes: their sizes as known on the host.
        dtype: dtype of the weights of the rows.
    """

    def __init__(self, mask: Tensor, counts: Tensor, sizes: Sizes, dtype: torch.dtype) -> None:
        self._mask, self.counts, self.sizes, self.masks = mask, counts, sizes, [mask]
        self.dtype, self.width = dtype, mask.shape[1]
        self.places = Places.of(counts, sizes.points, sizes.exact)
        self.starts = counts.cumsum(0) - counts  # first row of every cloud
        self.slots = self.places.cloud * mask.shape[1] + self.places.rank  # (R,) of B * N
        if self.places.real is not None:
            self.weights = RowWeights.of(self.places.real, dtype)

    @classmethod
    def of(cls, mask: Tensor, sizes: Sizes | None, dtype: torch.dtype) -> "Padded":
        """The points of a mask (B, N); without `sizes` every place gets a row."""
        if sizes is None:
            sizes = Sizes.at_most(mask.numel(), mask.numel() * mask.shape[1])
        return cls(mask, mask.sum(1), sizes, dtype)

    def tables(self, x: Tensor) -> list[Tensor]:
        return [x]

    def rows(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).index_select(0, self.slots).unsqueeze(1)

    def clouds(self, x: Tensor) -> Tensor:
        return scatter(x.squeeze(1), self.slots, self.places.real, self._mask.numel()).unflatten(
            0, self._mask.shape
        )

    def mask(self) -> Tensor:
        return self._mask

    def lift(self, num: int) -> "Padded":
        if num == 1:
            return self
        sizes = self.sizes.times(num)
        return Padded(self._mask.repeat_interleave(num, 1), self.counts * num, sizes, self.dtype)

    def keep(self, fraction: float) -> "Padded":
        num = max(1, round(fraction * self._mask.shape[1]))
        kept = (fraction * self.counts.double()).round().long().clamp(min=1)
        kept = kept * (self.counts > 0)
        mask = torch.arange(num, device=kept.device) < kept[:, None]
        return Padded(mask, kept, self.sizes.kept(fraction), self.dtype)

    def row_numbers(self, chosen: list[Tensor], kept: Layout) -> Tensor:
        assert isinstance(kept, Padded)
        points = chosen[0].flatten().index_select(0, kept.slots)
        return self.starts.index_select(0, kept.places.cloud) + points

    def all_neighbors(self, inputs: list[Tensor], queries: Layout) -> Neighborhood:
        assert isinstance(queries, Padded)
        return AllPairs(inputs[0], self, queries)

    def chosen_neighbors(
        self, inputs: list[Tensor], chosen: list[tuple[Tensor, Tensor]], queries: Layout
    ) -> Neighborhood:
        assert isinstance(queries, Padded)
        return ChosenPairs(inputs[0], *chosen[0], self, queries)


def scatter(x: Tensor, slots: Tensor, real: Tensor | None, num: int) -> Tensor:
    """Put rows (R, c) at their places among `num`, 0 elsewhere; padding rows are left out."""
    if real is None:
        return x.new_zeros(num, x.shape[1]).index_copy(0, slots, x)
    out = x.new_zeros(num + 1, x.shape[1]).index_copy(0, torch.where(real, slots, num), x)
    return out[:num]


class AllPairs(Neighborhood):
    """Every point of a cloud is a neighbor of every query of it: one dense product for each cloud.

    Args:
        inputs: kernel inputs, (B, N, M, a).
        points, queries: layouts of the N points and the M queries.
    """

    def __init__(self, inputs: Tensor, points: Padded, queries: Padded) -> None:
        self.points, self.queries, self.shape = points, queries, inputs.shape[:3]
        num = points.sizes.pairs if points is queries else points.sizes.pairs_with(queries.sizes)
        exact = points.sizes.exact and queries.sizes.exact
        places = Places.of(points.counts * queries.counts, num, exact)
        of_cloud = queries.counts.index_select(0, places.cloud).clamp(min=1)
        point, query = places.rank // of_cloud, places.rank % of_cloud
        self.slots = (places.cloud * self.shape[1] + point) * self.shape[2] + query
        self.real = places.real
        self.pairs = inputs.flatten(0, 2).index_select(0, self.slots)
        self.weights = None if self.real is None else RowWeights.of(self.real, inputs.dtype)
        self.count = points.counts.index_select(0, queries.places.cloud)[:, None, None].clamp(min=1)

    def sum(self, kernel: Tensor, feat: Tensor) -> Tensor:
        table = scatter(kernel, self.slots, self.real, math.prod(self.shape)).unflatten(
            0, self.shape
        )
        sums = outer_sum(table, self.points.clouds(feat).unsqueeze(2))  # (B * M, 1, k * c)
        return sums.index_select(0, self.queries.slots)


class ChosenPairs(Neighborhood):
    """P neighbors are gathered for every query; how many of them count only the device knows.

    Args:
        inputs: kernel inputs, (B, N, M, a).
        index: neighbors of the queries, (B, M, P).
        in_ball: True for those that count, (B, M, P).
        points, queries: layouts of the N points and the M queries.
    """

    def __init__(
        self, inputs: Tensor, index: Tensor, in_ball: Tensor, points: Padded, queries: Padded
    ) -> None:
        (_, n, m, _), cloud = inputs.shape, queries.places.cloud
        index = index.flatten(0, 1).index_select(0, queries.slots)  # (Q, P)
        in_ball = in_ball.flatten(0, 1).index_select(0, queries.slots)
        pair = ((cloud * n)[:, None] + index) * m + queries.places.rank[:, None]  # (Q, P)
        self.pairs = inputs.flatten(0, 2).index_select(0, pair.flatten())
        rows = points.starts.index_select(0, cloud)[:, None] + index
        self.rows = rows.clamp(max=max(points.sizes.points - 1, 0))  # padding has no row
        self.in_ball = in_ball.unsqueeze(-1)
        self.count = in_ball.sum(1)[:, None, None].clamp(min=1)
        if queries.places.real is not None:
            in_ball = in_ball & queries.places.real[:, None]
        self.weights = RowWeights.of(in_ball.flatten(), inputs.dtype)

    def sum(self, kernel: Tensor, feat: Tensor) -> Tensor:
        table = kernel.view(*self.rows.shape, -1) * self.in_ball  # (Q, P, k)
        values = feat.flatten(1).index_select(0, self.rows.flatten())
        return outer_sum(table.unsqueeze(2), values.view(*self.rows.shape, *feat.shape[1:]))
