"""The batch format of the whole package: dense tensors and a mask."""

from typing import NamedTuple

from torch import Tensor


class PointCloud(NamedTuple):
    """A batch of point clouds, padded to the largest.

    Attributes:
        pos: positions, (B, N, d); (1, N, d) where the whole batch shares them, as images share the pixel grid.
        feat: features, (B, N, c).
        mask: True for real points, (B, N); (1, N) where the positions are shared.
    """

    pos: Tensor
    feat: Tensor
    mask: Tensor
