"""Pools turn the features of a point cloud into one invariant vector: mean, sum, max, and GIGP.

All share one call, `pool(feat, pos, mask) -> (B, c)`, on dense tensors with a mask. GIGP (Bujel et
al. 2023, arXiv 2305.19207) pools orbit by orbit:

    h_k = sum_i m_ik f_i,   n_k = sum_i m_ik        features of orbit k, number of points
    z_k = phi([h_k, c_k])   where n_k > 0, else 0   one MLP, shared by all orbits
    y   = sum_k w_k z_k / sum_k n_k                 learned weights; at the start, the mean

m_ik is the membership of point i in orbit k, c_k the orbit's center (`gigp.pools.orbits`). With hat
memberships an orbit that holds a share s_k = n_k < 1 of a point has the say of that share, z_k =
s_k phi([h_k / s_k, c_k]), so that y is continuous when a point enters an orbit. Smooth memberships
say s_k = 1 - exp(-n_k) instead, and y has no kink either where phi has none (`activation=silu`):
twice continuously differentiable in the positions, as forces ask for.
"""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.errors import InputError, check_choice
from gigp.groups import Group
from gigp.nn.mlp import Activation, mlp, start_as_identity
from gigp.pointcloud import PointCloud, center_points, masked
from gigp.pools.base import Pool
from gigp.pools.orbits import Membership, Orbits

Aggregation = Literal["weighted", "sum", "mean"]
Init = Literal["mean", "sum", "random"]
Center = Literal["centroid", "origin"]


