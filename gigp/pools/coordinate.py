"""Orbit coordinates of points, and statistics of the training clouds."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from gigp.errors import InputError, check_choice
from gigp.groups import Group
from gigp.groups.base import check_group
from gigp.pointcloud import PointCloud, center_points, check_tensors, masked

PoolCenter = Literal["centroid", "origin", "mass"]


class OrbitCoordinate:
    """The number that tells orbits apart, as the radius for SO(3), measured about a center.

    Args:
        group: group whose orbits are distinguished; its orbit space must be one-dimensional.
        center: `centroid` of the cloud or center of `mass`, which make an invariant of SO(d) one of
            SE(d), or the `origin`: positions as they are.

    Raises:
        InputError: a group with a single orbit or with an orbit space of more dimensions; an
            unknown center.
    """

    def __init__(self, group: Group, center: PoolCenter) -> None:
        check_choice("center", center, PoolCenter)
        check_group(group)
        check_orbit_space(group)
        self.group, self.center = group, center

    def __call__(self, pos: Tensor, mask: Tensor, mass: Tensor | None = None) -> Tensor:
        """Orbit coordinates q, (B, N); those of padding mean nothing, but are finite.

        Args:
            pos: positions, (B, N, d).
            mask: True for real points, (B, N).
            mass: masses of the points, (B, N), where `center` is `mass`.

        Raises:
            InputError: positions of another dimension, or no masses where they are needed.
        """
        if pos.shape[-1] != self.group.dim:
            raise InputError(
                f"{self.group} acts on {self.group.dim}-dimensional positions, not {pos.shape[-1]}."
            )
        if self.center == "mass":
            if mass is None:
                raise InputError(
                    "center=mass needs the masses of the points: pass mass=(B, N), or a PointCloud "
                    "with mass; of the data sets qm9 has them. Otherwise use center=centroid."
                )
            check_tensors(mass=mass)
            pos = center_points(pos, mask, mass.to(pos.dtype))
        elif self.center == "centroid":
            pos = center_points(pos, mask)
        return self.group.orbit_coordinate(masked(pos, mask))


def check_orbit_space(group: Group) -> None:
    """Refuse groups whose orbits cannot be lined up along one coordinate."""
    if group.q_dim == 0:
        raise InputError(
            f"all of space is one orbit of {group}, so GIGP over it would be DeepSets: an MLP of "
            "the summed features. Pool over SO(d) about the centroid instead (SO2 or SO3 with "
            "center=centroid); for the DeepSets control set orbits=1 there."
        )
    if group.q_dim > 1:
        raise InputError(
            f"the orbits of {group} form a {group.q_dim}-dimensional space; GIGP lines up orbit "
            "centers along one coordinate. Pool over a group whose orbit space is one-dimensional: "
            "SO(2), SO(3), Tx, Ty or Rx."
        )


class CloudStatistics(NamedTuple):
    """Statistics of the training clouds that pools use.

    Attributes:
        low, high: range of the orbit coordinate.
        rms: root mean square of the orbit coordinate over all points.
        points: mean number of points of a cloud.
    """

    low: float
    high: float
    rms: float
    points: float


@torch.no_grad()
def measure_clouds(
    clouds: Iterable[PointCloud], coordinate: Callable[..., Tensor] | None = None
) -> CloudStatistics:
    """Go through training clouds once.

    Args:
        clouds: batches of clouds.
        coordinate: maps positions, mask and masses to orbit coordinates (B, N); None: the
            coordinate is taken as 0.

    Raises:
        InputError: something else than batches of clouds, no points, or a position that is not
            finite.
    """
    low, high, squares, points, number = math.inf, -math.inf, 0.0, 0, 0
    for cloud in checked(clouds):
        copies = len(cloud.feat) // max(len(cloud.mask), 1)  # of positions that a batch shares
        number += len(cloud.feat)
        points += copies * int(cloud.mask.sum())
        if coordinate is None or not bool(cloud.mask.any()):
            continue
        q = coordinate(cloud.pos, cloud.mask, cloud.mass)[cloud.mask].double()  # (R,)
        if not bool(q.isfinite().all()):
            raise InputError(
                f"{int((~q.isfinite()).sum())} of {len(q)} points of the training clouds have an "
                "orbit coordinate that is not finite; check their positions."
            )
        low, high = min(low, q.min().item()), max(high, q.max().item())
        squares += copies * q.square().sum().item()
    if points == 0:
        raise InputError("the training clouds hold no points; a pool cannot be fitted on them.")
    return CloudStatistics(low, high, math.sqrt(squares / points), points / number)


def checked(clouds: Iterable[Any]) -> Iterable[PointCloud]:
    """Yield the clouds; refuse anything that is not an iterable of `PointCloud`."""
    if isinstance(clouds, PointCloud):
        raise InputError("fit takes several batches of clouds; pass [cloud], or a data loader.")
    for cloud in clouds:
        if not isinstance(cloud, PointCloud):
            raise InputError(
                f"fit takes gigp.PointCloud, not {type(cloud).__name__}; pass "
                "PointCloud(pos, feat, mask) for every batch of training clouds."
            )
        yield cloud
