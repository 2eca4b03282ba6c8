"""Groups of the plane with rotations or scales: SO(2), R*xSO(2), Rx and SE(2)."""

import math
from typing import Unpack

import torch
from torch import Tensor

from gigp.groups.base import Group, RandomOptions
from gigp.groups.series import cosc, cotc, norm, sinc

TINY = 1e-12  # radius of the origin for groups of scalings, which leave it out


def rotation(angle: Tensor) -> Tensor:
    """(...,) -> (..., 2, 2)."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c, -s, s, c], -1).unflatten(-1, (2, 2))


def polar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Radius and angle of points of the plane, (..., 2) -> (...,) twice; angle 0 at the origin,
    gradients finite.
    """
    origin = (x == 0).all(-1)
    return norm(x), torch.atan2(x[..., 1], torch.where(origin, 1.0, x[..., 0]))


def similarity_log(g: Tensor) -> tuple[Tensor, Tensor]:
    """Log scale and angle of matrices r R(angle), (..., 2, 2) -> (...,) twice."""
    c, s = g[..., 0, 0] + g[..., 1, 1], g[..., 1, 0] - g[..., 0, 1]
    return (c.square() + s.square()).log() / 2 - math.log(2), torch.atan2(s, c)


class SO2(Group):
    """Rotations of the plane about the origin; orbits are circles, identified by their radius.

    Examples:
        >>> SO2().orbit(torch.tensor([3.0, 4.0]))
        tensor([5.])
    """

    name = "SO(2)"
    dim = rep_dim = 2
    lie_dim = q_dim = 1

    def generators(self) -> Tensor:
        return torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])

    def exp(self, a: Tensor) -> Tensor:
        return rotation(a[..., 0])

    def log(self, g: Tensor) -> Tensor:
        return similarity_log(g)[1].unsqueeze(-1)

    def inverse(self, g: Tensor) -> Tensor:
        return g.mT

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        cu, su, cv, sv = u[..., 0, 0], u[..., 1, 0], v[..., 0, 0], v[..., 1, 0]
        return torch.atan2(su * cv - cu * sv, cu * cv + su * sv).unsqueeze(-1)

    def orbit(self, x: Tensor) -> Tensor:
        return norm(x).unsqueeze(-1)

    def representative(self, q: Tensor) -> Tensor:
        return torch.cat([q, torch.zeros_like(q)], -1)

    def section(self, x: Tensor) -> Tensor:
        return rotation(polar(x)[1])

    def distance(self, a: Tensor, qu: Tensor, qv: Tensor) -> Tensor:
        """alpha |angle| + (1 - alpha) |r_u - r_v| / (r_u + r_v)."""
        radial = (qu - qv).abs() / (qu + qv + 1e-3)
        return (self.alpha * a.abs() + (1 - self.alpha) * radial)[..., 0]

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        return rotation(2 * math.pi * torch.rand(shape, **options))


class RxSO2(Group):
    """Rotations and scalings of the plane without its origin, one orbit: convolution in log-polar
    coordinates.

    Examples:
        >>> RxSO2().log(RxSO2().section(torch.tensor([0.0, 2.0])))
        tensor([0.6931, 1.5708])
    """

    name = "R*xSO(2)"
    dim = rep_dim = lie_dim = 2
    q_dim = 0

    def __init__(self, alpha: float = 0.3) -> None:
        super().__init__(alpha)

    def generators(self) -> Tensor:
        return torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]]])

    def exp(self, a: Tensor) -> Tensor:
        return a[..., 0].exp()[..., None, None] * rotation(a[..., 1])

    def log(self, g: Tensor) -> Tensor:
        return torch.stack(similarity_log(g), -1)

    def orbit(self, x: Tensor) -> Tensor:
        return x[..., :0]

    def representative(self, q: Tensor) -> Tensor:
        return q.new_tensor([1.0, 0.0]).expand(*q.shape[:-1], 2)

    def section(self, x: Tensor) -> Tensor:
        radius, angle = polar(x)
        return radius.clamp(min=TINY)[..., None, None] * rotation(angle)

    def distance(self, a: Tensor, qu: Tensor, qv: Tensor) -> Tensor:
        """alpha |angle| + (1 - alpha) |r_u - r_v| / (r_u + r_v); the ratio is a function of log(r_u
        / r_v).
        """
        return self.alpha * a[..., 1].abs() + (1 - self.alpha) * (a[..., 0].abs() / 2).tanh()

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        scale, angle = torch.randn((2, *shape), **options)
        return self.exp(torch.stack([scale / 2, math.pi * angle.tanh()], -1))


