"""Pools of PyTorch Geometric as pools, to compare GIGP with."""

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gigp.errors import InputError, check_choice, needs_extra
from gigp.nn.mlp import identity_mlp, mlp, start_as_identity
from gigp.pointcloud import PointCloud, masked
from gigp.pools.base import Pool, masked_features
from gigp.pools.coordinate import measure_clouds

with needs_extra("pyg"):
    from torch_geometric.experimental import set_experimental_mode
    from torch_geometric.nn.aggr import (
        Aggregation,
        AttentionalAggregation,
        DeepSetsAggregation,
        SoftmaxAggregation,
    )

Init = Literal["mean", "random"]


class PyGPool(Pool):
    """An aggregation of `torch_geometric.nn.aggr` on the same features that the other pools get.

    `out_channels` is what the aggregation returns: Set2Set gives twice the channels, several
    aggregations beside each other a multiple.

    Args:
        channels: number of feature channels.
        aggregation: an aggregation, or a function that makes one from the number of channels.

    Raises:
        InputError: the aggregation does not take features of that many channels.
    """

    syncs_device = True

    def __init__(
        self, channels: int, aggregation: Aggregation | Callable[[int], Aggregation]
    ) -> None:
        super().__init__(channels)
        self.aggregation = (
            aggregation if isinstance(aggregation, Aggregation) else aggregation(channels)
        )
        try:
            with torch.no_grad():
                example = self.aggregation(
                    torch.zeros(2, channels), torch.zeros(2, dtype=torch.long), dim_size=1
                )
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"{self.aggregation} cannot pool {channels} channels: {error}"
            ) from error
        self.out_channels = example.shape[-1]
        arguments = signature(self.aggregation.forward).parameters
        self.takes_max_num_elements = "max_num_elements" in arguments

    def fit(self, clouds: Iterable[PointCloud]) -> None:
        """Scale those aggregations that start as a sum by the mean number of points."""
        if isinstance(self.aggregation, DeepSets):
            self.aggregation.start(measure_clouds(clouds).points)

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = self.check(feat, pos, mask)
        mask = mask.expand(feat.shape[:2])  # (B, N)
        pool = self._pool_rows if feat.device.type == "cpu" else self._pool_all
        return masked(pool(feat, mask).to(feat.dtype), mask.any(1))

    def _pool_rows(self, feat: Tensor, mask: Tensor) -> Tensor:
        """Pool the real points alone, for CPUs."""
        sizes = mask.sum(1)
        out = feat.new_zeros(len(feat), self.out_channels)
        held = sizes.nonzero().squeeze(1)  # clouds with points: PyG cannot take all others
        if len(held):
            index = torch.arange(len(held)).repeat_interleave(sizes[held])  # (R,), sorted
            out[held] = self.aggregation(feat[mask], index, dim_size=len(held)).to(out.dtype)
        return out

    def _pool_all(self, feat: Tensor, mask: Tensor) -> Tensor:
        """Pool with shapes that do not depend on the data, so that a GPU is not waited for.

        The padding of every cloud is a graph of its own, whose result is dropped; graph 0 is one
        more point, since PyG's quantiles need one there.
        """
        b, n = mask.shape
        graph = 1 + 2 * torch.arange(b, device=feat.device).unsqueeze(1) + (~mask).long()
        index, order = graph.flatten().sort(stable=True)  # (B * N,)
        x = masked_features(feat, mask).flatten(0, 1)[order]
        x, index = F.pad(x, (0, 0, 1, 0)), F.pad(index, (1, 0))
        known = {"max_num_elements": n} if self.takes_max_num_elements else {}
        with set_experimental_mode(True, "disable_dynamic_shapes"):
            return self.aggregation(x, index, dim_size=2 * b + 1, **known)[1::2]


# of each of the two MLPs of a pool: twice c -> 2c -> c has the 8 c^2 weights of GIGP's one MLP
# c -> 2c -> 2c -> c, but for biases
HIDDEN_LAYERS = 1


def pool_mlp(channels: int, init: Init, layers: int, width: int | None) -> nn.Sequential:
    """An MLP as GIGP has it, from the identity (`init=mean`) or from random weights."""
    check_choice("init", init, Init)
    if init == "mean":
        return identity_mlp(channels, hidden_layers=layers, hidden_channels=width)
    return mlp(channels, channels, layers, width or max(64, 2 * channels))


class Attentional(AttentionalAggregation):
    """sum_i softmax_i(gate(f_i)) value(f_i), a softmax over the points for each channel (Li et al.
    2019, 1904.12787).

    Args:
        channels: number of feature channels c.
        hidden_layers: number of hidden layers of each MLP.
        hidden_channels: width of each MLP; None: max(64, 2c), as for GIGP.
        init: `mean`, start as mean pooling (the gate returns 0, the value is the identity);
            `random`.
    """

    def __init__(
        self,
        channels: int,
        hidden_layers: int = HIDDEN_LAYERS,
        hidden_channels: int | None = None,
        init: Init = "mean",
    ) -> None:
        gate = mlp(channels, channels, hidden_layers, hidden_channels or max(64, 2 * channels))
        if init == "mean":
            for parameter in gate[-1].parameters():
                nn.init.zeros_(parameter)
        super().__init__(gate, pool_mlp(channels, init, hidden_layers, hidden_channels))


class DeepSets(DeepSetsAggregation):
    """rho(sum_i phi(f_i)) (Zaheer et al. 2017, 1703.06114).

    Args:
        channels: number of feature channels c.
        hidden_layers: number of hidden layers of each MLP.
        hidden_channels: width of each MLP; None: max(64, 2c), as for GIGP.
        init: `mean`, start as the sum divided by the mean number of points of the training clouds;
            `random`.
    """

    def __init__(
        self,
        channels: int,
        hidden_layers: int = HIDDEN_LAYERS,
        hidden_channels: int | None = None,
        init: Init = "mean",
    ) -> None:
        super().__init__(
            *(pool_mlp(channels, init, hidden_layers, hidden_channels) for _ in range(2))
        )
        self.channels, self.init = channels, init

    @torch.no_grad()
    def start(self, points: float) -> None:
        """Divide the initial output of phi by the mean number of points of a cloud."""
        if self.init == "mean":
            start_as_identity(self.local_nn, self.channels)
            self.local_nn[-1].weight.div_(points)


class Softmax(Aggregation):
    """phi(sum_i softmax_i(t f_i) f_i), a learned inverse temperature t for each channel (Li et al.
    2020, 2006.07739) and GIGP's MLP phi. From the mean, t = 0, to the maximum, t = infinity.

    Args:
        channels: number of feature channels c.
        hidden_layers: number of hidden layers of phi.
        hidden_channels: width of phi; None: max(64, 2c), as for GIGP.
        init: `mean`, start as mean pooling (t = 0, phi is the identity); `random`, t = 1 and any
            phi.
    """

    def __init__(
        self,
        channels: int,
        hidden_layers: int = 2,
        hidden_channels: int | None = None,
        init: Init = "mean",
    ) -> None:
        super().__init__()
        start = 0.0 if init == "mean" else 1.0
        self.softmax = SoftmaxAggregation(start, learn=True, channels=channels)
        self.phi = pool_mlp(channels, init, hidden_layers, hidden_channels)

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
    ) -> Tensor:
        """Points (N, c) -> graphs (B, c)."""
        return self.phi(self.softmax(x, index, ptr, dim_size, dim))
