"""Controls for GIGP: pools that share its MLP but not its orbits, so that a gain can be put down to
the right cause.

GIGP over a single orbit (`pool=one_orbit`) is a further control; it needs no class of its own.
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from gigp.groups import Group
from gigp.nn.mlp import identity_mlp, sum_mlp
from gigp.pointcloud import PointCloud, masked
from gigp.pools.base import Pool, masked_features
from gigp.pools.coordinate import OrbitCoordinate, PoolCenter, measure_clouds
from gigp.pools.divisor import Divisor, DivisorKind
from gigp.pools.gigp import GIGP


class MeanMLP(Pool):
    """Mean over the points, then GIGP's MLP: y = phi(mean_i f_i). Starts as mean pooling.

    Parameters: those of phi.

    Args:
        channels: number of feature channels c.
        divisor: see `gigp.pools.divisor.Divisor`.
        hidden_layers: number of hidden layers of phi.
        hidden_channels: width of phi; None: max(64, 2c), as for GIGP.
    """

    def __init__(
        self,
        channels: int,
        *,
        divisor: DivisorKind = "count",
        hidden_layers: int = 2,
        hidden_channels: int | None = None,
    ) -> None:
        super().__init__(channels)
        self.divisor = Divisor(divisor)
        self.phi = identity_mlp(
            channels, hidden_layers=hidden_layers, hidden_channels=hidden_channels
        )

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        self.divisor.fit(measure_clouds(clouds).points)

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = self.check(feat, pos, mask)
        mean = self.divisor(masked_features(feat, mask).sum(1), mask.sum(1))
        return masked(self.phi(mean), mask.any(1))


class PointMLP(Pool):
    """GIGP's MLP on every point, then the sum over the points (Zaheer et al. 2017, 1703.06114).

        y = rho(sum_i phi([f_i, q_i]) / divisor)

    With a group phi gets the orbit coordinate q_i of the point, so it knows all about the orbits
    that GIGP knows; with rho, and enough channels, it can express all that GIGP can. Starts as mean
    pooling. Parameters: those of phi, and of rho, an MLP of the same size.

    Args:
        channels: number of feature channels c.
        group: group whose orbit coordinate phi gets; None: phi gets the features alone.
        center: see `gigp.pools.coordinate.OrbitCoordinate`.
        rho: apply an MLP to the sum, too.
        divisor: see `gigp.pools.divisor.Divisor`.
        hidden_layers: number of hidden layers of each MLP.
        hidden_channels: width of each MLP; None: max(64, 2c), as for GIGP.
    """

    def __init__(
        self,
        channels: int,
        group: Group | None = None,
        *,
        center: PoolCenter = "centroid",
        rho: bool = False,
        divisor: DivisorKind = "count",
        hidden_layers: int = 2,
        hidden_channels: int | None = None,
    ) -> None:
        super().__init__(channels)
        self.group = group
        self.coordinate = None if group is None else OrbitCoordinate(group, center)
        self.needs_mass = group is not None and center == "mass"
        self.divisor = Divisor(divisor)
        make = partial(
            identity_mlp, channels, hidden_layers=hidden_layers, hidden_channels=hidden_channels
        )
        self.phi = make(extra_inputs=int(group is not None))
        self.rho = make() if rho else None

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        self.divisor.fit(measure_clouds(clouds, self.coordinate).points)

    def forward(
        self, feat: Tensor, pos: Tensor, mask: Tensor | None = None, mass: Tensor | None = None
    ) -> Tensor:
        mask = self.check(feat, pos, mask)
        inputs = masked_features(feat, mask)  # (B, N, c)
        if self.coordinate is not None:
            q = self.coordinate(pos, mask, mass).to(feat.dtype)  # (B, N) or (1, N)
            q = q.expand(feat.shape[:2]).unsqueeze(-1)  # (B, N, 1)
            inputs = torch.cat([inputs, masked(q, mask)], -1)
        total = sum_mlp(self.phi, inputs, mask.to(feat.dtype), keep=mask)  # (B, c)
        y = self.divisor(total, mask.sum(1))
        return y if self.rho is None else masked(self.rho(y), mask.any(1))


class ShuffledGIGP(GIGP):
    """GIGP on wrong orbits: the orbit coordinates of a cloud are shuffled among its points.

    In training a new permutation is drawn for every cloud and step. In evaluation the point with
    the k-th smallest coordinate gets that of rank p(k), where the permutation p is fixed for each
    number of points: so results repeat, and neither the order of the points, nor padding, nor
    rotations change them.

    Args: those of `gigp.pools.gigp.GIGP`.
    """

    def coordinate(self, pos: Tensor, mask: Tensor, mass: Tensor | None = None) -> Tensor:
        """Shuffled orbit coordinates, (B, N)."""
        return shuffle(super().coordinate(pos, mask, mass), mask, random=self.training)


def shuffle(q: Tensor, mask: Tensor, *, random: bool) -> Tensor:
    """Permute the values of the real points of each cloud.

    Args:
        q: values, (B, N).
        mask: True for real points, (B, N).
        random: draw a new permutation; else one that depends on the ranks and the number of points.
    """
    q = q + 0 * masked(q.unsqueeze(-1), mask).sum(1)  # a NaN is sorted behind padding: spread it
    # (B, N), points by rank, real ones first
    ranked = q.masked_fill(~mask, torch.inf).argsort(dim=-1, stable=True)
    if random:
        key = torch.rand_like(q)
    else:
        rank = torch.arange(mask.shape[1], device=q.device)
        key = scatter_key(mask.sum(-1, keepdim=True), rank)
    # real ranks first, in the order of the key
    is_rank = torch.arange(mask.shape[1], device=q.device) < mask.sum(-1, keepdim=True)
    order = key.to(q.dtype).masked_fill(~is_rank, torch.inf).argsort(dim=-1, stable=True)
    return q.scatter(-1, ranked, q.gather(-1, ranked.gather(-1, order)))


def scatter_key(number: Tensor, rank: Tensor) -> Tensor:
    """Numbers in [0, 1) that look random, the same for the same number of points and rank."""
    x = (number * 0x9E3779B1 + rank * 0x85EBCA77) % 2**32
    for _ in range(2):
        x = (x ^ (x >> 15)) * 0x2C1B3C6D % 2**32
    return (x ^ (x >> 12)).double() / 2**32
