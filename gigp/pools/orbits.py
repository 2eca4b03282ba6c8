"""Orbits of points: orbit centers and memberships (arXiv 2305.19207, section 3)."""

import math
import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from gigp.errors import InputError, check_choice
from gigp.nn.fitted import FittedModule
from gigp.nn.linear import use_cpu_kernels

Membership = Literal["ball", "nearest", "hat", "smooth"]
Delta = float | Literal["auto"]
AUTO = 0.51  # radius of a ball with delta=auto, in distances between centers: balls just touch
WIDE = 0.25  # of the range of the centers: larger balls blur the orbits


class Orbits(FittedModule):
    """K orbit centers on the line (or circle) of orbit coordinates, and memberships in them.

    `fit` spaces the centers evenly over the range of the coordinate on the training set. They are
    buffers: they travel in the checkpoint and never depend on the batch at hand.

    Args:
        num: number of centers K.
        membership: `ball`, 1 where |q - c_k| <= delta; `nearest`, 1 for the closest center (several
            that are equally close share the point); `hat`, linear interpolation between the two
            centers around q, which is continuous in q; `smooth`, cubic B-splines, which are twice
            continuously differentiable in q, and for radii in the positions also at the center of
            the cloud, so that forces have no jump.
        delta: radius of a ball, in the unit of the orbit coordinate (Angstrom for molecules, pixels
            for images; the paper has 0.5); `auto`, half the distance between two centers, for
            positions in any unit.
        normalize: make the memberships of every point sum to one, so that overlapping balls do not
            count it twice; a point in no ball belongs to its nearest center. False: as in the
            paper's code.
        period: period of the orbit coordinate where it is an angle, else None.

    Raises:
        InputError: an unknown membership; `num` < 1 or `delta` <= 0; 2 or 3 smooth orbits around a
            circle.

    Examples:
        >>> orbits = Orbits(3, membership="hat")
        >>> orbits.fit(0.0, 2.0)  # centers 0, 1 and 2
        >>> orbits(torch.tensor([[0.0, 1.25]]), torch.tensor([[True, True]]))
        tensor([[[1.0000, 0.0000, 0.0000],
                 [0.0000, 0.7500, 0.2500]]])
    """

    centers: Tensor
    spacing: Tensor
    fitted_buffers = ("centers", "spacing")
    how_to_fit = (
        "the orbit centers are not set: call pool.fit(training_clouds) with any iterable of "
        "gigp.PointCloud, or pool.orbits.fit(low, high) with the range of the orbit coordinate, "
        "or load a trained state dict, before the first forward pass."
    )

    def __init__(
        self,
        num: int = 50,
        membership: Membership = "ball",
        delta: Delta = "auto",
        normalize: bool = True,
        period: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("membership", membership, Membership)
        if num < 1:
            raise InputError(f"{num} orbits are too few; pool.orbits must be at least 1.")
        if delta != "auto" and not (isinstance(delta, int | float) and delta > 0):
            raise InputError(
                f"delta={delta}: the radius of a ball, pool.delta, must be positive, or auto."
            )
        if membership == "smooth" and period is not None and num in (2, 3):
            raise InputError(
                f"{num} smooth orbits around a circle overlap themselves; use pool.orbits=1 or >= "
                "4."
            )
        self.num, self.membership, self.delta = num, membership, delta
        self.normalize, self.period = normalize, period
        self.register_buffer("centers", torch.full((num,), math.nan))  # (K,)
        self.register_buffer("spacing", torch.tensor(math.nan))

    @torch.no_grad()
    def fit(self, low: float, high: float) -> None:
        """Space the centers evenly over [low, high], or around the circle for angles.

        Raises:
            InputError: a range that is not finite, or whose ends are the wrong way round.
        """
        most = torch.finfo(self.centers.dtype).max / 2
        if not -most <= low <= high <= most:
            raise InputError(
                f"[{low}, {high}] is not a valid range of orbit coordinates; both ends must be "
                f"finite numbers up to {most:.0e} in size, the lower one first."
            )
        if self.period is not None:
            low, high = -self.period / 2, self.period / 2 * (1 - 2 / self.num)
        elif self.num == 1:
            low = high = (low + high) / 2
        # flat at both ends, so that nothing jumps where points leave the range
        elif self.membership == "smooth":
            inset = (high - low) / (self.num + 1)
            low, high = low + inset, high - inset
        self.centers.copy_(torch.linspace(low, high, self.num, dtype=torch.float64))
        step = (high - low) / max(self.num - 1, 1)
        self.spacing.fill_(step if step > 0 else 1.0)  # any width does where all centers coincide
        self._fitted = True
        self._check_width(step)

    def _check_width(self, spacing: float) -> None:
        """Warn where a ball covers many centers."""
        if self.membership != "ball" or self.delta == "auto" or spacing <= 0:
            return
        width, length = 2 * self.delta, spacing * (self.num - 1)
        if width > max(WIDE * length, 3 * spacing):
            covered = min(self.num, int(width / spacing) + 1)
            warnings.warn(
                f"a ball of radius delta={self.delta:g} covers {covered} of {self.num} orbit "
                f"centers, which lie {spacing:.3g} apart: the orbits are blurred. Use delta='auto' "
                "or membership='hat', which suit positions in any unit, or a smaller delta.",
                stacklevel=4,
            )

    def forward(self, q: Tensor, mask: Tensor) -> Tensor:
        """Membership of every point in every orbit.

        Args:
            q: orbit coordinates, (B, N).
            mask: True for real points, (B, N).

        Returns:
            m, (B, N, K), exactly 0 for padding.
        """
        self.check_fitted()
        # (B, K, N): sums over centers along the memory
        distance = self._distance(q if self.fractional else q.detach())
        if self.num == 1 and self.fractional:
            m = torch.ones_like(distance)
        elif self.membership == "hat":
            m = (1 - distance / self.spacing).clamp(min=0)
        elif self.membership == "smooth":
            m = self._splines(q)
        else:
            reach = nearest = distance.amin(1, keepdim=True)  # (B, 1, N)
            if self.membership == "ball":
                reach = self._radius(distance.dtype)
                if self.normalize:  # no point is lost: it belongs to its nearest center
                    reach = nearest.clamp(min=reach)
            m = distance.le_(reach)  # as numbers, 0 or 1
        # 1 + 0 * q is 1, or NaN where q is not finite: such a point must not vanish
        scale = torch.where(mask, 1 + 0 * q.detach(), 0)
        if self.normalize:
            scale = scale / m.sum(1)
        # in place where no gradient needs m as it was; functorch may map over the mask alone
        times = m.mul if self.fractional or not use_cpu_kernels(m) else m.mul_
        return times(scale.unsqueeze(1)).mT

    def occupancy(self, n: Tensor) -> Tensor:
        """Occupancy s, from 0 to 1, of orbits that hold n points, (B, K) -> (B, K).

        0 or 1 for `ball` and `nearest`, continuous in n for `hat`, smooth for `smooth`.
        """
        if self.membership == "smooth":
            # less counts as none: second derivatives divide by n^3
            least = torch.finfo(n.dtype).tiny ** (1 / 3)
            return -torch.expm1(-n.masked_fill(n < least, 0))
        if self.membership == "hat":
            return n.clamp(max=1)
        return n.clamp(max=1).ceil()  # keeps NaN

    def _radius(self, dtype: torch.dtype) -> Any:
        """Radius of a ball, a number or a scalar tensor."""
        return AUTO * self.spacing.to(dtype) if self.delta == "auto" else self.delta

    @property
    def reach(self) -> float:
        """How far from its center an orbit holds points, but for those that no ball holds."""
        spacing = float(self.spacing)
        if self.membership == "ball":
            return float(self._radius(self.spacing.dtype))
        return spacing * {"nearest": 0.5, "hat": 1.0, "smooth": 2.0}[self.membership]

    @property
    def fractional(self) -> bool:
        """True where an orbit may hold a fraction of a point."""
        return self.membership in ("hat", "smooth")

    def _distance(self, q: Tensor) -> Tensor:
        """|q - c_k|, (B, K, N), the short way around for angles; `hat` clamps q to the range."""
        if self.period is None and self.membership == "hat":
            q = q.clamp(self.centers[0], self.centers[-1])
        return self._offset(q).abs_()

    def _offset(self, q: Tensor) -> Tensor:
        """q - c_k, (B, K, N), the short way around for angles."""
        offset = q.unsqueeze(1) - self.centers.unsqueeze(-1)
        return (
            offset if self.period is None else offset - self.period * (offset / self.period).round()
        )

    def _splines(self, q: Tensor) -> Tensor:
        """Cubic B-splines at the centers, (B, K, N); every point sums to one, for any q.

        A line of centers is continued beyond its ends, and the first and the last orbit take the
        memberships of the centers there.
        """
        if self.period is not None:
            return cubic_spline(self._offset(q) / self.spacing)
        # constant beyond the range
        t = ((q - self.centers[0]) / self.spacing).clamp(-1, self.num)
        nodes = torch.arange(-2, self.num + 2, device=q.device, dtype=q.dtype)
        # (B, N, K + 4)
        b = cubic_spline(t.unsqueeze(-1) - nodes)
        return torch.cat([b[..., :3].sum(-1, True), b[..., 3:-3], b[..., -3:].sum(-1, True)], -1).mT

    def extra_repr(self) -> str:
        return (
            f"{self.num}, membership={self.membership}, delta={self.delta}, "
            f"normalize={self.normalize}"
        )


def cubic_spline(t: Tensor) -> Tensor:
    """Cubic B-spline at distance t: 0 beyond 2, twice continuously differentiable, sum over
    integers 1.
    """
    distance = t.abs()
    return torch.where(
        distance < 1, 2 / 3 - t * t + distance**3 / 2, (2 - distance).clamp(min=0) ** 3 / 6
    )
