"""The equivariant backbone: residual blocks of Lie group convolutions (arXiv 2002.12880, figure
5).
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.backbones.base import Atoms, Backbone
from gigp.backbones.lieconv.blocks import BlockGeometry
from gigp.backbones.lieconv.geometry import Geometry, LayoutName
from gigp.backbones.lieconv.grid import GridGeometry
from gigp.backbones.lieconv.kernel import KernelMLP, norm_swish
from gigp.backbones.lieconv.layer import KernelNorm, LieConv
from gigp.backbones.lieconv.neighborhood import Neighborhood
from gigp.errors import InputError, check_count
from gigp.groups import Group
from gigp.groups.base import check_group
from gigp.nn.linear import call_linear
from gigp.nn.norm import NormSequential
from gigp.pointcloud import PointCloud, check_cloud, masked


class Bottleneck(nn.Module):
    """Residual block: norm, swish, linear, norm, swish, LieConv, norm, swish, linear; the skip is
    padded with zeros.

    Args:
        in_channels, out_channels: widths k before and after; the convolution works on k / 4.
        pair_channels, kernel_norm, same_pairs: see `LieConv`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        pair_channels: int,
        kernel_norm: KernelNorm,
        same_pairs: bool,
    ) -> None:
        super().__init__()
        i, o = in_channels // 4, out_channels // 4
        self.reduce = NormSequential(
            *norm_swish(in_channels), nn.Linear(in_channels, i), *norm_swish(i)
        )
        self.conv = LieConv(i, o, pair_channels, kernel_norm=kernel_norm, same_pairs=same_pairs)
        self.expand = NormSequential(*norm_swish(o), nn.Linear(o, out_channels))
        self.grow = out_channels - in_channels

    def forward(
        self,
        feat: Tensor,
        geometry: BlockGeometry,
        neighborhood: Neighborhood,
        kernel: Tensor | None,
    ) -> Tensor:
        """(R, S, in_channels) on all points -> (Q, S, out_channels) on the queries."""
        rows, maps, _ = feat.shape
        h = self.reduce(feat.flatten(0, 1), geometry.points.weights)  # (R * S, i)
        h = self.conv(h.view(rows, maps, -1), neighborhood, kernel)  # (Q, S, o)
        h = self.expand(h.flatten(0, 1), geometry.queries.weights)  # (Q * S, out_channels)
        kept = geometry.kept_rows()
        skip = feat if kept is None else feat.index_select(0, kept)
        if self.grow:
            skip = F.pad(skip, (0, self.grow))
        return h.view(skip.shape) + skip