class GIGP(Pool):
    """Group Invariant Global Pooling (arXiv 2305.19207; equations at the head of this file).

    Invariant under `group` whenever the features are; indifferent to the order of the points, to
    padding and to what else is in the batch. Costs O(points x (orbits + channels)) memory: no
    tensor of points x orbits x channels.

    Args:
        channels: number of feature channels c.
        group: the group whose orbits are told apart; its orbit space must be one-dimensional, as
            for SO(2) and SO(3).
        orbits: number of orbit centers K. One orbit is DeepSets: the same MLP without geometry.
        membership, delta, normalize: see `gigp.pools.orbits.Orbits`.
        center: `centroid`, positions relative to the centroid of the cloud, which makes a pool over
            SO(d) invariant under SE(d); `origin`, positions as they are.
        feed_center: tell phi the orbit coordinate c_k.
        aggregation: of the orbits: `weighted` (learned w), `sum`, or `mean` over the orbits that
            hold points.
        init: `mean`, starts as mean pooling, exactly; `sum`, likewise as sum pooling; `random`, phi
            starts like any MLP. `mean` and `random` divide by the number of points.
        hidden_layers, hidden_channels: of phi; the identity that `mean` and `sum` start from needs
            at least 2c channels, the default is max(64, 2c).
        activation: of phi; `relu`, or `silu`, which has no kink.

    Raises:
        InputError: a group with one orbit (without orbits to tell apart GIGP is DeepSets) or with
            an orbit space of more than one dimension; an option that is not one of the choices; too
            few hidden channels.
    """

    def __init__(
        self,
        channels: int,
        group: Group,
        *,
        orbits: int = 50,
        membership: Membership = "ball",
        delta: float = 0.5,
        normalize: bool = True,
        center: Center = "centroid",
        feed_center: bool = True,
        aggregation: Aggregation = "weighted",
        init: Init = "mean",
        hidden_layers: int = 2,
        hidden_channels: int | None = None,
        activation: Activation = "relu",
    ) -> None:
        super().__init__(channels)
        check_choice("center", center, Center)
        check_choice("activation", activation, Activation)
        check_choice("aggregation", aggregation, Aggregation)
        check_choice("init", init, Init)
        if aggregation == "mean" and init != "random":
            raise InputError(
                f"aggregation=mean averages over orbits, so it cannot start as init={init} pooling "
                "over points; use init=random, or aggregation=weighted or sum."
            )
        check_orbit_space(group)
        self.group, self.center, self.feed_center = group, center, feed_center
        self.aggregation, self.init = aggregation, init
        self.orbits = Orbits(orbits, membership, delta, normalize, group.period)
        width = hidden_channels or max(64, 2 * channels)
        self.phi = mlp(channels + feed_center, channels, hidden_layers, width, activation)
        if aggregation == "weighted":
            self.weight = nn.Parameter(torch.empty(orbits))
        self._start()

    def reset_parameters(self) -> None:
        """Draw phi anew and go back to the start; the orbit centers stay."""
        for layer in self.phi:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        self._start()

    def _start(self) -> None:
        """Make a freshly drawn pool start as `init` says."""
        if self.init != "random":
            start_as_identity(self.phi, self.channels)
        if self.aggregation == "weighted":
            nn.init.ones_(self.weight)

    def coordinate(self, pos: Tensor, mask: Tensor) -> Tensor:
        """Orbit coordinates q, (B, N), of positions (B, N, d)."""
        return coordinate(self.group, self.center, pos, mask)

    @torch.no_grad()
    def fit(self, clouds: Iterable[PointCloud]) -> None:
        """Space the orbit centers over the range of the orbit coordinate on training clouds."""
        low, high = torch.inf, -torch.inf
        for cloud in clouds:
            q = self.coordinate(cloud.pos, cloud.mask)[cloud.mask]
            if len(q):
                low, high = min(low, q.min().item()), max(high, q.max().item())
        self.orbits.fit(low, high)

    @torch.no_grad()
    def learned(self) -> dict[str, list[float]]:
        """Of every orbit: its center; its weight; and its response, the mean over the channels of
        how much one more unit of the summed feature changes w_k z_k, at h = 0."""
        c = (
            self.orbits.centers.unsqueeze(-1)
            if self.feed_center
            else self.orbits.centers.new_zeros(self.orbits.num, 0)
        )

        def answer(h: Tensor) -> Tensor:
            return self.phi(torch.cat([h, c.to(h.dtype)], -1))  # (K, c)

        weight = (
            self.weight if self.aggregation == "weighted" else torch.ones_like(self.orbits.centers)
        )
        zero = weight.new_zeros(self.orbits.num, self.channels)
        step = 1e-2 * torch.eye(self.channels, dtype=zero.dtype, device=zero.device)
        own = (
            torch.stack(
                [(answer(zero + e) - answer(zero - e))[:, i] for i, e in enumerate(step)]
            ).mean(0)
            / 2e-2
        )
        columns = {"center": self.orbits.centers, "weight": weight, "response": weight * own}
        return {
            name: [float(f"{x:.4g}") for x in values.tolist()] for name, values in columns.items()
        }

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        if not feat.is_floating_point():
            raise InputError(
                f"feat is of {feat.dtype}, which cannot hold shares of points; pass feat.float()."
            )
        m = self.orbits(self.coordinate(pos, mask), mask).to(feat.dtype)  # (B, N, K)
        h = m.transpose(-1, -2) @ masked(feat, mask)  # (B, K, c)
        return self.combine(h, m.sum(-2))

    def combine(self, h: Tensor, n: Tensor) -> Tensor:
        """y, (B, c), from the sum of the features in every orbit, (B, K, c), and how many points it
        holds, (B, K).
        """
        # (B, K), 0 for empty orbits
        s = self.orbits.occupancy(n)
        if self.orbits.shares:
            h = h / s.masked_fill(s == 0, 1).unsqueeze(-1)
        if self.feed_center:
            c = self.orbits.centers.to(h.dtype).expand(*h.shape[:2])  # (B, K)
            h = torch.cat([h, c.unsqueeze(-1)], -1)  # (B, K, c + 1)
        say = s * self.weight if self.aggregation == "weighted" else s  # (B, K), w_k s_k
        # linear, so that the sum may go before it
        last = self.phi[-1]
        hidden = say.unsqueeze(1) @ self.phi[:-1](h)  # (B, 1, hidden)
        # (B, c)
        y = F.linear(hidden.squeeze(1), last.weight) + say.sum(-1, keepdim=True) * last.bias
        if self.aggregation == "mean":
            occupied = s.sum(-1, keepdim=True)
            return y / occupied.masked_fill(occupied == 0, 1)
        return y if self.init == "sum" else y / n.sum(-1, keepdim=True).clamp(min=1)

    def extra_repr(self) -> str:
        return (
            f"group={self.group}, center={self.center}, aggregation={self.aggregation}, "
            f"init={self.init}"
        )


def coordinate(group: Group, center: Center, pos: Tensor, mask: Tensor) -> Tensor:
    """Orbit coordinates q, (B, N), of positions (B, N, d) about the centroid of each cloud or about
    the origin.
    """
    if pos.shape[-1] != group.dim:
        raise InputError(f"{group} acts on {group.dim}-dimensional positions, not {pos.shape[-1]}.")
    return group.orbit_coordinate(center_points(pos, mask) if center == "centroid" else pos)


def check_orbit_space(group: Group) -> None:
    """Refuse groups whose orbits GIGP cannot line up: it needs many orbits and one number that
    tells them apart.
    """
    if group.q_dim == 0:
        raise InputError(
            f"all of space is one orbit of {group}, so GIGP over it would be DeepSets: an MLP of "
            "the summed features. Pool over SO(d) about the centroid instead (SO2 or SO3 with "
            "center=centroid); for the DeepSets control set orbits=1 there."
        )
    if group.q_dim > 1:
        raise InputError(
            f"the orbits of {group} form a {group.q_dim}-dimensional space; GIGP lines up orbit "
            "centers along one coordinate. Pool over a group whose orbit space is one-dimensional: "
            "SO(2), SO(3), Tx, Ty or Rx."
        )
