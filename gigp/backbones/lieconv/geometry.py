"""From positions to the neighborhoods of every block: lift, all pairs, subsample, balls."""

import math
from typing import Literal

import torch
from torch import Tensor

from gigp.backbones.lieconv.blocks import BlockGeometry, Pairs, all_pairs, draw_lifts
from gigp.backbones.lieconv.layout import Layout, Packed
from gigp.backbones.lieconv.neighborhood import Neighborhood
from gigp.backbones.lieconv.padded import Padded
from gigp.backbones.lieconv.sampling import choose_neighbors, farthest_points
from gigp.errors import InputError, check_choice
from gigp.groups import Group
from gigp.nn.fitted import FittedModule
from gigp.pointcloud import PointCloud, Sizes, masked

LayoutName = Literal["auto", "packed", "padded"]
# a radius exceeds the distance it is taken from by this fraction: rounding moves no point across
MARGIN = 1e-5
LIFT_TABLE = 128  # points that have lifts of their own in evaluation; larger clouds use them again


class Geometry(FittedModule):
    """The neighborhoods of every block: balls that hold a fraction of the points, and at most
    `max_neighbors`.

    Args:
        group: the group that points are lifted to.
        blocks: number of blocks.
        fill: fraction of the input points that a ball holds on average.
        max_neighbors: largest number of neighbors; a ball that holds more is sampled.
        keep: fraction of the points that each block keeps, by farthest-point subsampling.
        num_lifts: group elements for each point.
        layout: `packed`, `padded`, or `auto`, which is `padded` on GPUs.
        table: points that have lifts of their own in evaluation.

    Raises:
        InputError: a number out of its range, or several lifts for a group that needs one.
    """

    radius: Tensor
    lift_table: Tensor | None
    fitted_buffers = ("radius",)
    how_to_fit = (
        "the radii of the balls are not set; call model.calibrate(training_clouds), or load a "
        "trained state dict, before the first forward pass."
    )

    def __init__(
        self,
        group: Group,
        blocks: int,
        fill: float,
        max_neighbors: int,
        *,
        keep: float = 1.0,
        num_lifts: int = 1,
        layout: LayoutName = "auto",
        table: int = LIFT_TABLE,
    ) -> None:
        super().__init__()
        check_choice("layout", layout, LayoutName)
        if not (fill > 0 and max_neighbors >= 1 and 0 < keep <= 1):
            raise InputError(
                f"fill={fill}, max_neighbors={max_neighbors}, keep={keep}: fill must be positive, "
                "max_neighbors at least 1, keep in (0, 1]."
            )
        if num_lifts < 1 or (group.one_lift and num_lifts > 1):
            raise InputError(
                f"num_lifts={num_lifts} with {group}: a group that acts freely or "
                "isotropically has one lift for each point, others one or more."
            )
        self.group, self.max_neighbors, self.keep, self.num_lifts = (
            group,
            max_neighbors,
            keep,
            num_lifts,
        )
        self.layout = layout
        self.fill = [min(fill / keep**i, 1.0) for i in range(blocks)]
        radius = [math.inf if f == 1 else math.nan for f in self.fill]
        self.register_buffer("radius", torch.tensor(radius))
        lifts = None if group.one_lift else draw_lifts(group, table, num_lifts)
        self.register_buffer("lift_table", lifts)
        self._fitted = all(f == 1 for f in self.fill)

    def layout_of(self, cloud: PointCloud) -> Layout:
        """The layout of the points of a batch."""
        name = self.layout
        if name == "auto":
            on_cpu = cloud.mask.device.type == "cpu" and not torch.compiler.is_compiling()
            name = "packed" if on_cpu else "padded"
        if name == "padded":
            return Padded.of(cloud.mask, cloud.sizes, cloud.pos.dtype)
        sizes = cloud.sizes
        if sizes is None or sizes.counts is None:
            sizes = Sizes.of(cloud.mask)
        return Packed.of(sizes, cloud.mask.device)

    def forward(
        self, layout: Layout, pos: Tensor, elements: Tensor | None = None
    ) -> list[BlockGeometry]:
        """Lift the points and lay out every block.

        Args:
            layout: layout of the points.
            pos: positions, (B, N, d).
            elements: lifts of the points, (B, N, L, r, r), to use in place of random ones.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and pos.requires_grad):
            tables = layout.tables(pos)
            lifts = [None] * len(tables) if elements is None else layout.tables(elements)
            pairs = []
            for x, mask, lift in zip(tables, layout.masks, lifts, strict=True):
                x = x if mask is None else masked(x, mask)  # padding may hold anything
                pairs.append(self._pairs(x, lift))
            return self._subsample(layout.lift(self.num_lifts), pairs)

    def _pairs(self, pos: Tensor, elements: Tensor | None) -> Pairs:
        """All pairs of g clouds of n points.

        Args:
            pos: positions, (g, n, d).
            elements: lifts, (g, n, L, r, r); None: lift here.
        """
        g, n, _ = pos.shape
        if elements is None:
            elements = self.group.lift(pos, self._stabilizer(g, n, pos))
        orbit = self.group.orbit(pos)  # (g, n, q)
        if self.num_lifts > 1:
            orbit = orbit.repeat_interleave(self.num_lifts, 1)  # (g, n * L, q)
        return all_pairs(self.group, elements.flatten(1, 2), orbit)

    def _stabilizer(self, g: int, n: int, like: Tensor) -> Tensor | None:
        """Stabilizer elements that the lifts of g clouds of n points are multiplied with: random in
        training, those of the table in evaluation.
        """
        if self.lift_table is None:
            return None
        if self.training:
            return self.group.stabilizer(
                g, n, num_lifts=self.num_lifts, dtype=like.dtype, device=like.device
            )
        index = torch.arange(n, device=like.device) % len(self.lift_table)
        return self.lift_table[index].to(like.dtype).expand(g, -1, -1, -1, -1)

    def _subsample(self, points: Layout, pairs: list[Pairs]) -> list[BlockGeometry]:
        """Subsample block by block; without subsampling all blocks see the same pairs."""
        if self.keep == 1:
            return [BlockGeometry(points, points, None, pairs)] * len(self.fill)
        blocks = []
        for _ in self.fill:
            queries = points.keep(self.keep)
            kept = []
            for p, mask in zip(pairs, points.masks, strict=True):
                num = max(1, round(self.keep * p.distance.shape[1]))
                kept.append(farthest_points(p.distance, num, mask))
            pairs = [p.select_queries(k) for p, k in zip(pairs, kept, strict=True)]
            blocks.append(BlockGeometry(points, queries, kept, pairs))
            pairs = [p.select_neighbors(k) for p, k in zip(pairs, kept, strict=True)]
            points = queries
        return blocks

    @torch.no_grad()
    def calibrate(self, cloud: PointCloud) -> None:
        """Set each block's radius so that its balls hold the fraction `fill` of the points on
        average.
        """
        layout = Packed.of(Sizes.of(cloud.mask), cloud.mask.device)
        self.set_radii(self(layout, cloud.pos))

    def set_radii(self, blocks: list[BlockGeometry]) -> None:
        """Set the radii from the distances of points without padding."""
        for i, (fill, block) in enumerate(zip(self.fill, blocks, strict=True)):
            if fill < 1:
                distance = torch.cat([p.distance.flatten() for p in block.pairs])
                rank = max(1, round(fill * len(distance)))
                self.radius[i] = distance.kthvalue(rank).values * (1 + MARGIN)
        self._fitted = True

    def neighborhoods(self, blocks: list[BlockGeometry]) -> list[Neighborhood]:
        """Choose the neighbors of every block: at random in training, the same every time in
        evaluation.

        Raises:
            InputError: the radii are not set.
        """
        self.check_fitted()
        if self.keep == 1:  # all blocks have the same points and the same ball
            return [self.neighborhood(0, blocks[0])] * len(blocks)
        return [self.neighborhood(i, block) for i, block in enumerate(blocks)]

    def neighborhood(self, i: int, block: BlockGeometry) -> Neighborhood:
        """Choose the neighbors of block i."""
        inputs = [p.inputs for p in block.pairs]
        largest = max([0, *(p.distance.shape[1] for p in block.pairs)])
        if self.fill[i] == 1 and largest <= self.max_neighbors:
            return block.points.all_neighbors(inputs, block.queries)
        chosen = [
            choose_neighbors(p.distance, self.radius[i], self.max_neighbors, self.training, mask)
            for p, mask in zip(block.pairs, block.points.masks, strict=True)
        ]
        return block.points.chosen_neighbors(inputs, chosen, block.queries)

    def kept(self, cloud: PointCloud, layout: Layout, blocks: list[BlockGeometry]) -> PointCloud:
        """The kept, lifted points of a batch, (B, N', ...), with its features (B, N, c) unchanged.

        Args:
            cloud: the batch.
            layout: layout of its points, before they are lifted.
            blocks: result of `forward` for them.
        """
        if self.keep == 1:
            return cloud._replace(
                pos=self._lifted(cloud.pos[:, : layout.width]),
                mask=self._lifted(cloud.mask[:, : layout.width]),
                mass=None if cloud.mass is None else self._lifted(cloud.mass[:, : layout.width]),
                sizes=None,
            )
        rows = layout.rows(cloud.pos)
        if self.num_lifts > 1:
            rows = rows.repeat_interleave(self.num_lifts, 0)
        for block in blocks:
            kept = block.kept_rows()
            rows = rows if kept is None else rows.index_select(0, kept)
        last = blocks[-1].queries
        return PointCloud(last.clouds(rows), cloud.feat, last.mask())

    def _lifted(self, x: Tensor) -> Tensor:
        """Values of points for each of their lifts, (B, N, ...) -> (B, N * L, ...)."""
        return x if self.num_lifts == 1 else x.repeat_interleave(self.num_lifts, 1)
