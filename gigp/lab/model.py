"""Backbone, head and pool in one module: a point cloud in, one invariant vector out."""

from collections.abc import Iterable
from itertools import chain
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gigp.backbones.base import Backbone
from gigp.errors import InputError, check_choice
from gigp.pointcloud import PointCloud
from gigp.pools.base import Pool
from gigp.pools.gigp import GIGP

PoolOn = Literal["outputs", "features"]
POINTS = 16  # that sums of input features are divided by


class OrbitTerms(NamedTuple):
    """The output of a model as a sum over the orbits of its pool.

    Attributes:
        terms: what every orbit adds, (B, K, out_channels).
        constant: what is added beside them, (out_channels,); with the terms' sum, the output.
        counts: number of points in every orbit, (B, K).
        points: what the pool has combined.
    """

    terms: Tensor
    constant: Tensor
    counts: Tensor
    points: PointCloud


class PointCloudModel(nn.Module):
    """Equivariant features, a linear head, and a pool.

    Args:
        backbone: maps a cloud to a cloud of features.
        pool: a pool over `out_channels` (outputs) or the backbone's channels (features).
        out_channels: numbers to predict for each cloud.
        pool_on: `outputs`, the head predicts for every point and the pool combines the predictions
            (as published); `features`, the pool combines hidden features and the head follows.
        pool_inputs: the pool gets the input features of each point, (B, N, in_channels), beside
            those of the backbone (`beside_inputs`): linear access to what a point is.
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
        y = self.pooled(cloud)
        return y if self.pool_on == "outputs" else self.head(y)

    def pooled(self, cloud: PointCloud) -> Tensor:
        """What the pool returns, (B, pool.out_channels)."""
        return self._pool(self._pool_inputs(cloud))

    def orbit_terms(self, cloud: PointCloud) -> OrbitTerms:
        """What every orbit of the pool adds to the output.

        Raises:
            InputError: the pool is no sum over orbits.
        """
        if not isinstance(self.pool, GIGP):
            raise InputError(
                f"{type(self.pool).__name__} is no sum over orbits; give a model with pool=gigp."
            )
        points = self._pool_inputs(cloud)
        terms, counts = self.pool.terms(
            points.feat, points.pos, points.mask, points.mass if self.pool.needs_mass else None
        )
        constant = terms.new_zeros(self.out_channels)
        if self.pool_on == "features" and isinstance(self.head, nn.Linear):
            terms, constant = nn.functional.linear(terms, self.head.weight), self.head.bias
        return OrbitTerms(terms, constant, counts, points)

    def _pool_inputs(self, cloud: PointCloud) -> PointCloud:
        """The points that the pool combines, with their features, or their outputs."""
        points = self.backbone(cloud)
        if self.pool_inputs:
            points = beside_inputs(points, cloud)
        if self.pool_on == "outputs":
            return points._replace(feat=self.head(points.feat))
        return points

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
    features that it was given, (B, N, i), times the number of points: (B, N', c + i).

    A pool that divides by the number of points then returns sums of them: numbers of atoms of each
    element, sums of r^2. They are in units of `POINTS`, near 1 for a usual molecule.
    """
    inputs = cloud.feat[:, : points.feat.shape[1]].to(points.feat.dtype)
    inputs = inputs * (points.mask.sum(1).to(inputs.dtype) / POINTS)[:, None, None]
    return points._replace(feat=torch.cat([points.feat, inputs], -1))
