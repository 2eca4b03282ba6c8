"""No backbone, for data whose features are invariant already."""

from gigp.backbones.base import Backbone
from gigp.groups import Group
from gigp.pointcloud import PointCloud


class Identity(Backbone):
    """Return the input features as they are.

    Args:
        in_channels: number of channels of the input features.
        group: the group that the features are invariant under.
        unused: settings of other backbones, which groups bring along.
    """

    def __init__(self, in_channels: int, group: Group, **unused: object) -> None:
        super().__init__()
        self.group, self.out_channels = group, in_channels

    def forward(self, cloud: PointCloud) -> PointCloud:
        """The same cloud."""
        return cloud
