"""The neighbors that a convolution sums over: farthest points, balls, and the sum of kernel x feature over them.

Clouds of equal size are handled together, so that nothing is padded: tables of pairs have shape (g, n, m) for g clouds
of n points (the neighbors) and m queries (the points that a layer keeps).
"""

import math
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

ALL = slice(None)
SPARSE = 8  # gather neighbors, rather than multiply with zeros, where points outnumber neighbors by more than this


def farthest_points(distance: Tensor, num: int) -> Tensor:
    """Farthest-point subsample, starting from the most central point.

    Args:
        distance: between the points of every cloud, (g, n, n).
        num: number of points to keep.

    Returns:
        Their indices, (g, num), in the order they were chosen. A function of the distances alone, so it does not
        depend on the order of the points (but for ties).
    """
    clouds = torch.arange(len(distance), device=distance.device)
    chosen = [(distance + distance.mT).sum(-1).argmin(-1)]  # (g,)
    nearest = distance[clouds, chosen[0]]   # (g, n) distance to the closest chosen point
    for _ in range(num - 1):
        chosen.append(nearest.argmax(-1))
        nearest = torch.minimum(nearest, distance[clouds, chosen[-1]])
    return torch.stack(chosen, -1)


def choose_neighbors(distance: Tensor, radius: Tensor, num: int, random: bool) -> tuple[Tensor, Tensor]:
    """Up to `num` neighbors within the ball around every query.

    A ball that holds more is sampled: at random in training; otherwise at even ranks of distance, which is a fixed,
    stratified sample of the same ball, independent of the order of the points and of the rest of the batch.

    Args:
        distance: from n points to m queries, (g, n, m).
        radius: of the ball, a scalar tensor.
        num: neighbors per query, P = min(num, n).
        random: draw at random (from torch's global generator).

    Returns:
        Indices of the neighbors (g, P, m), and which of them lie in the ball (g, P, m); those come first.
    """
    num = min(num, distance.shape[1])
    inside = distance <= radius  # (g, n, m)
    if random:
        key, index = torch.where(inside, torch.rand_like(distance), 2.0).topk(num, dim=1, largest=False)
        return index, key < 2
    order = torch.where(inside, distance, torch.inf).argsort(dim=1, stable=True)  # (g, n, m), the ball first
    count = inside.sum(1, keepdim=True)                                           # (g, 1, m)
    rank = torch.arange(num, device=distance.device)[:, None]                     # (P, 1)
    spread = ((2 * rank + 1) * count) // (2 * num)                                # (g, P, m), even over the ball
    return order.gather(1, torch.where(count > num, spread, rank)), rank < count


