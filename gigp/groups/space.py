"""Rotations and rigid motions of space: SO(3) and SE(3).

Logarithms go through unit quaternions, which stay accurate at every angle up to pi, where the trace
formula divides zero by zero. Pairs of elements are composed as quaternions too: four numbers in
place of nine.
"""

from typing import Unpack

import torch
from torch import Tensor

from gigp.groups.base import Group, RandomOptions
from gigp.groups.plane import rigid, rigid_inverse, stratified_angles
from gigp.groups.series import cosc, cotc, norm, sinc, sincc


def cross_matrix(w: Tensor) -> Tensor:
    """[w]x, so that [w]x y = w x y, (..., 3) -> (..., 3, 3)."""
    x, y, z = w.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def rotation_exp(w: Tensor) -> Tensor:
    """Rodrigues' formula, (..., 3) -> (..., 3, 3)."""
    angle2, k = w.square().sum(-1)[..., None, None], cross_matrix(w)
    return torch.eye(3, dtype=w.dtype, device=w.device) + sinc(angle2) * k + cosc(angle2) * (k @ k)


def quaternion(r: Tensor) -> Tensor:
    """Unit quaternion (w, x, y, z) of rotation matrices, (..., 3, 3) -> (..., 4), by its largest
    component.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in r.unbind(-2))
    rows = [
        [1 + a + e + i, h - f, c - g, d - b],
        [h - f, 1 + a - e - i, b + d, c + g],
        [c - g, b + d, 1 - a + e - i, f + h],
        [d - b, c + g, f + h, 1 - a - e + i],
    ]  # 4 w q, 4 x q, 4 y q, 4 z q
    outer = torch.stack([torch.stack(row, -1) for row in rows], -2)  # (..., 4, 4)
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    q = outer.take_along_dim(largest, -2).squeeze(-2)
    return q / norm(q).unsqueeze(-1)


def quaternion_rotation(q: Tensor) -> Tensor:
    """Rotation matrices of unit quaternions, (..., 4) -> (..., 3, 3): I + 2 w [v]x + 2 [v]x^2."""
    w, k = q[..., :1, None], cross_matrix(q[..., 1:])
    return torch.eye(3, dtype=q.dtype, device=q.device) + 2 * (w * k + k @ k)


def quaternion_log(w: Tensor, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotation vector, of length pi at most, of a unit quaternion given by components."""
    sine2 = x * x + y * y + z * z
    sine = sine2.clamp(min=1e-14).sqrt()  # 2 asin(s) / s = 2 up to 1e-15 below
    factor = 2 * torch.atan2(sine, w.abs()) / sine
    factor = torch.copysign(factor, w + 0.0)  # -0 counts as 0
    return factor * x, factor * y, factor * z


def components(x: Tensor) -> tuple[Tensor, ...]:
    """Numbers along the last dimension, each contiguous, as arithmetic on pairs wants them."""
    return x.movedim(-1, 0).contiguous().unbind()


