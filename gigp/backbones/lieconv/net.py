"""The equivariant backbone: residual blocks of Lie group convolutions (arXiv 2002.12880, figure
5).
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.backbones.lieconv.geometry import Geometry, Level, Pairs, all_pairs
from gigp.backbones.lieconv.kernel import norm_swish
from gigp.backbones.lieconv.layer import KernelNorm, LieConv
from gigp.backbones.lieconv.neighborhood import Neighborhood
from gigp.errors import InputError
from gigp.groups import Group
from gigp.nn.linear import Linear
from gigp.nn.norm import BatchNorm
from gigp.pointcloud import Packing, PointCloud

LIFT_TABLE = 128  # points that have lifts of their own in evaluation; larger clouds use them again


class Bottleneck(nn.Module):
    """Residual block: norm, swish, linear, norm, swish, LieConv, norm, swish, linear; the skip is
    padded with zeros.

    Args:
        in_channels, out_channels: widths k before and after; the convolution works on k / 4.
        pair_channels, kernel_norm: see `LieConv`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, pair_channels: int, kernel_norm: KernelNorm
    ) -> None:
        super().__init__()
        i, o = in_channels // 4, out_channels // 4
        self.reduce = nn.Sequential(
            *norm_swish(in_channels), Linear(in_channels, i), *norm_swish(i)
        )
        self.conv = LieConv(i, o, pair_channels, kernel_norm=kernel_norm)
        self.expand = nn.Sequential(*norm_swish(o), Linear(o, out_channels))
        self.grow = out_channels - in_channels

    def forward(
        self, feat: Tensor, neighborhood: Neighborhood, query_rows: Tensor | None
    ) -> Tensor:
        """(R, S, in_channels) on all points -> (Q, S, out_channels) on the queries."""
        rows, signals, _ = feat.shape
        h = self.reduce(feat.flatten(0, 1))  # (R * S, i)
        h = self.conv(h.view(rows, signals, -1), neighborhood)  # (Q, S, o)
        h = self.expand(h.flatten(0, 1)).view(h.shape[0], signals, -1)  # (Q, S, out_channels)
        skip = feat if query_rows is None else feat.index_select(0, query_rows)
        return h + F.pad(skip, (0, self.grow))


def draw_lifts(group: Group, points: int, liftsamples: int) -> Tensor:
    """Random stabilizer elements (points, L, r, r), the same in every process."""
    generator = torch.Generator().manual_seed(0)
    return group.stabilizer(
        points, liftsamples=liftsamples, generator=generator, dtype=torch.float32, device="cpu"
    )


