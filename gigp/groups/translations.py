"""Groups without rotations: Trivial, T(d), and translations along one axis of the plane."""

from typing import Unpack

import torch
from torch import Tensor

from gigp.groups.base import Group, RandomOptions


class Trivial(Group):
    """The group of the identity alone: every point is an orbit, and a network is an ordinary
    continuous convolution.

    Examples:
        >>> Trivial(2).orbit(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
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
    """Translations of R^d along consecutive axes; the other coordinates identify the orbit.

    Args:
        dim: dimension d of the space.
        axes: the axes, from the first to the one after the last.
        alpha: see `Group`.
    """

    def __init__(self, dim: int, axes: tuple[int, int], alpha: float = 0.2) -> None:
        super().__init__(alpha)
        self.dim, self.rep_dim = dim, dim + 1
        # for slices: a list of axes would be copied to a GPU in every step, which waits for it
        self.first, self.last = axes
        self.lie_dim = self.last - self.first
        self.q_dim = dim - self.lie_dim

    def generators(self) -> Tensor:
        basis = torch.zeros(self.lie_dim, self.rep_dim, self.rep_dim)
        basis[range(self.lie_dim), range(self.first, self.last), self.dim] = 1
        return basis

    def exp(self, a: Tensor) -> Tensor:
        g = torch.eye(self.rep_dim, dtype=a.dtype, device=a.device).repeat(*a.shape[:-1], 1, 1)
        g[..., self.first : self.last, self.dim] = a
        return g

    def log(self, g: Tensor) -> Tensor:
        return g[..., self.first : self.last, self.dim]

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        return self.log(u) - self.log(v)

    def inverse(self, g: Tensor) -> Tensor:
        return self.exp(-self.log(g))

    def orbit(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., : self.first], x[..., self.last :]], -1)

    def representative(self, q: Tensor) -> Tensor:
        zeros = q.new_zeros(*q.shape[:-1], self.lie_dim)
        return torch.cat([q[..., : self.first], zeros, q[..., self.first :]], -1)

    def section(self, x: Tensor) -> Tensor:
        return self.exp(x[..., self.first : self.last])

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        return self.exp(torch.randn((*shape, self.lie_dim), **options))


class T(Translations):
    """All translations of R^d; one orbit.

    Examples:
        >>> u, v = T(2).section(torch.tensor([[1.0, 2.0], [0.0, 5.0]]))
        >>> T(2).relative(u, v)  # the offset of the two points
        tensor([ 1., -3.])
    """

    def __init__(self, dim: int, alpha: float = 0.2) -> None:
        super().__init__(dim, (0, dim), alpha)
        self.name = f"T({dim})"


class Tx(Translations):
    """Translations of the plane along x; orbits are horizontal lines.

    Examples:
        >>> Tx().orbit(torch.tensor([1.0, 2.0]))
        tensor([2.])
    """

    name = "Tx"

    def __init__(self, alpha: float = 0.2) -> None:
        super().__init__(2, (0, 1), alpha)


class Ty(Translations):
    """Translations of the plane along y; orbits are vertical lines.

    Examples:
        >>> Ty().orbit(torch.tensor([1.0, 2.0]))
        tensor([1.])
    """

    name = "Ty"

    def __init__(self, alpha: float = 0.2) -> None:
        super().__init__(2, (1, 2), alpha)
