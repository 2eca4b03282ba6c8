"""Backbone, head and pool in one module: a point cloud in, one invariant vector out."""

from collections.abc import Iterable
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from gigp.backbones.base import Backbone
from gigp.errors import InputError, check_choice
from gigp.pointcloud import PointCloud
from gigp.pools.base import Pool

PoolOn = Literal["outputs", "features"]


class PointCloudModel(nn.Module):
    """Equivariant features, a linear head, and a pool.

    Args:
        backbone: maps a cloud to a cloud of features.
        pool: a pool over `out_channels` (outputs) or the backbone's channels (features).
        out_channels: numbers to predict for each cloud.
        pool_on: `outputs`, the head predicts for every point and the pool combines the predictions
            (as published); `features`, the pool combines hidden features and the head follows.
        pool_inputs: the pool gets the input features of each point, (B, N, in_channels), beside
            those of the backbone: linear access to what a point is.
        head: False where the features are outputs already; the model is then a pool alone.

    Raises:
        InputError: a pool over outputs that does not return one number for each of them; input
            features beside outputs, or beside features of other points.
    """

    def __init__(
        self,
        backbone: Backbone,
        pool: Pool,
        out_channels: int,
        pool_on: PoolOn = "outputs",
        head: bool = True,
        pool_inputs: bool = False,
    ) -> None:
        super().__init__()
        check_choice("pool_on", pool_on, PoolOn)
        if pool_inputs and pool_on == "outputs":
            raise InputError(
                "pool_inputs=true puts input features beside those of the backbone, and the pool "
                "combines outputs; use pool_on=features."
            )
        if pool_inputs and not backbone.keeps_points:
            raise InputError(
                "pool_inputs=true needs a backbone that keeps every point once; use "
                "backbone.keep_fraction=1 and backbone.num_lifts=1, as group=E3 has them."
            )
        self.pool_inputs = pool_inputs
        self.backbone, self.pool, self.pool_on = backbone, pool, pool_on
        if pool_on == "outputs" and pool.out_channels != out_channels:
            raise InputError(
                f"the pool makes {pool.out_channels} numbers of the {out_channels} that are "
                "predicted for every point; use pool_on=features, where the head comes after the "
                "pool."
            )
        self.out_channels = out_channels
        channels = backbone.out_channels if pool_on == "outputs" else pool.out_channels
        self.head = nn.Linear(channels, out_channels) if head else nn.Identity()

    def forward(self, cloud: PointCloud) -> Tensor:
        """(B, N, ...) cloud -> (B, out_channels)."""
        points = self.backbone(cloud)
        if self.pool_inputs:
            points = beside_inputs(points, cloud)
        if self.pool_on == "outputs":
            return self._pool(points._replace(feat=self.head(points.feat)))
        return self.head(self._pool(points))

    def _pool(self, points: PointCloud) -> Tensor:
        """Pool (B, N, c) features; the masses go to the pools that take them."""
        masses = {"mass": points.mass} if self.pool.needs_mass else {}
        return self.pool(points.feat, points.pos, points.mask, **masses)

    def calibrate(self, clouds: Iterable[PointCloud]) -> None:
        """Set what depends on the training set: the radii of the balls (first batch) and the orbit
        centers (all).
        """
        clouds = iter(clouds)
        first = next(clouds)
        self.backbone.calibrate(first)
        self.pool.fit(self.backbone.kept(cloud) for cloud in chain([first], clouds))


def beside_inputs(points: PointCloud, cloud: PointCloud) -> PointCloud:
    """Features of a backbone that keeps every point, (B, N', c) for N' <= N, and beside them the
    features that it was given, (B, N, i): (B, N', c + i).
    """
    inputs = cloud.feat[:, : points.feat.shape[1]].to(points.feat.dtype)
    return points._replace(feat=torch.cat([points.feat, inputs], -1))
