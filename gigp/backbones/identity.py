"""No backbone: features that are invariant already."""

from torch import nn

from gigp.groups import Group
from gigp.pointcloud import PointCloud


class Identity(nn.Module):
    """No backbone: the input features as they are, for features that are invariant already.

    Args:
        in_channels: of the input features.
        group: the symmetry that the features have.
        unused: settings of other backbones, which groups bring along.
    """

    def __init__(self, in_channels: int, group: Group, **unused: object) -> None:
        super().__init__()
        self.group, self.out_channels = group, in_channels

    def forward(self, cloud: PointCloud) -> PointCloud:
        """The same cloud."""
        return cloud

    def calibrate(self, cloud: PointCloud) -> None:
        """Takes nothing from the training set."""

    def kept(self, cloud: PointCloud) -> PointCloud:
        """All points."""
        return cloud
