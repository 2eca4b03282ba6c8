"""Backbone, head and pool in one module: a point cloud in, one invariant vector out."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Literal

from omegaconf import DictConfig
from torch import Tensor, nn

from gigp.backbone import LieResNet
from gigp.config import instantiate
from gigp.errors import InputError, check_choice
from gigp.pointcloud import PointCloud
from gigp.pool import Pool

PoolOn = Literal["outputs", "features"]


class PointCloudModel(nn.Module):
    """Equivariant features, a linear head, and a pool.

    Args:
        backbone: maps a cloud to a cloud of features.
        pool: a pool over `out_channels` (outputs) or the backbone's channels (features).
        out_channels: numbers to predict for each cloud.
        pool_on: `outputs`, the head predicts for every point and the pool combines the predictions
            (as published); `features`, the pool combines hidden features and the head follows.

    Raises:
        InputError: a pool over outputs that does not return one number for each of them.
    """

    def __init__(
        self, backbone: LieResNet, pool: Pool, out_channels: int, pool_on: PoolOn = "outputs"
    ) -> None:
        super().__init__()
        check_choice("pool_on", pool_on, PoolOn)
        self.backbone, self.pool, self.pool_on = backbone, pool, pool_on
        if pool_on == "outputs" and pool.out_channels != out_channels:
            raise InputError(
                f"the pool makes {pool.out_channels} numbers of the {out_channels} that are "
                f"predicted for every point; "
                "use pool_on=features, where the head comes after the pool."
            )
        self.head = nn.Linear(
            backbone.out_channels if pool_on == "outputs" else pool.out_channels, out_channels
        )

    def forward(self, cloud: PointCloud) -> Tensor:
        """(B, N, ...) cloud -> (B, out_channels)."""
        pos, feat, mask, _ = self.backbone(cloud)
        if self.pool_on == "outputs":
            return self.pool(self.head(feat), pos, mask)
        return self.head(self.pool(feat, pos, mask))

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        """Set what depends on the training set: the radii of the balls (first batch) and the orbit
        centers (all).
        """
        clouds = iter(clouds)
        first = next(clouds)
        self.backbone.fit(first)
        self.pool.fit(self.backbone.kept(cloud) for cloud in chain([first], clouds))


def build_model(cfg: DictConfig, datamodule: Any) -> PointCloudModel:
    """Build the model that a composed config asks for, on the data of a set-up data module."""
    group = instantiate(cfg.group)
    grid = getattr(datamodule, "grid", None)
    backbone = instantiate(cfg.backbone, in_channels=datamodule.in_channels, group=group, grid=grid)
    channels = datamodule.out_dim if cfg.pool_on == "outputs" else backbone.out_channels
    pool = instantiate(cfg.pool, channels=channels)
    return PointCloudModel(backbone, pool, datamodule.out_dim, cfg.pool_on)