@dataclass
class Neighborhood:
    """The (neighbor j, query i) pairs of one convolution over a whole batch, and the weighted sum over them.

    Attributes:
        pairs: kernel inputs [log(v_j^-1 u_i), q_i, q_j] of the pairs that count, (E, a).
        slots: where each pair lies in the concatenated tables, (E,); None where the pairs fill them.
        shapes: (g, n, m) of the tables, one for each group of clouds of equal size.
        index: neighbors of each query, (m, P), where they are few among many points of a single cloud. Its only
            table is then (m, P, 1): gathering the neighbors costs less than multiplying with zeros.
    """

    pairs: Tensor
    slots: Tensor | None
    shapes: list[tuple[int, int, int]]
    index: Tensor | None = None

    def __post_init__(self) -> None:
        self.table_shapes = self.shapes if self.index is None else [(*self.index.shape, 1)]
        self.places = sum(math.prod(shape) for shape in self.table_shapes)
        self.starts = list(accumulate((g * n for g, n, _ in self.shapes), initial=0))  # of each group's rows
        ones = self.tables(torch.ones_like(self.pairs[:, :1]))
        self.count = torch.cat([t.sum(1).flatten() for t in ones])[:, None, None].clamp(min=1)  # (Q, 1, 1)

    def sum(self, kernel: Tensor, feat: Tensor) -> Tensor:
        """Outer products kernel_ij (x) f_j, summed over the neighbors j.

        Args:
            kernel: kernel values of the pairs, (E, k).
            feat: features of S signals on all R points, (R, S, c).

        Returns:
            (Q, S, k * c) for all Q queries.
        """
        tables = enumerate(self.tables(kernel))
        return concatenate([outer_sum(table, self.values(feat, i)) for i, table in tables])

    def tables(self, x: Tensor) -> list[Tensor]:
        """Values of the pairs (E, k) as dense tables (g, n, m, k), 0 where a pair does not count."""
        if self.slots is not None:
            x = x.new_zeros(self.places, x.shape[1]).index_copy_(0, self.slots, x)
        return self.split(x)

    def split(self, x: Tensor) -> list[Tensor]:
        """Concatenated tables (places, k) one by one, (g, n, m, k)."""
        sizes = [math.prod(shape) for shape in self.table_shapes]
        return [t.view(*shape, -1) for t, shape in zip(x.split(sizes), self.table_shapes, strict=True)]

    def values(self, feat: Tensor, table: int, clouds: slice = ALL) -> Tensor:
        """Features of the points in some clouds of a table, (b, n, S, c)."""
        if self.index is None:
            return self._points(feat, table)[clouds]
        # embedding: a gather whose gradient is summed in the same order by any number of threads
        return F.embedding(self.index[clouds], feat.flatten(1)).unflatten(2, feat.shape[1:])

    def add_values(self, values: Tensor, feat: Tensor, table: int, clouds: slice = ALL) -> None:
        """Add (b, n, S * c) to the features of those points."""
        if self.index is None:
            self._points(feat, table)[clouds].flatten(2).add_(values)
        else:
            feat.flatten(1).index_add_(0, self.index[clouds].flatten(), values.flatten(0, 1))

    def _points(self, feat: Tensor, table: int) -> Tensor:
        """Rows of a group of clouds, (g, n, S, c)."""
        return feat[self.starts[table] : self.starts[table + 1]].unflatten(0, self.shapes[table][:2])


def outer_sum(table: Tensor, values: Tensor) -> Tensor:
    """(g, n, m, k), (g, n, S, c) -> (g * m, S, k * c), as one matrix product per cloud."""
    g, _, m, k = table.shape
    sums = table.flatten(2).transpose(1, 2) @ values.flatten(2)                    # (g, m * k, S * c)
    return sums.view(g * m, k, *values.shape[2:]).transpose(1, 2).flatten(2)


def concatenate(tensors: list[Tensor]) -> Tensor:
    """torch.cat, without the copy where there is nothing to join."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def join(tables: list[Tensor], chosen: list[tuple[Tensor, Tensor] | None]) -> Neighborhood:
    """Join the pairs of all groups of clouds into one neighborhood.

    Args:
        tables: kernel inputs of all pairs, (g, n, m, a) for each group.
        chosen: for each group the indices of neighbors, (g, P, m), and which of them count, as positions in the
            flattened (g * P * m,) indices; None: every pair counts.
    """
    shapes = [tuple(t.shape[:3]) for t in tables]
    if all(c is None for c in chosen):
        return Neighborhood(concatenate([t.flatten(0, 2) for t in tables]), None, shapes)
    if len(tables) == 1 and shapes[0][0] == 1 and shapes[0][1] > SPARSE * chosen[0][0].shape[1]:
        return _sparse(tables[0][0], chosen[0][0][0], chosen[0][1])
    pairs, slots, start = [], [], 0
    for table, choice in zip(tables, chosen, strict=True):
        g, n, m, _ = table.shape
        slot = torch.arange(g * n * m, device=table.device)
        if choice is not None:
            index, kept = choice
            slot = slot.view(g, n, m).gather(1, index).flatten()[kept]
        pairs.append(table.flatten(0, 2).index_select(0, slot))
        slots.append(slot + start)
        start += g * n * m
    return Neighborhood(concatenate(pairs), concatenate(slots), shapes)


def _sparse(table: Tensor, index: Tensor, kept: Tensor) -> Neighborhood:
    """Neighborhood of a single large cloud: table (n, m, a), index (P, m), kept positions in (P * m,)."""
    num, m = index.shape
    rank, query = kept // m, kept % m
    pairs = table[index.flatten()[kept], query]
    return Neighborhood(pairs, query * num + rank, [(1, *table.shape[:2])], index.T)
