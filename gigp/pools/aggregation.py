"""GIGP as an aggregation of PyTorch Geometric: all points in one list, with the index of the graph
that each belongs to.
"""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

from gigp.errors import InputError, needs_extra
from gigp.groups import Group
from gigp.nn.mlp import Activation
from gigp.pointcloud import PointCloud, check_tensors
from gigp.pools.coordinate import PoolCenter
from gigp.pools.divisor import DivisorKind
from gigp.pools.gigp import GIGP, Init, OrbitSum
from gigp.pools.orbits import Delta, Membership

with needs_extra("pyg"):
    from torch_geometric.data import Data
    from torch_geometric.nn.aggr import Aggregation


FIT = (
    "call aggr.fit(loader) with a data loader of training graphs, or a list of them, or load a "
    "trained state dict, before the first forward pass."
)
UNSET_CENTERS = f"the orbit centers are not set: {FIT}"
UNSET_DIVISOR = f"divisor=constant is not set: {FIT}"


class GIGPAggregation(Aggregation):
    """Group Invariant Global Pooling (arXiv 2305.19207) as an aggregation of PyTorch Geometric.

        aggr = GIGPAggregation(64, SO3(), orbits=50, membership="hat")
        aggr.fit(train_loader)  # space the orbits over the radii of the training set
        out = aggr(x, data.batch, dim_size=data.num_graphs, pos=data.pos)

    Computes the same numbers as the dense layer `gigp.GIGP`, which it holds as `pool`. `index` may
    be unsorted, graphs may be empty. Compiles without graph breaks where `dim_size` or `ptr` is
    given. Memory is O(points x (orbits + channels)) beside the sums of the orbits themselves.

    Layers that call their aggregation without positions, as `MessagePassing` and
    `MultiAggregation`, cannot use it: concatenate its output with theirs instead.

    Args:
        channels: number of feature channels.
        group: group whose orbits are distinguished, as SO(3) or SO(2).
        orbits, membership and all others: options of `gigp.GIGP`.

    Raises:
        InputError: the same as `gigp.GIGP` raises.

    Examples:
        >>> from gigp.groups import SO3
        >>> aggr = GIGPAggregation(2, SO3(), orbits=10)
        >>> x, pos = torch.tensor([[1.0, 0.0], [2.0, 4.0], [9.0, 9.0]]), torch.randn(3, 3)
        >>> aggr.fit([Data(x=x, pos=pos)])  # or a data loader of the training set
        >>> aggr(x, torch.tensor([0, 0, 1]), pos=pos).detach()
        tensor([[1.5000, 2.0000],
                [9.0000, 9.0000]])
    """

    def __init__(
        self,
        channels: int,
        group: Group,
        *,
        orbits: int = 50,
        membership: Membership = "ball",
        delta: Delta = "auto",
        normalize: bool = True,
        center: PoolCenter = "centroid",
        feed_center: bool = True,
        aggregation: OrbitSum = "weighted",
        init: Init = "mean",
        divisor: DivisorKind = "count",
        hidden_layers: int = 2,
        hidden_channels: int | None = None,
        activation: Activation = "relu",
        point_layers: int = 0,
    ) -> None:
        super().__init__()
        self.pool = GIGP(
            channels,
            group,
            orbits=orbits,
            membership=membership,
            delta=delta,
            normalize=normalize,
            center=center,
            feed_center=feed_center,
            aggregation=aggregation,
            init=init,
            divisor=divisor,
            hidden_layers=hidden_layers,
            hidden_channels=hidden_channels,
            activation=activation,
            point_layers=point_layers,
        )
        self.pool.orbits.how_to_fit = UNSET_CENTERS
        self.pool.divisor.how_to_fit = UNSET_DIVISOR

    def fit(self, batches: Iterable[Data]) -> None:
        """Space the orbit centers over the range of the orbit coordinate on training graphs.

        Args:
            batches: graphs or batches of graphs with `pos`, and with `mass` for center=mass, as a
                list or a data loader.
        """
        if isinstance(batches, Data):
            raise InputError("fit takes several graphs or batches; pass [batch], or a data loader.")
        self.pool.fit(PointCloud.from_pyg(batch) for batch in batches)

    def reset_parameters(self) -> None:
        self.pool.reset_parameters()

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
        *,
        pos: Tensor | None = None,
        q: Tensor | None = None,
        mass: Tensor | None = None,
    ) -> Tensor:
        """Pool.

        Args:
            x: features, (N, c).
            index: graph of every point, (N,), in any order.
            ptr: first point of each graph, and the number of points, (B + 1,), for sorted points in
                place of `index`.
            dim_size: number of graphs B; by default as many as `index` or `ptr` names.
            dim: dimension of the points, 0 or -2.
            max_num_elements: unused, part of the common signature.
            pos: positions, (N, d).
            q: orbit coordinates, (N,), in place of positions.
            mass: masses of the points, (N,), where the pool's `center` is `mass`.

        Returns:
            (B, c); 0 for a graph without points.

        Raises:
            InputError: neither or both of `pos` and `q`, or of another length or number of channels
                than expected, or an `index` or `ptr` that does not name a graph for each point.
        """
        self.assert_two_dimensional_input(x, dim)
        points = x.shape[0]  # not len(x), which is a constant in exported programs
        if ptr is not None:
            check_ptr(ptr, index, points)
        if index is None:  # then there is a ptr: Aggregation.__call__ sees to it, and to dim_size
            index = index_of(cast(Tensor, ptr), points)
        num = cast(int, dim_size)
        self._check_points(x, index)
        q = self._coordinate(points, index, num, pos, q, mass)
        # (N, K)
        m = self.pool.orbits(q[None], torch.ones_like(q[None], dtype=torch.bool))[0]
        m = m.to(accurate(x.dtype))
        n = m.new_zeros(num, m.shape[1]).index_add(0, index, m)  # (B, K)
        values = x if self.pool.psi is None else self.pool.psi(x)
        h = sum_of_products(m, values.to(m.dtype), index, num)  # (B, K, c)
        return self.pool(h.to(x.dtype), counts=n.to(x.dtype))

    def _check_points(self, x: Tensor, index: Tensor) -> None:
        """Refuse features or an index of the wrong shape or type."""
        if x.shape[1] != self.pool.channels:
            raise InputError(
                f"x has shape {tuple(x.shape)}; this aggregation takes (N, {self.pool.channels})."
            )
        if not x.is_floating_point():
            raise InputError(
                f"x is of {x.dtype}, which cannot hold fractions of points; pass x.float()."
            )
        if index.shape != x.shape[:1] or index.dtype != torch.long:
            raise InputError(
                f"index {tuple(index.shape)} of {index.dtype} does not name the graph of each of "
                f"{x.shape[0]} points; expected {(x.shape[0],)} of torch.int64."
            )
        if readable(index) and bool((index < 0).any()):
            point = int((index < 0).nonzero()[0])
            raise InputError(f"index[{point}] is {int(index[point])}; graphs are numbered from 0.")

    def _coordinate(
        self,
        points: int,
        index: Tensor,
        num: int,
        pos: Tensor | None,
        q: Tensor | None,
        mass: Tensor | None,
    ) -> Tensor:
        """Orbit coordinates, (N,): those given, or of positions (N, d) with masses (N,)."""
        given = {"pos": pos, "q": q, "mass": mass}
        check_tensors(**{name: value for name, value in given.items() if value is not None})
        coordinate = self.pool.orbit_coordinate
        dim = coordinate.group.dim
        if q is not None and pos is None:
            if q.shape != (points,):
                raise InputError(f"q has shape {tuple(q.shape)}; expected ({points},).")
            return q
        if pos is None or q is not None:
            raise InputError(
                f"{'neither' if q is None else 'both'} of pos= and q= given; pass one of them: "
                f"positions (N, {dim}) or orbit coordinates (N,). Layers that call their "
                "aggregation without either cannot use GIGP."
            )
        if pos.shape != (points, dim):
            raise InputError(f"pos has shape {tuple(pos.shape)}; expected ({points}, {dim}).")
        if coordinate.center != "origin":
            if coordinate.center == "centroid":
                mass = torch.ones_like(pos[:, 0])
            elif mass is None or mass.shape != pos.shape[:1]:
                shape = None if mass is None else tuple(mass.shape)
                raise InputError(
                    f"center=mass needs the masses of the points: pass mass= of shape "
                    f"{(len(pos),)}, not {shape}."
                )
            weight = mass.to(accurate(pos.dtype)).unsqueeze(-1)  # (N, 1)
            total = weight.new_zeros(num, 1).index_add(0, index, weight)
            moment = weight.new_zeros(num, pos.shape[1]).index_add(0, index, weight * pos)
            pos = pos - (moment / total.masked_fill(total == 0, 1)).to(pos.dtype)[index]
        return coordinate.group.orbit_coordinate(pos)

    def extra_repr(self) -> str:
        return f"{self.pool.channels}, {self.pool.group}, orbits={self.pool.orbits.num}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"


