"""The divisor of a sum over the points of a cloud."""

import math
from typing import Literal

import torch
from torch import Tensor

from gigp.errors import InputError, check_choice
from gigp.nn.fitted import FittedModule

DivisorKind = Literal["count", "constant"]


class Divisor(FittedModule):
    """Division of a sum by the number of points of the cloud, or by a constant.

    Dividing by the number of points hides extensive and radial targets; the constant, the mean
    number of points of the training clouds, keeps them and the scale of a mean.

    Args:
        kind: `count`, the number of points of each cloud; `constant`, the mean number of points of
            the training clouds, a buffer that `fit` sets.
    """

    points: Tensor
    how_to_fit = (
        "divisor=constant is not set: call pool.fit(training_clouds), or load a trained state "
        "dict, before the first forward pass. training_clouds is any iterable of gigp.PointCloud."
    )

    def __init__(self, kind: DivisorKind = "count") -> None:
        super().__init__()
        check_choice("divisor", kind, DivisorKind)
        self.kind = kind
        if kind == "constant":
            self.fitted_buffers = ("points",)
            self.register_buffer("points", torch.tensor(math.nan))

    @torch.no_grad()
    def fit(self, points: float) -> None:
        """Set the mean number of points of the training clouds."""
        if not 0 < points < math.inf:
            raise InputError(f"{points} is not a number of points to divide by.")
        if self.kind == "constant":
            self.points.fill_(points)
        self._fitted = True

    def forward(self, total: Tensor, count: Tensor) -> Tensor:
        """Divide sums.

        Args:
            total: sums over the points, (B, c).
            count: number of points of each cloud, (B,) or (1,).

        Returns:
            (B, c).
        """
        if self.kind == "constant":
            self.check_fitted()
            return total / self.points.to(total.dtype)
        return total / count.clamp(min=1).unsqueeze(-1)

    def extra_repr(self) -> str:
        return self.kind