class LieResNet(nn.Module):
    """LieConv residual network on point clouds: equivariant features for every (kept, lifted)
    point.

    Points are lifted to group elements, `liftsamples` random ones each where the group does not act
    freely (Finzi et al., section 4.2). In evaluation the lifts are a fixed table by the index of
    the point, so results repeat.

    Args:
        in_channels: of the input features.
        group: the symmetry of the network.
        width: channels k of the residual stream; blocks that subsample widen it by 1 / sqrt(points
            kept).
        blocks: number of residual blocks.
        fill, nbhd: see `Geometry`; the fraction of a block is `fill` of the *input* points.
        total_ds: fraction of the points left after all blocks, by farthest-point subsampling.
        liftsamples: group elements for each point.
        kernel_norm: see `LieConv`.
        grid: positions that all clouds share, (N, d), as the pixels of images do; their geometry is
            computed once.

    Raises:
        InputError: several lifts for a group that acts freely, a width below 4, a grid of another
            dimension.
    """

    lift_table: Tensor | None
    grid: Tensor | None

    def __init__(
        self,
        in_channels: int,
        group: Group,
        *,
        width: int = 128,
        blocks: int = 6,
        fill: float = 1.0,
        nbhd: int = 100,
        total_ds: float = 1.0,
        liftsamples: int = 1,
        kernel_norm: KernelNorm = "batch",
        grid: Tensor | None = None,
    ) -> None:
        super().__init__()
        if width < 4 or blocks < 1:
            raise InputError(
                f"width={width}, blocks={blocks}: the net needs a width of 4 and one block at "
                "least."
            )
        if liftsamples < 1 or (group.free and liftsamples > 1):
            raise InputError(
                f"liftsamples={liftsamples} with {group}: a group that acts freely has one lift "
                "for each point, others one or more."
            )
        keep = total_ds ** (1 / blocks)
        widths = [int(width / keep ** (i / 2)) for i in range(blocks + 1)]
        pair_channels = group.lie_dim + 2 * group.q_embed_dim
        self.group, self.liftsamples, self.out_channels = group, liftsamples, widths[-1]
        self.geometry = Geometry([fill / keep**i for i in range(blocks)], nbhd, keep)
        self.embed = Linear(in_channels, width)
        self.blocks = nn.ModuleList(
            Bottleneck(i, o, pair_channels, kernel_norm) for i, o in pairwise(widths)
        )
        self.final = nn.Sequential(*norm_swish(widths[-1]))
        self.register_buffer("grid", None if grid is None else grid[None], persistent=False)
        points = LIFT_TABLE if grid is None else len(grid)
        self.register_buffer(
            "lift_table", None if group.free else draw_lifts(group, points, liftsamples)
        )
        for module in (
            m for block in self.blocks for m in block.conv.kernel if isinstance(m, BatchNorm)
        ):
            module.same_rows = grid is not None
        self._grid_layout: tuple[object, tuple[Packing, list[Level]]] | None = None
        if grid is not None:
            with torch.no_grad():
                self.geometry.fit(self._lay_out_grid())

    def forward(self, cloud: PointCloud, elements: Tensor | None = None) -> PointCloud:
        """Features of the points that are left after the last block.

        Args:
            cloud: features (B, N, in_channels) and positions (B, N, d), or (1, N, d) where a net
                with a grid is given the grid.
            elements: lifts of the points (B, N, L, r, r) to use in place of random ones.

        Returns:
            Positions and features (B, N', out_channels), where N' counts `liftsamples` lifts of
            each kept point.
        """
        self._check(cloud)
        packing = self._packing(cloud)
        levels = self._levels(packing, cloud.pos, elements)
        feat = self.embed(packing.rows_of(cloud.feat))  # (R, S, width)
        feat = feat.repeat_interleave(self.liftsamples, 0)  # (R * L, S, width)
        for block, level, neighborhood in zip(
            self.blocks, levels, self.geometry.neighborhoods(levels), strict=True
        ):
            feat = block(feat, neighborhood, level.query_rows())
        feat = self.final(feat.flatten(0, 1)).view(*feat.shape[:2], -1)  # (Q, S, out_channels)
        pos, mask, sizes = self._kept(packing, cloud.pos, levels)
        mass = None
        if cloud.mass is not None and self.geometry.keep == 1:
            mass = cloud.mass.repeat_interleave(self.liftsamples, 1)[:, : mask.shape[1]]
        return PointCloud(pos, packing.clouds_of(feat, sizes), mask, mass=mass)

    @torch.no_grad()
    def calibrate(self, cloud: PointCloud) -> None:
        """Set the radii of the balls on training clouds; a net with a grid has set them on the grid
        already.
        """
        if self.grid is None:
            self._check(cloud)
            self.geometry.fit(self._levels(self._packing(cloud), cloud.pos))

    @torch.no_grad()
    def kept(self, cloud: PointCloud) -> PointCloud:
        """The points that `forward` returns features for, without the work: positions and mask,
        input features.
        """
        if self.geometry.keep == 1:
            return cloud
        packing = self._packing(cloud)
        pos, mask, _ = self._kept(packing, cloud.pos, self._levels(packing, cloud.pos))
        return PointCloud(pos, cloud.feat, mask)

    def _packing(self, cloud: PointCloud) -> Packing:
        """The real points as rows: known for a grid, or by whoever made the batch, or asked from
        the mask.
        """
        if self.grid is not None:
            return self._layout_of_grid()[0]
        return cloud.packing or Packing(cloud.mask)

    def _kept(
        self, packing: Packing, pos: Tensor, levels: list[Level]
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Positions (G, N', d) and mask (G, N') of the kept, lifted points, and how many each
        group's clouds keep.
        """
        rows = packing.rows_of(pos).repeat_interleave(self.liftsamples, 0)  # (R * L, 1, d)
        for level in levels:
            kept = level.query_rows()
            rows = rows if kept is None else rows[kept]
        sizes = [p.distance.shape[2] for p in levels[-1].pairs]
        return (
            packing.clouds_of(rows, sizes),
            packing.clouds_of(torch.ones_like(rows[..., 0]), sizes) > 0,
            sizes,
        )

    def _levels(self, packing: Packing, pos: Tensor, elements: Tensor | None = None) -> list[Level]:
        """Lift the points and lay out every block; once for a grid, for every batch otherwise."""
        if self.grid is not None:
            return self._layout_of_grid()[1]
        with torch.set_grad_enabled(torch.is_grad_enabled() and pos.requires_grad):
            lifts = [None] * len(packing.groups) if elements is None else packing.dense(elements)
            return self.geometry.levels(
                [self._pairs(x, e) for x, e in zip(packing.dense(pos), lifts, strict=True)]
            )

    def _pairs(self, pos: Tensor, elements: Tensor | None) -> Pairs:
        """All pairs of g clouds of n points: pos (g, n, d), elements (g, n, L, r, r) or None to
        lift here.
        """
        g, n, _ = pos.shape
        if elements is None:
            elements = self.group.lift(pos, self._stabilizer(g, n, pos))
        orbit = self.group.orbit(pos).repeat_interleave(self.liftsamples, 1)  # (g, n * L, q)
        return all_pairs(self.group, elements.flatten(1, 2), orbit)

    def _stabilizer(self, g: int, n: int, like: Tensor) -> Tensor | None:
        """What the lifts of g clouds of n points are multiplied with: random in training, else from
        the table.
        """
        if self.lift_table is None:
            return None
        if self.training and self.grid is None:
            return self.group.stabilizer(
                g, n, liftsamples=self.liftsamples, dtype=like.dtype, device=like.device
            )
        index = torch.arange(n, device=like.device) % len(self.lift_table)
        return self.lift_table[index].to(like.dtype).expand(g, -1, -1, -1, -1)

    def _layout_of_grid(self) -> tuple[Packing, list[Level]]:
        """Packing and levels of the grid, made anew only after the net moved or was loaded;
        torch.export, which sees stand-ins for buffers, takes those of the call before."""
        table = self.grid if self.lift_table is None else self.lift_table
        key = (self.grid.device, self.grid.dtype, table._version, self.geometry.radius._version)
        stale = self._grid_layout is None or (
            self._grid_layout[0] != key and not torch.compiler.is_exporting()
        )
        if stale:
            with torch.no_grad():
                packing = Packing(torch.ones_like(self.grid[..., 0], dtype=torch.bool))
                self._grid_layout = (key, (packing, self._lay_out_grid()))
        return self._grid_layout[1]

    def _lay_out_grid(self) -> list[Level]:
        """Lay out the grid in double precision and round distances, so that the ties of a regular
        grid are ties on every machine and go to the first point."""
        inputs, distance = self._pairs(self.grid.double(), None)
        levels = self.geometry.levels([Pairs(inputs, distance.round(decimals=9))])
        dtype = self.grid.dtype
        levels = [
            Level(x.queries, [Pairs(p.inputs.to(dtype), p.distance.to(dtype)) for p in x.pairs])
            for x in levels
        ]
        return self.geometry.find_held(levels)

    def _check(self, cloud: PointCloud) -> None:
        """Refuse clouds that the net was not made for."""
        if cloud.pos.shape[-1] != self.group.dim:
            raise InputError(
                f"{self.group} acts on {self.group.dim}-dimensional positions, not "
                f"{cloud.pos.shape[-1]}; choose a group of that dimension."
            )
        if self.grid is not None and cloud.pos.shape != self.grid.shape:
            raise InputError(
                f"positions {tuple(cloud.pos.shape)} are not the net's grid "
                f"{tuple(self.grid.shape)}."
            )
        if cloud.feat.shape[-1] != self.embed.in_features:
            raise InputError(
                f"the net takes {self.embed.in_features} input channels, not "
                f"{cloud.feat.shape[-1]}."
            )