def accurate(dtype: torch.dtype) -> torch.dtype:
    """The type to add up many numbers in: a sum of ones stops growing at 256 in bfloat16."""
    return torch.promote_types(dtype, torch.float32)


def readable(x: Tensor) -> bool:
    """True where reading values costs nothing: on a CPU, outside of compiled graphs."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def check_ptr(ptr: Tensor, index: Tensor | None, points: int) -> None:
    """Refuse a `ptr` (B + 1,) that does not cut the points into graphs, or not into those that
    `index` (N,) names.

    Raises:
        InputError: an entry is not finite; the message names it.
    """
    if ptr.dtype != torch.long or ptr.dim() != 1 or not ptr.shape[0]:
        raise InputError(
            f"ptr {tuple(ptr.shape)} of {ptr.dtype} should be (graphs + 1,) of torch.int64."
        )
    if not readable(ptr):
        return
    count = ptr.diff()
    if ptr[0] != 0 or ptr[-1] != points or (count < 0).any():
        raise InputError(
            f"ptr {ptr.tolist()} should rise from 0 to the number of points, {points}."
        )
    if index is not None and not torch.equal(
        torch.arange(len(count)).repeat_interleave(count), index
    ):
        raise InputError(f"index and ptr {ptr.tolist()} name other graphs; pass one of them.")


def index_of(ptr: Tensor, points: int) -> Tensor:
    """Graph of every point, (N,), from the first point of each graph, (B + 1,)."""
    # an operation that ONNX has, unlike repeat_interleave
    starts = ptr.new_zeros(points + 1).index_add(0, ptr, torch.ones_like(ptr))
    return starts[:points].cumsum(0) - 1


def sum_of_products(m: Tensor, x: Tensor, index: Tensor, num: int) -> Tensor:
    """sum_i m_ik x_ic over the points i of every graph, (B, K, c), at the speed of matrix products.

    The points of a graph fill tiles of a fixed size, the last tile of a graph is padded with zeros,
    and the products of tiles are added up. All shapes follow from those of the arguments, so
    nothing waits for a device, and no tensor is larger than O(points x (K + c)) or the result.

    Args:
        m: (N, K).
        x: (N, c).
        index: graph of every point, (N,).
        num: number of graphs B.
    """
    (points, k), c = m.shape, x.shape[1]
    tile = max(8, min(k, c))
    place = torch.arange(points, device=index.device)
    # keys without ties: ONNX has no stable sort
    _, order = (index * points + place).sort()
    index = index[order]
    count = index.new_zeros(num).index_add(0, index, torch.ones_like(index))
    # number of tiles of every graph
    tiles = (count + tile - 1) // tile
    rank = place - (count.cumsum(0) - count)[index]
    slot = (tiles.cumsum(0) - tiles)[index] * tile + rank
    # largest possible number of tiles
    total = points // tile + num

    def in_tiles(values: Tensor) -> Tensor:
        width = values.shape[1]
        return (
            values.new_zeros(total * tile, width)
            .index_copy(0, slot, values[order])
            .view(total, tile, width)
        )

    # graph of every tile
    graph = index.new_zeros(total).index_copy(0, slot // tile, index)
    products = (in_tiles(m).mT @ in_tiles(x)).to(m.dtype)  # autocast makes them bfloat16
    return m.new_zeros(num, k, c).index_add(0, graph, products)
