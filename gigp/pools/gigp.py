"""Group Invariant Global Pooling (Bujel et al. 2023, arXiv 2305.19207): pool orbit by orbit.

    h_k = sum_i m_ik f_i,   n_k = sum_i m_ik        features of orbit k, number of points
    z_k = phi([h_k, c_k])   where n_k > 0, else 0   one MLP, shared by all orbits
    y   = sum_k w_k z_k / sum_k n_k                 learned weights; at the start, the mean

With `point_layers`, an MLP psi on every point comes before the sums, psi(f_i) in place of f_i. GIGP
then contains DeepSets (`pool=point_mlp`), which has psi alone: what orbits add to that can be told.

m_ik is the membership of point i in orbit k, c_k the orbit's center (`gigp.pools.orbits`). An orbit
may hold a fraction of a point. Then z_k = s_k phi([h_k / s_k, c_k]) with the occupancy s_k, so that
y is continuous where a point enters an orbit: s_k = min(1, n_k) for hat memberships; for smooth
ones s_k = 1 - exp(-n_k), with which y is twice continuously differentiable in the positions, as
forces need it, if phi is (`activation=silu`).
"""

from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from gigp.errors import InputError, check_choice, check_count
from gigp.groups import Group
from gigp.nn.mlp import Activation, map_mlp, mlp, start_as_identity, sum_mlp
from gigp.pointcloud import PointCloud
from gigp.pools.base import Pool, masked_features
from gigp.pools.coordinate import OrbitCoordinate, PoolCenter, measure_clouds
from gigp.pools.divisor import Divisor, DivisorKind
from gigp.pools.orbits import Delta, Membership, Orbits

OrbitSum = Literal["weighted", "sum", "mean"]
Init = Literal["mean", "sum", "random"]


