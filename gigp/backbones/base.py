"""Base class of the backbones: networks that give every point of a cloud its features."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import nn

from gigp.groups import Group
from gigp.pointcloud import PointCloud


class Atoms(NamedTuple):
    """Description of the points of a data set of molecules, for networks made for atoms.

    The features of an atom are one block of channels for each element, which begins with 1 for its
    own element and 0 for the others.

    Attributes:
        charges: nuclear charge of each element, in the order of the blocks.
        angstrom: whether positions are in Angstrom; False where they are rescaled.
    """

    charges: tuple[int, ...]
    angstrom: bool = True


class Backbone(nn.Module, ABC):
    """A network from point clouds to features of their points.

    A run builds its backbone with `in_channels` (channels of the input features), `group`, `grid`
    (positions that all clouds share, or None) and `atoms` (see `Atoms`, or None), beside the
    settings of its configuration.

    Attributes:
        out_channels: number of channels of the features.
        group: the group that the features are equivariant or invariant under.
        keeps_points: the features are those of the input points, one vector each.
        is_invariant: no rotation of space changes the features, by construction.
    """

    out_channels: int
    group: Group
    keeps_points: bool = True
    is_invariant: bool = False

    @abstractmethod
    def forward(self, cloud: PointCloud) -> PointCloud:
        """Features (B, N', out_channels) of the points that the network keeps."""

    def calibrate(self, cloud: PointCloud) -> None:
        """Set values that depend on the training set, from a batch of it; most have none."""

    def kept(self, cloud: PointCloud) -> PointCloud:
        """The points that `forward` returns features for; most networks keep all points."""
        return cloud
