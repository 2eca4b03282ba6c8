"""Geometry of positions that all clouds share, as images share the pixels: computed once."""

from collections.abc import Callable

import torch
from torch import Tensor

from gigp.backbones.lieconv.geometry import BlockGeometry, Geometry, LayoutName, Pairs
from gigp.backbones.lieconv.layout import Layout, Shared
from gigp.backbones.lieconv.neighborhood import (
    Neighborhood,
    TableNeighborhood,
    choose_neighbors,
    draw_neighbors,
    positions,
)
from gigp.errors import InputError
from gigp.groups import Group
from gigp.pointcloud import PointCloud

DECIMALS = 9  # of distances: ties of a regular grid are ties on every machine


class GridGeometry(Geometry):
    """The neighborhoods of every block on a grid. Lifts are the same in training and evaluation.

    All of it is kept in buffers, which move with the network.

    Args:
        group, blocks, fill, nbhd, keep, liftsamples, layout: see `Geometry`.
        grid: positions that all clouds share, (N, d).
    """

    grid: Tensor

    def __init__(
        self,
        group: Group,
        blocks: int,
        fill: float,
        nbhd: int,
        *,
        grid: Tensor,
        keep: float = 1.0,
        liftsamples: int = 1,
        layout: LayoutName = "auto",
    ) -> None:
        options = {"keep": keep, "liftsamples": liftsamples, "table": len(grid)}
        super().__init__(group, blocks, fill, nbhd, layout=layout, **options)
        self.points = [Shared(len(grid) * liftsamples)]
        for _ in range(blocks):
            self.points.append(self.points[-1].keep(keep))
        self.register_buffer("grid", grid[None], persistent=False)
        with torch.no_grad():
            self.set_radii(self._lay_out())
            self._store()

    def after_loading(self) -> None:
        super().after_loading()
        self._store()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "GridGeometry":
        before = self.grid.dtype
        super()._apply(fn, recurse)
        if self.grid.dtype != before:  # rounded otherwise
            self._store()
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
        """What was laid out once, whatever the arguments."""
        blocks = []
        for i in range(len(self.fill)):
            kept = None if self.keep == 1 else [self._stored("kept", i)]
            pairs = Pairs(self._stored("inputs", i), self._stored("distance", i))
            blocks.append(BlockGeometry(self.points[i], self.points[i + 1], kept, [pairs]))
        return blocks

    def calibrate(self, cloud: PointCloud) -> None:
        """The radii were set on the grid."""

    def kept(self, cloud: PointCloud, layout: Layout, blocks: list[BlockGeometry]) -> PointCloud:
        pos = self._stored("pos", 0)
        mask = torch.ones_like(pos[..., 0], dtype=torch.bool)
        return PointCloud(pos, cloud.feat, mask)

    def neighborhood(self, i: int, block: BlockGeometry) -> Neighborhood:
        inputs, (_, n, m) = block.pairs[0].inputs, block.pairs[0].distance.shape
        if self.fill[i] == 1 and n <= self.nbhd:
            return block.points.all_neighbors([inputs], block.queries)
        index = self._stored("neighbors", i)  # (1, m, P)
        if self.training:
            index, _ = draw_neighbors(self._stored("in_ball", i), min(self.nbhd, n))
        slots = self._stored("slots", i)  # (E,)
        pair = (index * m + torch.arange(m, device=index.device)[:, None]).flatten()
        pairs = inputs.flatten(0, 2).index_select(0, pair.index_select(0, slots))
        count = self._stored("count", i)
        return TableNeighborhood(pairs, [(1, n, m)], index[0], slots, count)

    def _stored(self, name: str, i: int) -> Tensor:
        return self.get_buffer(f"{name}_{i}")

    def _lay_out(self) -> list[BlockGeometry]:
        """Lay out the grid in double precision, with rounded distances."""
        pairs = self._pairs(self.grid.double(), None)
        pairs = pairs._replace(distance=pairs.distance.round(decimals=DECIMALS))
        return self._subsample(self.points[0], [pairs])

    def _stabilizer(self, g: int, n: int, like: Tensor) -> Tensor | None:
        if self.lift_table is None:
            return None
        return self.lift_table.to(like.dtype).expand(g, -1, -1, -1, -1)

    @torch.no_grad()
    def _store(self) -> None:
        """Keep the geometry, the neighbors of evaluation, and how many of the chosen neighbors of
        each query lie in its ball, which is the same for every choice; those come first.
        """
        pos, blocks = self._lifted(self.grid), self._lay_out()
        for i, block in enumerate(blocks):
            inputs, distance = (x.to(self.grid.dtype) for x in block.pairs[0])
            neighbors, inside = choose_neighbors(distance, self.radius[i], self.nbhd, random=False)
            self._keep(f"inputs_{i}", inputs)
            self._keep(f"distance_{i}", distance)
            self._keep(f"in_ball_{i}", distance.mT <= self.radius[i])
            self._keep(f"neighbors_{i}", neighbors)
            self._keep(f"slots_{i}", positions(inside))
            self._keep(f"count_{i}", inside.sum(2).view(-1, 1, 1).clamp(min=1))
            if block.kept is not None:
                self._keep(f"kept_{i}", block.kept[0])
                pos = pos[:, block.kept[0][0]]
        self._keep("pos_0", pos)

    def _keep(self, name: str, x: Tensor) -> None:
        self.register_buffer(name, x, persistent=False)
