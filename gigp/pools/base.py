"""Base class of all pools, and mean, sum and max pooling."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from gigp.errors import check_choice
from gigp.groups import Group
from gigp.pointcloud import PointCloud, masked
from gigp.pools.coordinate import measure
from gigp.pools.divisor import Divisor


class Pool(nn.Module):
    """Base of all pools: features (B, N, c) of a masked cloud to one vector (B, out_channels).

    Attributes:
        group: group whose orbits the pool tells apart; None: it ignores positions.
        needs_mass: `forward` takes the masses of the points, too: mass=(B, N).
    """

    group: Group | None = None
    needs_mass: bool = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = self.out_channels = channels

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        """Set what depends on the training clouds; for most pools nothing."""

    def orbit_response(self) -> dict[str, list[float]]:
        """Short lists of numbers about the trained pool, for the record of a run; for most pools
        nothing.
        """
        return {}

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        """Pool.

        Args:
            feat: features, (B, N, c).
            pos: positions, (B, N, d) or (1, N, d) where the batch shares them.
            mask: True for real points, (B, N) or (1, N).

        Returns:
            (B, out_channels); 0 for a cloud without points.
        """
        raise NotImplementedError


class MeanPool(Pool):
    """Mean over the points."""

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        return masked(feat, mask).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


class SumPool(Pool):
    """Sum over the points.

    Args:
        channels: number of feature channels.
        divisor: `none`; or `constant`, the mean number of points of the training clouds, which
            `fit` sets (scaled sum pooling).
    """

    def __init__(self, channels: int, divisor: Literal["none", "constant"] = "none") -> None:
        super().__init__(channels)
        check_choice("divisor", divisor, Literal["none", "constant"])
        self.divisor = None if divisor == "none" else Divisor("constant")

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        if self.divisor is not None:
            self.divisor.fit(measure(clouds).points)

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        total = masked(feat, mask).sum(1)
        return total if self.divisor is None else self.divisor(total, mask.sum(1))


class MaxPool(Pool):
    """Largest value over the points, channel by channel."""

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        if not mask.shape[1]:  # all clouds are empty: no largest value
            return feat.new_zeros(len(feat), self.channels)
        return masked(masked(feat, mask, -torch.inf).amax(1), mask.any(1))
