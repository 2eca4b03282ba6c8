"""Controls for GIGP: pools that share its MLP but not its orbits, so that a gain can be put down to
the right cause.

GIGP over a single orbit (`pool=one_orbit`) is the third control; it needs no class of its own.
"""

import torch
from torch import Tensor

from gigp.errors import check_choice
from gigp.groups import Group
from gigp.nn.mlp import mlp, start_as_identity
from gigp.pointcloud import masked
from gigp.pools.base import MeanPool, Pool
from gigp.pools.gigp import Center, check_orbit_space, coordinate


class MeanMLP(Pool):
    """Mean over the points, then GIGP's MLP: y = phi(mean_i f_i). Starts as mean pooling.

    Args:
        channels: number of feature channels c.
        hidden_layers, hidden_channels: of phi; the default width is max(64, 2c), as for GIGP.
    """

    def __init__(
        self, channels: int, *, hidden_layers: int = 2, hidden_channels: int | None = None
    ) -> None:
        super().__init__(channels)
        self.mean = MeanPool(channels)
        self.phi = mlp(channels, channels, hidden_layers, hidden_channels or max(64, 2 * channels))
        start_as_identity(self.phi, channels)

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        return masked(self.phi(self.mean(feat, pos, mask)), mask.any(1))


class RadialDeepSets(Pool):
    """GIGP's MLP on every point, told its orbit coordinate, then the mean: y = mean_i phi([f_i,
    q_i]).

    Knows all about the orbits that GIGP knows, but does not sum over them before the MLP. Starts as
    mean pooling.

    Args:
        channels: number of feature channels c.
        group: the group whose orbit coordinate phi is told; its orbit space must be
            one-dimensional.
        center: `centroid` or `origin`, see `gigp.pools.gigp.GIGP`.
        hidden_layers, hidden_channels: of phi; the default width is max(64, 2c), as for GIGP.
    """

    def __init__(
        self,
        channels: int,
        group: Group,
        *,
        center: Center = "centroid",
        hidden_layers: int = 2,
        hidden_channels: int | None = None,
    ) -> None:
        super().__init__(channels)
        check_choice("center", center, Center)
        check_orbit_space(group)
        self.group, self.center, self.mean = group, center, MeanPool(channels)
        self.phi = mlp(
            channels + 1, channels, hidden_layers, hidden_channels or max(64, 2 * channels)
        )
        start_as_identity(self.phi, channels)

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        q = coordinate(self.group, self.center, pos, mask).to(feat.dtype)  # (B, N) or (1, N)
        q = q.expand(feat.shape[:2]).unsqueeze(-1)  # (B, N, 1)
        return self.mean(self.phi(torch.cat([masked(feat, mask), masked(q, mask)], -1)), pos, mask)