class Rx(Group):
    """Scalings of the plane without its origin. Orbits are rays, identified by their angle, which
    (cos, sin) embed.

    Examples:
        >>> Rx().orbit(torch.tensor([0.6, 0.8])), Rx().orbit(torch.tensor([6.0, 8.0]))
        (tensor([0.6000, 0.8000]), tensor([0.6000, 0.8000]))
    """

    name = "Rx"
    dim = rep_dim = 2
    lie_dim = q_dim = 1
    q_embed_dim = 2
    period = 2 * math.pi

    def generators(self) -> Tensor:
        return torch.eye(2).unsqueeze(0)

    def exp(self, a: Tensor) -> Tensor:
        return a.exp().unsqueeze(-1) * torch.eye(2, dtype=a.dtype, device=a.device)

    def log(self, g: Tensor) -> Tensor:
        return g[..., 0, :1].log()

    def orbit(self, x: Tensor) -> Tensor:
        angle = polar(x)[1]
        return torch.stack([angle.cos(), angle.sin()], -1)

    def orbit_coordinate(self, x: Tensor) -> Tensor:
        return polar(x)[1]

    def representative(self, q: Tensor) -> Tensor:
        return q

    def section(self, x: Tensor) -> Tensor:
        return self.exp(norm(x).clamp(min=TINY).log().unsqueeze(-1))

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        return self.exp(torch.randn((*shape, 1), **options) / 2)


class SE2(Group):
    """Rotations and translations of the plane; one orbit, and a point has a circle of lifts.

    Examples:
        >>> shift = SE2().exp(torch.tensor([0.0, 1.0, 2.0]))  # no rotation
        >>> SE2().act(shift, torch.tensor([1.0, 0.0]))
        tensor([2., 2.])
    """

    name = "SE(2)"
    dim, rep_dim, lie_dim, q_dim = 2, 3, 3, 0
    free = commutative = False

    def generators(self) -> Tensor:
        basis = torch.zeros(3, 3, 3)
        basis[0, 0, 1], basis[0, 1, 0] = -1, 1
        basis[1, 0, 2] = basis[2, 1, 2] = 1
        return basis

    def exp(self, a: Tensor) -> Tensor:
        angle, x, y = a.unbind(-1)
        s, c = sinc(angle.square()), angle * cosc(angle.square())
        return rigid(rotation(angle), torch.stack([s * x - c * y, c * x + s * y], -1))

    def log(self, g: Tensor) -> Tensor:
        return self._log(g[..., 0, 0], g[..., 1, 0], g[..., 0, 2], g[..., 1, 2])

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        cu, su, cv, sv = u[..., 0, 0], u[..., 1, 0], v[..., 0, 0], v[..., 1, 0]
        x, y = u[..., 0, 2] - v[..., 0, 2], u[..., 1, 2] - v[..., 1, 2]
        return self._log(cu * cv + su * sv, su * cv - cu * sv, cv * x + sv * y, cv * y - sv * x)

    def _log(self, c: Tensor, s: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Logarithm of the element with rotation (c, s) and translation (x, y)."""
        angle = torch.atan2(s, c)
        cot = 1 - angle.square() * cotc(angle.square())  # (angle / 2) cot(angle / 2)
        return torch.stack([angle, cot * x + angle / 2 * y, cot * y - angle / 2 * x], -1)

    def inverse(self, g: Tensor) -> Tensor:
        return rigid_inverse(g)

    def orbit(self, x: Tensor) -> Tensor:
        return x[..., :0]

    def representative(self, q: Tensor) -> Tensor:
        return q.new_zeros(*q.shape[:-1], 2)

    def section(self, x: Tensor) -> Tensor:
        return rigid(torch.eye(2, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 2, 2), x)

    def stabilizer(
        self, *shape: int, num_lifts: int = 1, **options: Unpack[RandomOptions]
    ) -> Tensor:
        angle = stratified_angles(*shape, num=num_lifts, **options)
        return rigid(rotation(angle), angle.new_zeros(*angle.shape, 2))

    def distance(self, a: Tensor, qu: Tensor, qv: Tensor) -> Tensor:
        """alpha |angle| + (1 - alpha) |translation part|."""
        return self.alpha * a[..., 0].abs() + (1 - self.alpha) * norm(a[..., 1:])

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        return rigid(SO2().random(*shape, **options), torch.randn((*shape, 2), **options))


def stratified_angles(*shape: int, num: int, **options: Unpack[RandomOptions]) -> Tensor:
    """One uniformly random angle in each of `num` equal sectors, which start anywhere.

    Equally spaced angles would put two lifts of a point exactly opposite each other, where
    logarithms jump.

    Returns:
        (*shape, num).
    """
    start, within = (torch.rand((*shape, n), **options) for n in (1, num))
    return 2 * math.pi * (start + (within + torch.arange(num, device=within.device)) / num)


def rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """Homogeneous matrices of rotations (..., d, d) and translations (..., d)."""
    d = translation.shape[-1]
    last = torch.eye(d + 1, dtype=translation.dtype, device=translation.device)[d]
    top = torch.cat([rotation, translation.unsqueeze(-1)], -1)
    return torch.cat([top, last.expand(*top.shape[:-2], 1, -1)], -2)


def rigid_inverse(g: Tensor) -> Tensor:
    """Inverse of homogeneous rigid motions, (..., d + 1, d + 1)."""
    d = g.shape[-1] - 1
    transposed = g[..., :d, :d].mT
    return rigid(transposed, -(transposed @ g[..., :d, d:]).squeeze(-1))