class LieResNet(Backbone):
    """LieConv residual network on point clouds: equivariant features for every (kept, lifted)
    point.

    Points are lifted to group elements, `num_lifts` random ones each where the group does not act
    freely (Finzi et al., section 4.2). In evaluation the lifts are a fixed table by the index of
    the point, so results repeat.

    Args:
        in_channels: number of channels of the input features.
        group: the symmetry of the network.
        width: channels k of the residual stream; blocks that subsample widen it by 1 / sqrt(points
            kept).
        blocks: number of residual blocks.
        fill, max_neighbors, num_lifts: see `gigp.backbones.lieconv.geometry.Geometry`.
        keep_fraction: fraction of the points left after all blocks, by farthest-point subsampling.
        kernel_norm: see `LieConv`.
        layout: memory layout of batches: `packed`, clouds of equal size side by side; `padded`,
            one masked table; `auto`, packed on CPUs and padded on GPUs. The numbers are the same.
            Clouds that share a grid have one layout.
        grid: positions that all clouds share, (N, d), as the pixels of images do; their geometry is
            computed once.
        atoms: not needed; part of the signature of all backbones.

    Raises:
        InputError: something else than a group, several lifts for a group that acts freely, a width
            below 4, a grid of another dimension or with a layout.

    Examples:
        >>> from gigp.groups import E3
        >>> net = LieResNet(5, E3(), width=32, blocks=1)
        >>> cloud = PointCloud(torch.randn(2, 9, 3), torch.randn(2, 9, 5), torch.ones(2, 9) > 0)
        >>> net.calibrate(cloud)  # on a batch of the training set
        >>> net(cloud).feat.shape
        torch.Size([2, 9, 32])
    """

    def __init__(
        self,
        in_channels: int,
        group: Group,
        *,
        width: int = 128,
        blocks: int = 6,
        fill: float = 1.0,
        max_neighbors: int = 100,
        keep_fraction: float = 1.0,
        num_lifts: int = 1,
        kernel_norm: KernelNorm = "batch",
        layout: LayoutName = "auto",
        grid: Tensor | None = None,
        atoms: Atoms | None = None,
    ) -> None:
        super().__init__()
        check_group(group)
        check_count("in_channels", in_channels, 0)
        check_count("width", width, 4)
        check_count("blocks", blocks)
        if grid is not None and layout != "auto":
            raise InputError(
                f"layout={layout}: clouds that share their positions, as images do, have one "
                "layout; use layout=auto."
            )
        keep = keep_fraction ** (1 / blocks)
        widths = [int(width / keep ** (i / 2)) for i in range(blocks + 1)]
        self.group, self.num_lifts, self.out_channels = group, num_lifts, widths[-1]
        self.is_invariant = group.isotropic
        self.keeps_points = keep == 1 and num_lifts == 1
        options = {"keep": keep, "num_lifts": num_lifts}
        self.geometry = (
            Geometry(group, blocks, fill, max_neighbors, layout=layout, **options)
            if grid is None
            else GridGeometry(group, blocks, fill, max_neighbors, grid=grid, **options)
        )
        self.in_channels = in_channels
        self.embed = nn.Linear(in_channels, width)
        self.blocks = nn.ModuleList(
            Bottleneck(i, o, group.pair_channels, kernel_norm, same_pairs=grid is not None)
            for i, o in pairwise(widths)
        )
        self.final = NormSequential(*norm_swish(widths[-1]))

    def forward(self, cloud: PointCloud, elements: Tensor | None = None) -> PointCloud:
        """Features of the points that are left after the last block.

        Args:
            cloud: features (B, N, in_channels) and positions (B, N, d), or (1, N, d) where a net
                with a grid is given the grid.
            elements: lifts of the points (B, N, L, r, r) to use in place of random ones.

        Returns:
            Positions and features (B, N', out_channels), where N' counts `num_lifts` lifts of
            each kept point.
        """
        self._check(cloud)
        layout = self.geometry.layout_of(cloud)
        blocks = self.geometry(layout, cloud.pos, elements)
        feat = call_linear(self.embed, layout.rows(self._marked(cloud)))  # (R, S, width)
        if self.num_lifts > 1:
            feat = feat.repeat_interleave(self.num_lifts, 0)  # (R * L, S, width)
        neighborhoods = self.geometry.neighborhoods(blocks)
        kernels = self._kernels(neighborhoods)
        for block, *inputs in zip(self.blocks, blocks, neighborhoods, kernels, strict=True):
            feat = block(feat, *inputs)
        queries = blocks[-1].queries
        out = self.final(feat.flatten(0, 1), queries.weights).view(feat.shape)
        return self.geometry.kept(cloud, layout, blocks)._replace(feat=queries.clouds(out))

    @torch.no_grad()
    def calibrate(self, cloud: PointCloud) -> None:
        """Set the radii of the balls on training clouds; a net with a grid has set them on the grid
        already.
        """
        self._check(cloud)
        if not bool(cloud.pos[cloud.mask].isfinite().all()):
            raise InputError("the training clouds hold positions that are not finite.")
        self.geometry.calibrate(cloud)

    @torch.no_grad()
    def kept(self, cloud: PointCloud) -> PointCloud:
        """The points that `forward` returns features for, without the work: positions and mask,
        input features.
        """
        if self.geometry.keep == 1:
            return cloud
        layout = self.geometry.layout_of(cloud)
        return self.geometry.kept(cloud, layout, self.geometry(layout, cloud.pos))

    def _kernels(self, neighborhoods: list[Neighborhood]) -> Sequence[Tensor | None]:
        """Kernel numbers of all blocks at once, where they share the pairs of a padded layout; None
        where each block evaluates its own.
        """
        blocks: Iterable[Any] = self.blocks
        pairs, weights = neighborhoods[0].pairs, neighborhoods[0].weights
        mlps: list[KernelMLP] = [block.conv.kernel for block in blocks]
        if weights is None or self.geometry.keep < 1 or not all(mlp.can_join() for mlp in mlps):
            return [None] * len(mlps)
        return KernelMLP.join(mlps, pairs, weights)

    def _marked(self, cloud: PointCloud) -> Tensor:
        """The features, (B, N, c), NaN throughout a cloud with a position that is not finite.

        No ball holds such a point, so it would otherwise vanish.
        """
        if isinstance(self.geometry, GridGeometry):
            return cloud.feat
        total = masked(cloud.pos, cloud.mask).sum((1, 2), keepdim=True)  # (B, 1, 1)
        return cloud.feat + 0 * total.to(cloud.feat.dtype)

    def _check(self, cloud: PointCloud) -> None:
        """Refuse clouds that the net was not made for."""
        check_cloud(cloud)
        if cloud.pos.shape[-1] != self.group.dim:
            raise InputError(
                f"{self.group} acts on {self.group.dim}-dimensional positions, not "
                f"{cloud.pos.shape[-1]}; choose a group of that dimension."
            )
        if cloud.feat.shape[-1] != self.in_channels:
            raise InputError(
                f"the net takes {self.in_channels} input channels, not {cloud.feat.shape[-1]}."
            )
