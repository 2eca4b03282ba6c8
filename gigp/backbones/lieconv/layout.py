"""Memory layout of the points of a batch: the interface, and the layout for CPUs and for images.

Two layouts compute the same numbers. `Packed` puts clouds of equal size side by side, so that
nothing is padded; it is the fastest on a CPU. `gigp.backbones.lieconv.padded.Padded` keeps all
clouds of a batch in one masked table, for GPUs: few operations, for any sizes of clouds.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gigp.backbones.lieconv.neighborhood import (
    Neighborhood,
    all_neighbors,
    chosen_neighbors,
    positions,
)
from gigp.nn.norm import RowWeights
from gigp.pointcloud import Sizes


class Layout(ABC):
    """The points that a block of the network works on.

    Geometry works on tables (g, n, ...) of g clouds of n points. Features are rows (R, S, c): one
    for every real point, for each of S feature maps on the same points.

    Attributes:
        width: places for points in each cloud N, as `clouds` returns them.
        masks: the real points of each table, (g, n); None where all are.
        weights: rows that are real points, for batch norm; None where all are.
    """

    width: int
    masks: Sequence[Tensor | None]
    weights: RowWeights | None = None

    @abstractmethod
    def tables(self, x: Tensor) -> list[Tensor]:
        """Values of the points of a batch, (B, N, ...) -> (g, n, ...) for every table."""

    @abstractmethod
    def rows(self, x: Tensor) -> Tensor:
        """Features of a batch, (B, N, c) -> (R, S, c)."""

    @abstractmethod
    def clouds(self, x: Tensor) -> Tensor:
        """Rows (R, S, c) -> features of a batch, (B, N, c), 0 in the padding."""

    @abstractmethod
    def mask(self) -> Tensor:
        """True for real points, (B, N), as `clouds` returns them."""

    @abstractmethod
    def lift(self, num: int) -> "Layout":
        """The layout of `num` group elements for each point."""

    @abstractmethod
    def keep(self, fraction: float) -> "Layout":
        """The layout of a fraction of the points of each cloud, one point at least."""

    @abstractmethod
    def row_numbers(self, chosen: list[Tensor], kept: "Layout") -> Tensor:
        """Rows of chosen points among all rows.

        Args:
            chosen: indices of points of each table, (g, m).
            kept: layout of the chosen points, with Q rows.

        Returns:
            (Q,).
        """

    @abstractmethod
    def all_neighbors(self, inputs: list[Tensor], queries: "Layout") -> Neighborhood:
        """The neighborhood in which every point of a cloud is a neighbor of every query.

        Args:
            inputs: kernel inputs of all pairs, (g, n, m, a) for each table.
            queries: layout of the queries.
        """

    @abstractmethod
    def chosen_neighbors(
        self, inputs: list[Tensor], chosen: list[tuple[Tensor, Tensor]], queries: "Layout"
    ) -> Neighborhood:
        """The neighborhood of chosen neighbors.

        Args:
            inputs: kernel inputs of all pairs, (g, n, m, a) for each table.
            chosen: for each table the indices of P neighbors, (g, m, P), and which of them lie in
                their ball, (g, m, P).
            queries: layout of the queries.
        """


class Packed(Layout):
    """Clouds of equal size side by side; a table for every size that occurs.

    Args:
        groups: for each size n > 0 the pair (n, clouds), where clouds (g,) index into the batch.
        batch: number of clouds B.
        device: device of the batch.
    """

    def __init__(
        self, groups: list[tuple[int, Tensor]], batch: int, device: torch.device | str
    ) -> None:
        self.groups, self.batch, self.device = groups, batch, device
        self.width = max([0, *(n for n, _ in groups)])
        self.masks = [None] * len(groups)

    @classmethod
    def of(cls, sizes: Sizes, device: torch.device | str = "cpu") -> "Packed":
        """Sort the clouds of a batch by their number of points."""
        assert sizes.counts is not None  # only the padded layout does without
        values, repeats = np.unique(sizes.counts, return_counts=True)
        order = torch.from_numpy(sizes.counts.argsort(kind="stable")).to(device)
        clouds = order.split(repeats.tolist())
        groups = [(n, c) for n, c in zip(values.tolist(), clouds, strict=True) if n > 0]
        return cls(groups, len(sizes.counts), device)

    def tables(self, x: Tensor) -> list[Tensor]:
        return [x[clouds, :n] for n, clouds in self.groups]

    def rows(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)[self._slots(x.shape[1])].unsqueeze(1)

    def clouds(self, x: Tensor) -> Tensor:
        out = x.new_zeros(self.batch * self.width, *x.shape[2:])
        out = out.index_copy(0, self._slots(self.width), x.squeeze(1))
        return out.unflatten(0, (self.batch, self.width))

    def mask(self) -> Tensor:
        slots = self._slots(self.width)
        out = torch.zeros(self.batch * self.width, dtype=torch.bool, device=slots.device)
        return out.index_fill(0, slots, True).view(self.batch, self.width)

    def lift(self, num: int) -> "Packed":
        return Packed([(n * num, clouds) for n, clouds in self.groups], self.batch, self.device)

    def keep(self, fraction: float) -> "Packed":
        groups = [(max(1, round(fraction * n)), clouds) for n, clouds in self.groups]
        return Packed(groups, self.batch, self.device)

    def row_numbers(self, chosen: list[Tensor], kept: Layout) -> Tensor:
        rows, start = [], 0
        for (n, _), points in zip(self.groups, chosen, strict=True):
            first = start + n * torch.arange(len(points), device=points.device)
            rows.append((first[:, None] + points).flatten())
            start += n * len(points)
        return torch.cat(rows)

    def all_neighbors(self, inputs: list[Tensor], queries: Layout) -> Neighborhood:
        return all_neighbors(inputs)

    def chosen_neighbors(
        self, inputs: list[Tensor], chosen: list[tuple[Tensor, Tensor]], queries: Layout
    ) -> Neighborhood:
        placed = [(index, positions(in_ball)) for index, in_ball in chosen]
        return chosen_neighbors(inputs, placed)

    def _slots(self, num: int) -> Tensor:
        """Positions of the rows in the flattened (B * num,) points of a batch, (R,)."""
        slots = [
            (clouds[:, None] * num + torch.arange(n, device=clouds.device)).flatten()
            for n, clouds in self.groups
        ]
        return torch.cat(slots) if slots else torch.zeros(0, dtype=torch.long, device=self.device)


class Shared(Layout):
    """Positions that all clouds of a batch share, as images share the pixels: one table.

    The features of S clouds are S feature maps on the same points.

    Args:
        num: number of points.
    """

    masks = (None,)

    def __init__(self, num: int) -> None:
        self.width = num

    def tables(self, x: Tensor) -> list[Tensor]:
        return [x]

    def rows(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)

    def clouds(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)

    def mask(self) -> Tensor:
        return torch.ones(1, self.width, dtype=torch.bool)

    def lift(self, num: int) -> "Shared":
        return Shared(self.width * num)

    def keep(self, fraction: float) -> "Shared":
        return Shared(max(1, round(fraction * self.width)))

    def row_numbers(self, chosen: list[Tensor], kept: Layout) -> Tensor:
        return chosen[0][0]

    def all_neighbors(self, inputs: list[Tensor], queries: Layout) -> Neighborhood:
        return all_neighbors(inputs)

    def chosen_neighbors(
        self, inputs: list[Tensor], chosen: list[tuple[Tensor, Tensor]], queries: Layout
    ) -> Neighborhood:
        return chosen_neighbors(inputs, [(index, positions(b)) for index, b in chosen])
