"""Geometry of one block of the network: points, queries, and all pairs of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from gigp.backbones.lieconv.layout import Layout
from gigp.backbones.lieconv.native import call, use_native
from gigp.groups import SE3, Group
from gigp.groups.space import quaternion


class Pairs(NamedTuple):
    """All pairs (neighbor j, query i) of a table of g clouds.

    Attributes:
        inputs: kernel inputs, as [log(v_j^-1 u_i), q_i, q_j], (g, n, m, a).
        distance: (g, n, m).
    """

    inputs: Tensor
    distance: Tensor

    def select_queries(self, queries: Tensor) -> "Pairs":
        """Keep the pairs whose query is among `queries`, (g, m)."""
        clouds = torch.arange(len(queries), device=queries.device)[:, None, None]
        neighbors = torch.arange(self.distance.shape[1], device=queries.device)[:, None]
        at = clouds, neighbors, queries[:, None]
        return Pairs(self.inputs[at], self.distance[at])

    def select_neighbors(self, points: Tensor) -> "Pairs":
        """Keep the pairs whose neighbor is among `points`, (g, m)."""
        clouds = torch.arange(len(points), device=points.device)[:, None]
        return Pairs(self.inputs[clouds, points], self.distance[clouds, points])


class BlockGeometry(NamedTuple):
    """The geometry of one block.

    Attributes:
        points: layout of the points that come in.
        queries: layout of the points that the block keeps.
        kept: indices of the kept points, (g, m) for each table; None: all points are kept.
        pairs: all pairs of points and queries, for each table.
    """

    points: Layout
    queries: Layout
    kept: list[Tensor] | None
    pairs: list[Pairs]

    def kept_rows(self) -> Tensor | None:
        """Rows of the kept points among the rows of all points, (Q,); None: all."""
        return None if self.kept is None else self.points.row_numbers(self.kept, self.queries)


def all_pairs(group: Group, elements: Tensor, orbit: Tensor) -> Pairs:
    """Kernel inputs and distances between all lifted points of each cloud of a table.

    Args:
        group: the group.
        elements: group elements, (g, n, r, r).
        orbit: orbit coordinates, (g, n, q).
    """
    if type(group) is SE3 and not elements.requires_grad and use_native(elements):
        return native_motion_pairs(elements, group.alpha)
    u, v, qu, qv = (x.unsqueeze(dim) for x in (elements, orbit) for dim in (1, 2))
    return Pairs(*group.pair_inputs(u, v, qu, qv))


def native_motion_pairs(elements: Tensor, alpha: float) -> Pairs:
    """`all_pairs` of SE(3) by native.c: a quarter of the time of an evaluation otherwise.

    Args:
        elements: rigid motions, (g, n, 4, 4).
        alpha: weight of the rotation in the distance.
    """
    g, n = elements.shape[:2]
    motions = torch.cat([quaternion(elements[..., :3, :3]), elements[..., :3, 3]], -1)  # (g, n, 7)
    inputs, distance = motions.new_empty(g, n, n, 6), motions.new_empty(g, n, n)
    weight = motions.new_tensor(alpha)
    call("motion_pairs", motions.movedim(-1, 0).contiguous(), g, n, weight, inputs, distance)
    return Pairs(inputs, distance)


def draw_lifts(group: Group, points: int, num_lifts: int) -> Tensor:
    """Random stabilizer elements (points, L, r, r), the same in every process."""
    generator = torch.Generator().manual_seed(0)
    return group.stabilizer(
        points, num_lifts=num_lifts, generator=generator, dtype=torch.float32, device="cpu"
    )