class GIGP(Pool):
    """Group Invariant Global Pooling (arXiv 2305.19207; equations in `gigp.pools.gigp`).

    Invariant under `group` whenever the features are; the order of the points, padding and the rest
    of the batch make no difference. Memory is O(points x (orbits + channels)): no tensor has points
    x orbits x channels numbers. Parameters: those of the MLPs, and one weight for each orbit.

    Args:
        channels: number of feature channels c.
        group: group whose orbits are distinguished; its orbit space must be one-dimensional, as for
            SO(2) and SO(3).
        orbits: number of orbit centers K. One orbit is DeepSets: the same MLP without geometry.
        membership, delta, normalize: options of `gigp.pools.orbits.Orbits`.
        center: `centroid` of each cloud or center of `mass`, which make a pool over SO(d) invariant
            under SE(d); `origin`, positions as they are.
        feed_center: give phi the orbit coordinate c_k of the orbit's center.
        aggregation: sum over the orbits: `weighted` (learned w), `sum`, or `mean` over the orbits
            that hold points.
        init: `mean`, start as mean pooling, exactly; `sum`, start as sum pooling, with no divisor;
            `random`, phi starts like any MLP.
        divisor: see `gigp.pools.divisor.Divisor`; with `constant`, init=mean starts as sum pooling
            divided by the mean number of points of the training clouds.
        hidden_layers: number of hidden layers of phi.
        hidden_channels: width of phi; None: max(64, 2c). The start as mean or sum needs 2c.
        activation: activation of both MLPs: `relu`, or `silu`, which has no kink.
        point_layers: number of hidden layers of psi, an MLP on every point before the sums, of the
            width of phi, from the identity on with init=mean and sum; 0: no psi.

    Raises:
        InputError: a group with one orbit (without orbits to tell apart GIGP is DeepSets) or with
            an orbit space of more than one dimension; an unknown option; too few hidden channels.

    Examples:
        >>> from gigp.groups import SO3
        >>> pool = GIGP(channels=2, group=SO3(), orbits=10)
        >>> pool.orbits.fit(0.0, 3.0)  # or pool.fit(training_clouds)
        >>> feat = torch.tensor([[[1.0, 0.0], [2.0, 4.0], [9.0, 9.0]]])
        >>> mask = torch.tensor([[True, True, False]])
        >>> pool(feat, torch.randn(1, 3, 3), mask).detach()  # the mean, until it is trained
        tensor([[1.5000, 2.0000]])
    """

    group: Group

    def __init__(
        self,
        channels: int,
        group: Group,
        *,
        orbits: int = 50,
        membership: Membership = "ball",
        delta: Delta = "auto",
        normalize: bool = True,
        center: PoolCenter = "centroid",
        feed_center: bool = True,
        aggregation: OrbitSum = "weighted",
        init: Init = "mean",
        divisor: DivisorKind = "count",
        hidden_layers: int = 2,
        hidden_channels: int | None = None,
        activation: Activation = "relu",
        point_layers: int = 0,
    ) -> None:
        super().__init__(channels)
        check_count("point_layers", point_layers, 0)
        check_choice("aggregation", aggregation, OrbitSum)
        check_choice("init", init, Init)
        if aggregation == "mean" and (init, divisor) != ("random", "count"):
            raise InputError(
                f"aggregation=mean averages over orbits, so it cannot start as init={init} pooling "
                f"over points nor take divisor={divisor}; use init=random divisor=count, or "
                "aggregation=weighted or sum."
            )
        if init == "sum" and divisor == "constant":
            raise InputError(
                "init=sum starts as the plain sum, which nothing divides; for the sum divided by a "
                "constant use init=mean divisor=constant."
            )
        self.orbit_coordinate = OrbitCoordinate(group, center)
        self.group, self.center, self.needs_mass = group, center, center == "mass"
        self.feed_center, self.aggregation, self.init = feed_center, aggregation, init
        self.orbits = Orbits(orbits, membership, delta, normalize, group.period)
        self.divisor = Divisor(divisor)
        width = hidden_channels or max(64, 2 * channels)
        self.phi = mlp(channels + feed_center, channels, hidden_layers, width, activation)
        self.psi = (
            mlp(channels, channels, point_layers, width, activation) if point_layers else None
        )
        if aggregation == "weighted":
            self.weight = nn.Parameter(torch.empty(orbits))
        self._start()

    def reset_parameters(self) -> None:
        """Draw the MLPs again and reset the weights; what `fit` has set is kept."""
        for layer in (*self.phi, *(self.psi or ())):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        self._start()

    def _start(self) -> None:
        """Initialize a freshly drawn pool by `init`."""
        if self.init != "random":
            for mlp_ in (self.phi, self.psi):
                if mlp_ is not None:
                    start_as_identity(mlp_, self.channels)
        if self.aggregation == "weighted":
            nn.init.ones_(self.weight)

    def coordinate(self, pos: Tensor, mask: Tensor, mass: Tensor | None = None) -> Tensor:
        """Orbit coordinates q, (B, N), of positions (B, N, d) with mask and masses (B, N)."""
        return self.orbit_coordinate(pos, mask, mass)

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        """Space the orbit centers over the range of the orbit coordinate on training clouds, and
        set a constant divisor.
        """
        measured = measure_clouds(clouds, self.coordinate)
        self.orbits.fit(measured.low, measured.high)
        self.divisor.fit(measured.points)

    def forward(
        self,
        feat: Tensor,
        pos: Tensor | None = None,
        mask: Tensor | None = None,
        mass: Tensor | None = None,
        *,
        counts: Tensor | None = None,
    ) -> Tensor:
        """Pool.

        Args:
            feat: features, (B, N, c).
            pos: positions, (B, N, d) or (1, N, d) where the batch shares them.
            mask: True for real points, (B, N) or (1, N); None: all are.
            mass: masses of the points, (B, N), where `center` is `mass`.
            counts: numbers of points in every orbit, (B, K), where `feat` holds sums over orbits
                already, (B, K, c), and is the only other argument.

        Returns:
            (B, c); 0 for a cloud without points.

        Raises:
            InputError: tensors of the wrong shape or type; orbit centers that are not set.
        """
        if counts is not None:
            return self._combine(feat, counts)
        return self._combine(*self._sums(feat, pos, mask, mass))

    def terms(
        self, feat: Tensor, pos: Tensor, mask: Tensor | None = None, mass: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What every orbit adds to the result of `forward`, which is their sum, (B, K, c), and
        numbers of points in every orbit, (B, K). The arguments are those of `forward`.
        """
        h, n = self._sums(feat, pos, mask, mass)
        inputs, s = self._inputs(h, n)
        return self._divide(self._weights(s), s, n).unsqueeze(-1) * self.phi(inputs), n

    def _sums(
        self, feat: Tensor, pos: Tensor | None, mask: Tensor | None, mass: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Sums over the points of every orbit, h (B, K, c), and their numbers, n (B, K)."""
        mask = self.check(feat, pos, mask)
        q = self.coordinate(cast(Tensor, pos), mask, mass)
        m = self.orbits(q, mask).to(feat.dtype)  # (B, N, K)
        return m.transpose(-1, -2) @ self._points(feat, mask), m.sum(-2)

    def _points(self, feat: Tensor, mask: Tensor) -> Tensor:
        """psi of the features of the points, 0 in the padding, (B, N, c) -> (B, N, c)."""
        return masked_features(feat, mask) if self.psi is None else map_mlp(self.psi, feat, mask)

    def _combine(self, h: Tensor, n: Tensor) -> Tensor:
        """Second half of the equations: sums (B, K, c) and numbers of points (B, K) -> y."""
        inputs, s = self._inputs(h, n)
        return self._divide(sum_mlp(self.phi, inputs, self._weights(s), keep=s != 0), s, n)

    def _inputs(self, h: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        """What phi gets, (B, K, c) and a channel for the center; occupancies s, (B, K)."""
        s = self.orbits.occupancy(n)  # 0 for empty orbits
        if self.orbits.fractional:
            h = h / s.masked_fill(s == 0, 1).unsqueeze(-1)
        if self.feed_center:
            c = self.orbits.centers.to(h.dtype).expand(*h.shape[:2])  # (B, K)
            h = torch.cat([h, c.unsqueeze(-1)], -1)  # (B, K, c + 1)
        return h, s

    def _weights(self, s: Tensor) -> Tensor:
        """w_k s_k, (B, K)."""
        return s * self.weight if self.aggregation == "weighted" else s

    def _divide(self, y: Tensor, s: Tensor, n: Tensor) -> Tensor:
        """Sums over the orbits, (B, c), or addends of them, divided as the options say."""
        if self.aggregation == "mean":
            occupied = s.sum(-1, keepdim=True)
            return y / occupied.masked_fill(occupied == 0, 1)
        return y if self.init == "sum" else self.divisor(y, n.sum(-1))

    @torch.no_grad()
    def orbit_response(self) -> dict[str, list[float]]:
        """Center, weight and response of every orbit.

        The response is the mean over the channels of how much one more unit of a summed feature
        changes w_k z_k in the same channel, at h = 0: central differences.
        """
        centers = self.orbits.centers.to(next(self.phi.parameters()).dtype)  # (K,)
        fed = centers[:, None] if self.feed_center else centers.new_zeros(len(centers), 0)

        def phi_at(h: Tensor) -> Tensor:  # (c,) in every orbit, (K, c)
            return self.phi(torch.cat([h.expand(len(centers), -1), fed], -1))

        weight = self._weights(torch.ones_like(centers))
        step, slope = 1e-2, torch.zeros_like(centers)
        for i, h in enumerate(step * torch.eye(self.channels).to(centers)):
            slope += (phi_at(h) - phi_at(-h))[:, i] / (2 * step * self.channels)
        columns = {"center": centers, "weight": weight, "response": weight * slope}
        return {
            name: [float(f"{x:.4g}") for x in values.tolist()] for name, values in columns.items()
        }

    def extra_repr(self) -> str:
        return (
            f"group={self.group}, center={self.center}, aggregation={self.aggregation}, "
            f"init={self.init}"
        )
