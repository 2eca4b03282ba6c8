"""E(3) for kernels of distances: the isotropic case."""

import math
from typing import Unpack

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.groups.base import RandomOptions
from gigp.groups.plane import rigid
from gigp.groups.series import norm
from gigp.groups.space import SE3


class E3(SE3):
    """Rotations, reflections and translations of space, for networks whose kernel sees a pair of
    points by its distance alone: the isotropic case.

    A function of pairs of points that no motion changes is a function of |x_i - x_j|. With kernels
    of it, points need no random rotations as lifts, and the network is exactly invariant, as SchNet
    (arXiv 1706.08566) is; in return its layers do not see directions, and a molecule is its mirror
    image.

    Kernel inputs are the distance and Gaussians of it, evenly spaced from 0 to `cutoff` with the
    spacing for width.

    Args:
        alpha: see `Group`.
        gaussians: number of Gaussians; 0: the distance alone.
        cutoff: center of the last Gaussian, in the unit of the positions. Beyond it, the distance
            itself remains.

    Raises:
        InputError: fewer than 0 Gaussians or exactly 1, or a cutoff that is not positive.

    Examples:
        >>> u, v = E3().section(torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]]))
        >>> q = E3().orbit(torch.zeros(3))
        >>> E3().pair_inputs(u, v, q, q)[1]  # the distance of the two points
        tensor(5.)
    """

    name = "E(3)"
    isotropic = True

    def __init__(self, alpha: float = 0.2, *, gaussians: int = 11, cutoff: float = 6.0) -> None:
        super().__init__(alpha)
        if gaussians < 0 or gaussians == 1 or not 0 < cutoff < math.inf:
            raise InputError(
                f"gaussians={gaussians}, cutoff={cutoff}: use no Gaussians or at least 2, and a "
                "positive length as cutoff."
            )
        self.gaussians, self.cutoff = gaussians, float(cutoff)

    @property
    def pair_channels(self) -> int:
        return 1 + self.gaussians

    def log(self, g: Tensor) -> Tensor:
        """Principal logarithm, NaN for elements that reflect: they have none."""
        reflects = torch.linalg.det(g[..., :3, :3]) < 0
        return super().log(g).masked_fill(reflects.unsqueeze(-1), torch.nan)

    def relative(self, u: Tensor, v: Tensor) -> Tensor:
        return self.log(self.inverse(v) @ u)

    def pair_inputs(self, u: Tensor, v: Tensor, qu: Tensor, qv: Tensor) -> tuple[Tensor, Tensor]:
        """The distance of the points of each pair, and Gaussians of it."""
        distance = norm(u[..., :3, 3] - v[..., :3, 3])
        inputs = distance.unsqueeze(-1)
        if self.gaussians:
            step = self.cutoff / (self.gaussians - 1)
            centers = torch.arange(self.gaussians, dtype=distance.dtype, device=distance.device)
            gaussians = (-0.5 * (inputs / step - centers).square()).exp()
            inputs = torch.cat([inputs, gaussians], -1)
        return inputs, distance

    def stabilizer(
        self, *shape: int, num_lifts: int = 1, **options: Unpack[RandomOptions]
    ) -> Tensor:
        return self._reflected(super().stabilizer(*shape, num_lifts=num_lifts, **options), options)

    def random(self, *shape: int, **options: Unpack[RandomOptions]) -> Tensor:
        return self._reflected(super().random(*shape, **options), options)

    @staticmethod
    def _reflected(g: Tensor, options: RandomOptions) -> Tensor:
        """Half of the motions, drawn at random, with a reflection through the origin before."""
        sign = 1 - 2 * torch.randint(2, g.shape[:-2], **options)  # (...,)
        return rigid(g[..., :3, :3] * sign[..., None, None], g[..., :3, 3])
