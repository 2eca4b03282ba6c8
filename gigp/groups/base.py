"""Abstract base class of Lie groups; a new group is one subclass and one config."""

from abc import ABC, abstractmethod
from typing import ClassVar, TypedDict, Unpack

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.groups.series import norm


class RandomOptions(TypedDict, total=False):
    """Options of torch's random functions."""

    generator: torch.Generator | None
    dtype: torch.dtype | None
    device: torch.device | str | None


class Group(ABC):
    """A Lie group G that acts on the points of R^d, by matrices.

    Elements are matrices (..., rep_dim, rep_dim): d x d for linear groups, homogeneous (d + 1) x (d
    + 1) for groups with translations. Elements of the Lie algebra are coordinates (..., lie_dim) in
    the basis `generators()`, rotations before translations. Every point x lies on one orbit, which
    the orbit coordinate q(x) identifies, and is the image of that orbit's `representative` under
    its lifts (Finzi et al. 2020, arXiv 2002.12880, section 4).

    Args:
        alpha: weight of the group part in `distance`, from 0 to 1; the orbit part weighs 1 - alpha.

    Attributes:
        name: usual symbol, as SO(3).
        dim: dimension d of the space.
        lie_dim: dimension of the group.
        q_dim: dimension of the orbit space R^d / G.
        q_embed_dim: number of coordinates that embed the orbit space without a jump.
        rep_dim: number of rows of the matrices.
        free: True where only the identity fixes a point, so that every point has a single lift.
        commutative: True where elements commute; then the network is exactly equivariant.
        isotropic: True where a kernel sees a pair by invariants of it alone, so that one lift of a
            point stands for all of them, and the network is exactly invariant.
        period: period of `orbit_coordinate` where that is an angle, else None.

    Examples:
        >>> from gigp.groups import SO2
        >>> group, x = SO2(), torch.tensor([3.0, 4.0])
        >>> turned = group.act(group.random(5), x)  # (5, 2), all on one circle
        >>> bool(torch.allclose(group.orbit(turned), group.orbit(x)))
        True
    """

    name: str
    dim: int
    lie_dim: int
    q_dim: int
    rep_dim: int
    free: ClassVar[bool] = True
    commutative: ClassVar[bool] = True
    isotropic: ClassVar[bool] = False
    period: ClassVar[float | None] = None

    def __init__(self, alpha: float = 0.2) -> None:
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha={alpha} is not a valid weight; use a number from 0 to 1.")
        self.alpha = alpha

    @property
    def q_embed_dim(self) -> int:
        return self.q_dim

    @property
    def one_lift(self) -> bool:
        """Whether a network needs a single lift of each point."""
        return self.free or self.isotropic

    @property
    def pair_channels(self) -> int:
        """Number of kernel inputs of a pair, see `pair_inputs`."""
        return self.lie_dim + 2 * self.q_embed_dim

    @abstractmethod
    def generators(self) -> Tensor:
        """Basis A_i of the Lie algebra, (lie_dim, rep_dim, rep_dim), so that exp(a) = expm(sum_i
        a_i A_i).
        """

    @abstractmethod
    def exp(self, a: Tensor) -> Tensor:
        """(..., lie_dim) -> (..., rep_dim, rep_dim)."""

    @abstractmethod
    def log(self, g: Tensor) -> Tensor:
        """Principal logarithm, (..., rep_dim, rep_dim) -> (..., lie_dim)."""

    @abstractmethod
    def orbit(self, x: Tensor) -> Tensor:
        """Orbit coordinate q of points, (..., d) -> (..., q_embed_dim)."""

    @abstractmethod
    def representative(self, q: Tensor) -> Tensor:
        """The point of an orbit that lifts start from, (..., q_embed_dim) -> (..., d)."""

    @abstractmethod
    def section(self, x: Tensor) -> Tensor:
        """One element that takes the representative of x's orbit to x.

        (..., d) -> (..., rep_dim, rep_dim).
        """

    @abstractmethod
    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        """Random elements: uniform rotations, normal translations, log-normal scales.

        Args:
            shape: shape of the batch.
            options: `generator`, `dtype`, `device`.

        Returns:
            (*shape, rep_dim, rep_dim).
        """

    def inverse(self, g: Tensor) -> Tensor:
        """(..., rep_dim, rep_dim) -> (..., rep_dim, rep_dim)."""
        return torch.linalg.inv(g)

    def act(self, g: Tensor, x: Tensor) -> Tensor:
        """Apply elements (..., rep_dim, rep_dim) to points (..., d)."""
        d = self.dim
        x = (g[..., :d, :d] @ x.unsqueeze(-1)).squeeze(-1)
        return x if self.rep_dim == d else x + g[..., :d, d]

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        """log(v^-1 u) of elements that broadcast.

        (..., rep_dim, rep_dim), (..., rep_dim, rep_dim) -> (..., lie_dim).
        """
        return self.log(self.inverse(v) @ u)

    def stabilizer(
        self, *shape: int, num_lifts: int = 1, **options: Unpack[RandomOptions]
    ) -> Tensor:
        """Random elements that fix every representative.

        Args:
            shape: shape of the batch.
            num_lifts: number of elements for each member of the batch.
            options: `generator`, `dtype`, `device`.

        Returns:
            (*shape, num_lifts, rep_dim, rep_dim).

        Raises:
            InputError: the group acts freely.
        """
        raise InputError(
            f"{self} acts freely: only the identity fixes a point, so there is nothing to sample."
        )

    def lift(self, x: Tensor, stabilizer: Tensor | None = None) -> Tensor:
        """Elements that take the representative of each point's orbit to the point.

        Args:
            x: points, (..., d).
            stabilizer: elements that fix the representatives, (..., L, rep_dim, rep_dim); None for
                the one lift that `section` gives.

        Returns:
            (..., L, rep_dim, rep_dim), where L is 1 without a stabilizer.

        Raises:
            InputError: points of another dimension, or several lifts for a group that acts freely.
        """
        if x.shape[-1] != self.dim:
            raise InputError(
                f"{self} acts on {self.dim}-dimensional points, not {x.shape[-1]}-dimensional ones."
            )
        if stabilizer is not None and self.free:
            raise InputError(f"{self} acts freely: a point has one lift; use num_lifts=1.")
        section = self.section(x).unsqueeze(-3)
        return section if stabilizer is None else section @ stabilizer

    def orbit_coordinate(self, x: Tensor) -> Tensor:
        """The number that tells orbits apart, for groups whose orbit space is one-dimensional.

        (..., d) -> (...,).

        Raises:
            InputError: the orbit space is a point or has more dimensions.
        """
        if self.q_dim != 1:
            raise InputError(f"{self.q_dim} numbers tell the orbits of {self} apart, not one.")
        return self.orbit(x)[..., 0]

    def distance(self, a: Tensor, qu: Tensor, qv: Tensor) -> Tensor:
        """alpha |log(v^-1 u)| + (1 - alpha) |q_u - q_v|.

        Args:
            a: logarithms log(v^-1 u), (..., lie_dim).
            qu: orbit coordinates of the points of u, (..., q_embed_dim).
            qv: orbit coordinates of the points of v, (..., q_embed_dim).

        Returns:
            (...,).
        """
        return self.alpha * norm(a) + (1 - self.alpha) * norm(qu - qv)

    def pair_inputs(self, u: Tensor, v: Tensor, qu: Tensor, qv: Tensor) -> tuple[Tensor, Tensor]:
        """What a kernel sees of pairs, [log(v^-1 u), q_u, q_v], and their distances.

        Args:
            u, v: elements that broadcast, (..., rep_dim, rep_dim).
            qu, qv: orbit coordinates of their points, (..., q_embed_dim).

        Returns:
            (..., pair_channels) and (...,).
        """
        a = self.relative(u, v)  # (..., lie_dim)
        distance = self.distance(a, qu, qv)
        if not self.q_dim:
            return a, distance
        shape = (*a.shape[:-1], self.q_embed_dim)
        return torch.cat([a, qu.expand(shape), qv.expand(shape)], -1), distance

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, alpha={self.alpha})"


def check_group(group: object) -> None:
    """Refuse the class or the name of a group in place of a group."""
    if isinstance(group, Group):
        return
    if isinstance(group, type):
        name = group.__name__
        raise InputError(f"group is the class {name}; pass an object of it, as {name}().")
    raise InputError(f"group={group!r} is not a group; pass an object of gigp.groups, as SO3().")
