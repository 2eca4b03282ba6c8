"""The neighbors that a convolution sums over, and the sum of kernel x feature over them.

Tables of pairs have shape (g, n, m) for g clouds of n points (the neighbors) and m queries (the
points that a layer keeps). Where balls are sampled, neighbors are gathered instead, the same number
for every query of the batch.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from gigp.backbones.lieconv.pairs import QueryPairs
from gigp.nn.norm import RowWeights


class Neighborhood(ABC):
    """The (neighbor j, query i) pairs of one convolution over a whole batch.

    Attributes:
        pairs: kernel inputs [log(v_j^-1 u_i), q_i, q_j], (E, a).
        weights: pairs that count in batch norm; None: all.
        count: number of neighbors of each query, at least 1, (Q, 1, 1).
    """

    pairs: Tensor
    weights: RowWeights | None = None
    count: Tensor

    @abstractmethod
    def sum(self, kernel: Tensor, feat: Tensor) -> Tensor:
        """Outer products kernel_ij (x) f_j, summed over the neighbors j.

        Args:
            kernel: kernel values of the pairs, (E, k).
            feat: features of all R points, (R, S, c), for S feature maps on the same points.

        Returns:
            (Q, S, k * c) for all Q queries.
        """


@dataclass
class TableNeighborhood(Neighborhood):
    """Pairs in tables without padding, one for each group of clouds of equal size.

    Attributes:
        pairs: kernel inputs of the pairs that count, (E, a).
        shapes: (g, n, m) of the tables that the pairs fill.
        index: where neighbors are gathered, the rows of P neighbors of every query, (Q, P); there
            is one table then, (Q, P, 1), instead of those of `shapes`.
        slots: places of the pairs in that table, (E,); None: all places.
        count: number of neighbors of each query, (Q, 1, 1); counted where it is not given.
    """

    pairs: Tensor
    shapes: list[tuple[int, int, int]]
    index: Tensor | None = None
    slots: Tensor | None = None
    count: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.table_shapes = self.shapes if self.index is None else [(*self.index.shape, 1)]
        self.places = sum(math.prod(shape) for shape in self.table_shapes)
        # first row of each group
        self.starts = list(accumulate((g * n for g, n, _ in self.shapes), initial=0))
        if self.count is None:
            ones = self.tables(torch.ones_like(self.pairs[:, :1]))
            counts = torch.cat([t.sum(1).flatten() for t in ones])
            self.count = counts[:, None, None].clamp(min=1)

    @cached_property
    def query_pairs(self) -> QueryPairs:
        """The pairs as native.c takes them, listed once for all blocks that share them."""
        return QueryPairs(self.shapes, len(self.pairs), self.index, self.slots)

    def sum(self, kernel: Tensor, feat: Tensor) -> Tensor:
        tables = self.tables(kernel)
        sums = [outer_sum(table, self.values(feat, i)) for i, table in enumerate(tables)]
        return concatenate(sums)

    def tables(self, x: Tensor) -> list[Tensor]:
        """Values of the pairs (E, k) as dense tables (g, n, m, k), 0 where a pair does not
        count.
        """
        return self.split(self.placed(x))

    def placed(self, x: Tensor) -> Tensor:
        """Values of the pairs (E, k) at their places in the concatenated tables, (places, k)."""
        if self.slots is None:
            return x
        return x.new_zeros(self.places, x.shape[1]).index_copy_(0, self.slots, x)

    def split(self, x: Tensor) -> list[Tensor]:
        """Concatenated tables (places, k) one by one, (g, n, m, k)."""
        if len(self.table_shapes) == 1:
            return [x.view(*self.table_shapes[0], -1)]
        sizes = [math.prod(shape) for shape in self.table_shapes]
        return [
            t.view(*shape, -1) for t, shape in zip(x.split(sizes), self.table_shapes, strict=True)
        ]

    def values(self, feat: Tensor, table: int) -> Tensor:
        """Features of the points of a table, (g, n, S, c)."""
        if self.index is None:
            points = feat[self.starts[table] : self.starts[table + 1]]
            return points.unflatten(0, self.shapes[table][:2])
        # embedding: a gather whose gradient is summed in the same order by any number of threads
        return F.embedding(self.index, feat.flatten(1)).unflatten(2, feat.shape[1:])


def outer_sum(table: Tensor, values: Tensor) -> Tensor:
    """(g, n, m, k), (g, n, S, c) -> (g * m, S, k * c), as one matrix product per cloud."""
    g, _, m, k = table.shape
    # (g, m * k, S * c)
    sums = table.flatten(2).transpose(1, 2) @ values.flatten(2)
    return sums.view(g * m, k, *values.shape[2:]).transpose(1, 2).flatten(2)


def concatenate(tensors: list[Tensor]) -> Tensor:
    """torch.cat, without a copy of a single tensor."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def positions(mask: Tensor) -> Tensor:
    """Where a mask is True in its flattened form."""
    return mask.flatten().nonzero().squeeze(1)


def all_neighbors(tables: list[Tensor]) -> TableNeighborhood:
    """Every point of a cloud is a neighbor of every query.

    Args:
        tables: kernel inputs of all pairs, (g, n, m, a) for each group of clouds.
    """
    shapes = [(t.shape[0], t.shape[1], t.shape[2]) for t in tables]
    return TableNeighborhood(concatenate([t.flatten(0, 2) for t in tables]), shapes)


def chosen_neighbors(
    tables: list[Tensor], chosen: list[tuple[Tensor, Tensor]]
) -> TableNeighborhood:
    """Gather the chosen neighbors.

    Args:
        tables: kernel inputs of all pairs, (g, n, m, a) for each group of clouds of equal size.
        chosen: for each group the indices of P neighbors, (g, m, P), and which of them count, as
            positions in the flattened (g * m * P,) indices. Small clouds may have fewer than
            others.
    """
    num = max(index.shape[2] for index, _ in chosen)
    pairs, rows, slots, row, place = [], [], [], 0, 0
    for table, (index, counting) in zip(tables, chosen, strict=True):
        g, n, m, _ = table.shape
        own = index.shape[2]
        first = n * torch.arange(g, device=index.device)[:, None, None]  # row of each cloud
        index = index + first  # (g, m, P)
        pair = index * m + torch.arange(m, device=index.device)[:, None]
        pairs.append(table.flatten(0, 2).index_select(0, pair.flatten()[counting]))
        rows.append(F.pad(index + row, (0, num - own)).flatten(0, 1))
        widened = counting if own == num else counting // own * num + counting % own
        slots.append(place + widened)
        row, place = row + g * n, place + g * m * num
    shapes = [(t.shape[0], t.shape[1], t.shape[2]) for t in tables]
    return TableNeighborhood(concatenate(pairs), shapes, concatenate(rows), concatenate(slots))
