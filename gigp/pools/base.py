"""Base class of all pools, and mean, sum and max pooling."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gigp.groups import Group
from gigp.pointcloud import PointCloud, masked


class Pool(nn.Module):
    """Base of all pools: features (B, N, c) of a masked cloud to one vector (B, out_channels)."""

    # the group whose orbits the pool tells apart; None: it ignores positions
    group: Group | None = None
    # `forward` takes the masses of the points, too: mass=(B, N)
    needs_mass: bool = False

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = self.out_channels = channels

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        """Take what depends on the training set from it; most pools take nothing."""

    def learned(self) -> dict[str, list[float]]:
        """What a record should say about the trained pool, as short lists of numbers; for most
        pools nothing.
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
    """Sum over the points."""

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        return masked(feat, mask).sum(1)


class MaxPool(Pool):
    """Largest value over the points, channel by channel."""

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        if not mask.shape[1]:  # all clouds are empty: no largest value
            return feat.new_zeros(len(feat), self.channels)
        return masked(masked(feat, mask, -torch.inf).amax(1), mask.any(1))
