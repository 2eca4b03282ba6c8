"""Groups without rotations: Trivial, T(d), and translations along one axis of the plane."""

from typing import Unpack

import torch
from torch import Tensor

from gigp.groups.base import Group, RandomOptions


class Trivial(Group):
    """The group of the identity alone: every point is an orbit, and a network is an ordinary
    continuous convolution.
    """

    lie_dim = 0

    def __init__(self, dim: int, alpha: float = 0.2) -> None:
        super().__init__(alpha)
        self.dim = self.rep_dim = self.q_dim = dim
        self.name = f"Trivial({dim})"

    def generators(self) -> Tensor:
        return torch.zeros(0, self.dim, self.dim)

    def exp(self, a: Tensor) -> Tensor:
        return torch.eye(self.dim, dtype=a.dtype, device=a.device).expand(*a.shape[:-1], -1, -1)

    def log(self, g: Tensor) -> Tensor:
        return g[..., 0, :0]

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        return u.new_empty(*torch.broadcast_shapes(u.shape[:-2], v.shape[:-2]), 0)

    def orbit(self, x: Tensor) -> Tensor:
        return x

    def representative(self, q: Tensor) -> Tensor:
        return q

    def section(self, x: Tensor) -> Tensor:
        return self.exp(x)

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        eye = torch.eye(self.dim, dtype=options.get("dtype"), device=options.get("device"))
        return eye.expand(*shape, -1, -1)


class Translations(Group):
    """Translations of R^d along some of its axes; the other coordinates identify the orbit."""

    def __init__(self, dim: int, axes: tuple[int, ...], alpha: float = 0.2) -> None:
        super().__init__(alpha)
        self.dim, self.rep_dim, self.axes = dim, dim + 1, list(axes)
        self.rest = [i for i in range(dim) if i not in axes]
        self.lie_dim, self.q_dim = len(self.axes), len(self.rest)

    def generators(self) -> Tensor:
        basis = torch.zeros(self.lie_dim, self.rep_dim, self.rep_dim)
        basis[range(self.lie_dim), self.axes, self.dim] = 1
        return basis

    def exp(self, a: Tensor) -> Tensor:
        g = torch.eye(self.rep_dim, dtype=a.dtype, device=a.device).repeat(*a.shape[:-1], 1, 1)
        g[..., self.axes, self.dim] = a
        return g

    def log(self, g: Tensor) -> Tensor:
        return g[..., self.axes, self.dim]

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        return self.log(u) - self.log(v)

    def inverse(self, g: Tensor) -> Tensor:
        return self.exp(-self.log(g))

    def orbit(self, x: Tensor) -> Tensor:
        return x[..., self.rest]

    def representative(self, q: Tensor) -> Tensor:
        x = q.new_zeros(*q.shape[:-1], self.dim)
        x[..., self.rest] = q
        return x

    def section(self, x: Tensor) -> Tensor:
        return self.exp(x[..., self.axes])

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        return self.exp(torch.randn((*shape, self.lie_dim), **options))


class T(Translations):
    """All translations of R^d; one orbit."""

    def __init__(self, dim: int, alpha: float = 0.2) -> None:
        super().__init__(dim, tuple(range(dim)), alpha)
        self.name = f"T({dim})"


class Tx(Translations):
    """Translations of the plane along x; orbits are horizontal lines."""

    name = "Tx"

    def __init__(self, alpha: float = 0.2) -> None:
        super().__init__(2, (0,), alpha)


class Ty(Translations):
    """Translations of the plane along y; orbits are vertical lines."""

    name = "Ty"

    def __init__(self, alpha: float = 0.2) -> None:
        super().__init__(2, (1,), alpha)