def quaternion_relative(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Components of conj(v) u for quaternions (..., 4) that broadcast."""
    (a, b, c, d), (e, f, g, h) = components(u), components(v)
    return (
        e * a + f * b + g * c + h * d,
        e * b - f * a - g * d + h * c,
        e * c - g * a - h * b + f * d,
        e * d - h * a - f * c + g * b,
    )


class SO3(Group):
    """Rotations of space about the origin. Orbits are spheres, identified by their radius; a point
    has a circle of lifts.

    Examples:
        >>> SO3().orbit(torch.tensor([1.0, 2.0, 2.0]))
        tensor([3.])
    """

    name = "SO(3)"
    dim = rep_dim = lie_dim = 3
    q_dim = 1
    free = commutative = False

    def generators(self) -> Tensor:
        return cross_matrix(torch.eye(3))

    def exp(self, a: Tensor) -> Tensor:
        return rotation_exp(a)

    def log(self, g: Tensor) -> Tensor:
        return torch.stack(quaternion_log(*quaternion(g).unbind(-1)), -1)

    def inverse(self, g: Tensor) -> Tensor:
        return g.mT

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        return torch.stack(quaternion_log(*quaternion_relative(quaternion(u), quaternion(v))), -1)

    def orbit(self, x: Tensor) -> Tensor:
        return norm(x).unsqueeze(-1)

    def representative(self, q: Tensor) -> Tensor:
        return torch.cat([q, torch.zeros_like(q), torch.zeros_like(q)], -1)

    def section(self, x: Tensor) -> Tensor:
        """The rotation that takes (1, 0, 0) to x / |x| by the shortest way.

        Beyond 90 degrees a half turn about z comes first, so that nothing is divided by zero; at
        x = 0 it is the identity.
        """
        radius = norm(x).unsqueeze(-1)
        eye = torch.eye(3, dtype=x.dtype, device=x.device)
        zero = radius == 0
        b = torch.where(zero, eye[0], x / torch.where(zero, 1.0, radius))
        sign = torch.where(b[..., 0] < 0, -1.0, 1.0).to(x.dtype)[..., None]  # (..., 1)
        k = cross_matrix(torch.linalg.cross(sign * eye[0], b))
        turn = eye + k + k @ k / (1 + b[..., :1].abs().unsqueeze(-1))
        return turn * torch.cat([sign, sign, torch.ones_like(sign)], -1).unsqueeze(-2)

    def stabilizer(
        self, *shape: int, num_lifts: int = 1, **options: Unpack[RandomOptions]
    ) -> Tensor:
        angle = stratified_angles(*shape, num=num_lifts, **options)
        zero = torch.zeros_like(angle)
        return rotation_exp(torch.stack([angle, zero, zero], -1))

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        q = torch.randn((*shape, 4), **options)
        return quaternion_rotation(q / norm(q).unsqueeze(-1))


class SE3(Group):
    """Rotations and translations of space; one orbit, and a point has all rotations for lifts.

    Examples:
        >>> SE3().log(SE3().section(torch.tensor([1.0, 2.0, 3.0])))  # the lift without a rotation
        tensor([0., 0., 0., 1., 2., 3.])
    """

    name = "SE(3)"
    dim, rep_dim, lie_dim, q_dim = 3, 4, 6, 0
    free = commutative = False

    def generators(self) -> Tensor:
        basis = torch.zeros(6, 4, 4)
        basis[:3, :3, :3] = cross_matrix(torch.eye(3))
        basis[3:, :3, 3] = torch.eye(3)
        return basis

    def exp(self, a: Tensor) -> Tensor:
        w, t = a[..., :3], a[..., 3:]
        angle2, k = w.square().sum(-1)[..., None, None], cross_matrix(w)
        v = (
            torch.eye(3, dtype=a.dtype, device=a.device)
            + cosc(angle2) * k
            + sincc(angle2) * (k @ k)
        )
        return rigid(rotation_exp(w), (v @ t.unsqueeze(-1)).squeeze(-1))

    def log(self, g: Tensor) -> Tensor:
        return self._log(
            quaternion_log(*quaternion(g[..., :3, :3]).unbind(-1)), g[..., :3, 3].unbind(-1)
        )

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        q = quaternion_relative(quaternion(u[..., :3, :3]), quaternion(v[..., :3, :3]))
        r = components(v[..., :3, :3].flatten(-2))
        starts, ends = components(v[..., :3, 3]), components(u[..., :3, 3])
        x, y, z = (end - start for end, start in zip(ends, starts, strict=True))
        turned = tuple(r[i] * x + r[3 + i] * y + r[6 + i] * z for i in range(3))
        return self._log(quaternion_log(*q), turned)  # turned = R_v^T t

    @staticmethod
    def _log(w: tuple[Tensor, ...], t: tuple[Tensor, ...]) -> Tensor:
        """[w, V(w)^-1 t] by components, where V^-1 t = t - w x t / 2 + cotc(|w|^2) w x (w x t)."""
        first = _cross(w, t)
        c = cotc(w[0] * w[0] + w[1] * w[1] + w[2] * w[2])
        second = _cross(w, first)
        return torch.stack(
            [*w, *(x - y / 2 + c * z for x, y, z in zip(t, first, second, strict=True))], -1
        )

    def inverse(self, g: Tensor) -> Tensor:
        return rigid_inverse(g)

    def orbit(self, x: Tensor) -> Tensor:
        return x[..., :0]

    def representative(self, q: Tensor) -> Tensor:
        return q.new_zeros(*q.shape[:-1], 3)

    def section(self, x: Tensor) -> Tensor:
        return rigid(torch.eye(3, dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 3, 3), x)

    def stabilizer(
        self, *shape: int, num_lifts: int = 1, **options: Unpack[RandomOptions]
    ) -> Tensor:
        r = SO3().random(*shape, num_lifts, **options)
        return rigid(r, r.new_zeros(*r.shape[:-1]))

    def distance(self, a: Tensor, qu: Tensor, qv: Tensor) -> Tensor:
        """alpha |rotation part| + (1 - alpha) |translation part|."""
        return self.alpha * norm(a[..., :3]) + (1 - self.alpha) * norm(a[..., 3:])

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        return rigid(SO3().random(*shape, **options), torch.randn((*shape, 3), **options))


def _cross(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Cross product by components."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
