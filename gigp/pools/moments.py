"""Moments of the features in the orbit coordinate."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gigp.groups import Group
from gigp.nn.fitted import FittedModule
from gigp.pointcloud import PointCloud, masked
from gigp.pools.base import Pool, masked_features
from gigp.pools.coordinate import OrbitCoordinate, PoolCenter, measure_clouds
from gigp.pools.divisor import Divisor, DivisorKind


class Moments(Pool, FittedModule):
    """A linear layer on the moments of the features, the simplest pool that knows radii.

        y = W [sum_i f_i, sum_i r_i f_i, sum_i r_i^2 f_i] / divisor + b

    r_i is the orbit coordinate in units of its root mean square over the training clouds, a buffer.
    Starts as mean pooling: W = [1, 0, 0]. Parameters: 3 c^2 + c; without W and b none.

    Args:
        channels: number of feature channels c.
        group: group whose orbit coordinate is r, as SO(3) for the radius.
        center: see `gigp.pools.coordinate.OrbitCoordinate`.
        divisor: see `gigp.pools.divisor.Divisor`.
        linear: False returns the moments, (B, 3 c), for a linear layer that follows.

    Examples:
        >>> from gigp.groups import SO3
        >>> feat, pos = torch.tensor([[[1.0], [2.0]]]), torch.randn(1, 2, 3)
        >>> cloud = PointCloud(pos, feat, torch.tensor([[True, True]]))
        >>> pool = Moments(1, SO3())
        >>> pool.fit([cloud])
        >>> pool(feat, pos, cloud.mask).detach()  # the mean, until it is trained
        tensor([[1.5000]])
    """

    scale: Tensor
    fitted_buffers = ("scale",)
    how_to_fit = (
        "the scale of the radii is not set: call pool.fit(training_clouds) with any iterable of "
        "gigp.PointCloud, or load a trained state dict, before the first forward pass."
    )

    def __init__(
        self,
        channels: int,
        group: Group,
        *,
        center: PoolCenter = "centroid",
        divisor: DivisorKind = "count",
        linear: bool = True,
    ) -> None:
        super().__init__(channels)
        self.coordinate = OrbitCoordinate(group, center)
        self.group, self.needs_mass = group, center == "mass"
        self.divisor = Divisor(divisor)
        self.register_buffer("scale", torch.tensor(math.nan))
        self.out_channels = channels if linear else 3 * channels
        self.linear = nn.Linear(3 * channels, channels) if linear else nn.Identity()
        if isinstance(self.linear, nn.Linear):
            with torch.no_grad():
                self.linear.weight.copy_(torch.eye(channels, 3 * channels))
                self.linear.bias.zero_()

    @torch.no_grad()
    def fit(self, clouds: Iterable[PointCloud]) -> None:
        measured = measure_clouds(clouds, self.coordinate)
        self.scale.fill_(measured.rms if measured.rms > 0 else 1.0)
        self.divisor.fit(measured.points)
        self._fitted = True

    def forward(
        self, feat: Tensor, pos: Tensor, mask: Tensor | None = None, mass: Tensor | None = None
    ) -> Tensor:
        mask = self.check(feat, pos, mask)
        self.check_fitted()
        r = (self.coordinate(pos, mask, mass) / self.scale).to(feat.dtype)  # (B, N) or (1, N)
        powers = torch.stack([torch.ones_like(r), r, r.square()], -2)  # (B, 3, N)
        moments = powers @ masked_features(feat, mask)  # (B, 3, c)
        y = self.linear(self.divisor(moments.flatten(1), mask.sum(1)))
        return masked(y, mask.any(1))
