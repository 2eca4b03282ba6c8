"""Geometry of positions that all clouds share, as images share the pixels: computed once."""

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gigp.backbones.lieconv.blocks import BlockGeometry
from gigp.backbones.lieconv.geometry import Geometry
from gigp.backbones.lieconv.layout import Layout, Shared
from gigp.backbones.lieconv.neighborhood import Neighborhood, TableNeighborhood, positions
from gigp.backbones.lieconv.sampling import OUTSIDE, choose_neighbors, smallest
from gigp.errors import InputError
from gigp.groups import Group
from gigp.pointcloud import PointCloud

DECIMALS = 9  # of distances: ties of a regular grid are ties on every machine


class GridGeometry(Geometry):
    """The neighborhoods of every block on a grid. Lifts are the same in training and evaluation.

    All of it is kept in buffers, which move with the network. The queries of all blocks are
    concatenated, M in all, with P neighbors each, so that neighbors are chosen at once.

    Args:
        group, blocks, fill, max_neighbors, keep, num_lifts: see `Geometry`.
        grid: positions that all clouds share, (N, d).

    Attributes:
        outside: 0 for points in the ball of a query, 2 for others, 4 for places without a point,
            (M, N).
        neighbors: neighbors of evaluation, (M, P).
        inputs: kernel inputs of all pairs of all blocks, concatenated, (pairs, a).
        first_pair, step: the pair of query and neighbor j is first_pair + j * step, (M, 1) each.
        slots: places of the pairs that count in the flattened (M, P), (E,). How many of the chosen
            neighbors of a query lie in its ball is the same for every choice; they come first.
        kept_pos, kept_mask: the points that are left in the end, (1, N', d) and (1, N').
    """

    grid: Tensor
    outside: Tensor
    neighbors: Tensor
    inputs: Tensor
    first_pair: Tensor
    step: Tensor
    slots: Tensor
    kept_pos: Tensor
    kept_mask: Tensor

    def __init__(
        self,
        group: Group,
        blocks: int,
        fill: float,
        max_neighbors: int,
        *,
        grid: Tensor,
        keep: float = 1.0,
        num_lifts: int = 1,
    ) -> None:
        table = len(grid)
        super().__init__(
            group, blocks, fill, max_neighbors, keep=keep, num_lifts=num_lifts, table=table
        )
        self.points = [Shared(len(grid) * num_lifts)]
        for _ in range(blocks):
            self.points.append(self.points[-1].keep(keep))
        self.register_buffer("grid", grid[None], persistent=False)
        self._lay_out()

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._lay_out()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "GridGeometry":
        before = self.grid.dtype
        super()._apply(fn, recurse)
        if self.grid.dtype != before:  # else the stored values would be rounded
            self._lay_out()
        return self

    def layout_of(self, cloud: PointCloud) -> Layout:
        if cloud.pos.shape != self.grid.shape:
            raise InputError(
                f"positions {tuple(cloud.pos.shape)} are not the net's grid "
                f"{tuple(self.grid.shape)}."
            )
        return Shared(self.grid.shape[1])

    def forward(
        self, layout: Layout, pos: Tensor, elements: Tensor | None = None
    ) -> list[BlockGeometry]:
        """The geometry of the grid, which was computed once; the arguments are not used."""
        blocks = []
        for i in range(len(self.fill)):
            kept = None if self.keep == 1 else [self.get_buffer(f"kept_{i}")]
            blocks.append(BlockGeometry(self.points[i], self.points[i + 1], kept, []))
        return blocks

    def calibrate(self, cloud: PointCloud) -> None:
        """The radii were set on the grid."""

    def kept(self, cloud: PointCloud, layout: Layout, blocks: list[BlockGeometry]) -> PointCloud:
        return PointCloud(self.kept_pos, cloud.feat, self.kept_mask)

    def neighborhoods(self, blocks: list[BlockGeometry]) -> list[Neighborhood]:
        index = self.neighbors
        if self.training:
            keys = torch.rand(self.outside.shape, device=self.outside.device) + self.outside
            index = smallest(keys, index.shape[1])
        pair = torch.addcmul(self.first_pair, index, self.step).flatten()
        pairs = self.inputs.index_select(0, pair.index_select(0, self.slots)).split(self.num_pairs)
        of_block = index.split([block.queries.width for block in blocks])
        neighborhoods: list[Neighborhood] = []
        for i, block in enumerate(blocks):
            n, m = block.points.width, block.queries.width
            slots, count = self.get_buffer(f"slots_{i}"), self.get_buffer(f"count_{i}")
            chosen = of_block[i][:, : min(self.max_neighbors, n)]
            neighborhoods.append(TableNeighborhood(pairs[i], [(1, n, m)], chosen, slots, count))
        return neighborhoods

    def _stabilizer(self, g: int, n: int, like: Tensor) -> Tensor | None:
        if self.lift_table is None:
            return None
        return self.lift_table.to(like.dtype).expand(g, -1, -1, -1, -1)

    @torch.no_grad()
    def _lay_out(self) -> None:
        """Compute the geometry of the grid in double precision, and store it."""
        pairs = self._pairs(self.grid.double(), None)
        pairs = pairs._replace(distance=pairs.distance.round(decimals=DECIMALS))
        blocks = self._subsample(self.points[0], [pairs])
        if not self._buffers_are_set():
            self.set_radii(blocks)
        pos, width = self._lifted(self.grid), min(self.max_neighbors, self.points[0].width)
        outside, neighbors, slots, first, step = [], [], [], [], []
        place = 0
        for i, block in enumerate(blocks):
            distance = block.pairs[0].distance.to(self.grid.dtype)  # (1, n, m)
            in_ball = distance[0].mT <= self.radius[i]  # (m, n)
            missing = self.points[0].width - in_ball.shape[1]
            out = torch.where(in_ball, 0.0, OUTSIDE)
            outside.append(F.pad(out, (0, missing), value=2 * OUTSIDE))
            chosen, inside = choose_neighbors(
                distance, self.radius[i], self.max_neighbors, random=False
            )
            more = width - chosen.shape[2]
            neighbors.append(F.pad(chosen[0], (0, more)))
            slots.append(place + positions(F.pad(inside[0], (0, more))))
            self._store(f"slots_{i}", positions(inside))
            self._store(f"count_{i}", inside.sum(2).view(-1, 1, 1).clamp(min=1))
            queries = torch.arange(in_ball.shape[0], device=distance.device)
            first.append(queries)
            step.append(torch.full_like(queries, len(queries)))
            place += in_ball.shape[0] * width
            if block.kept is not None:
                self._store(f"kept_{i}", block.kept[0])
                pos = pos[:, block.kept[0][0]]
        sizes = [block.pairs[0].distance.numel() for block in blocks]
        starts = list(accumulate(sizes, initial=0))
        first = [f + s for f, s in zip(first, starts, strict=False)]
        inputs = [block.pairs[0].inputs.flatten(0, 2) for block in blocks]
        self.num_pairs = [len(s) for s in slots]
        self._store("outside", torch.cat(outside))
        self._store("neighbors", torch.cat(neighbors))
        self._store("slots", torch.cat(slots))
        self._store("first_pair", torch.cat(first)[:, None])
        self._store("step", torch.cat(step)[:, None])
        self._store("inputs", torch.cat(inputs).to(self.grid.dtype))
        self._store("kept_pos", pos)
        self._store("kept_mask", torch.ones_like(pos[..., 0], dtype=torch.bool))

    def _store(self, name: str, x: Tensor) -> None:
        self.register_buffer(name, x, persistent=False)
