"""Readouts of PyTorch Geometric as pools, to compare GIGP with."""

from collections.abc import Callable

import torch
from torch import Tensor

from gigp.errors import InputError, needs_extra
from gigp.nn.mlp import mlp
from gigp.pools.base import Pool

with needs_extra("pyg"):
    from torch_geometric.nn.aggr import Aggregation, AttentionalAggregation, DeepSetsAggregation


class Readout(Pool):
    """An aggregation of `torch_geometric.nn.aggr` on the same features of points that the other
    pools get.

    `out_channels` is what the aggregation returns: Set2Set gives twice the channels, several
    aggregations beside each other a multiple.

    Args:
        channels: number of feature channels.
        aggregation: an aggregation, or what makes one of the number of channels.

    Raises:
        InputError: the aggregation does not take features of that many channels.
    """

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

    def forward(self, feat: Tensor, pos: Tensor, mask: Tensor) -> Tensor:
        mask = mask.expand(feat.shape[:2])  # (B, N)
        sizes = mask.sum(1)
        out = feat.new_zeros(len(feat), self.out_channels)
        # clouds with points; others have no softmax
        held = sizes.nonzero().squeeze(1)
        if len(held):
            # (R,), sorted
            index = torch.arange(len(held), device=feat.device).repeat_interleave(sizes[held])
            out[held] = self.aggregation(feat[mask], index, dim_size=len(held)).to(out.dtype)
        return out


class Attentional(AttentionalAggregation):
    """sum_i softmax_i(gate(f_i)) nn(f_i), the softmax over the points, channel by channel (Li et
    al., 1904.12787).

    Args:
        channels: number of feature channels.
        hidden_channels: of the two MLPs, which have one hidden layer.
    """

    def __init__(self, channels: int, hidden_channels: int = 64) -> None:
        super().__init__(*(mlp(channels, channels, 1, hidden_channels) for _ in range(2)))


class DeepSets(DeepSetsAggregation):
    """rho(sum_i phi(f_i)) (Zaheer et al. 2017, 1703.06114).

    Args:
        channels: number of feature channels.
        hidden_channels: of the two MLPs, which have one hidden layer.
    """

    def __init__(self, channels: int, hidden_channels: int = 64) -> None:
        super().__init__(*(mlp(channels, channels, 1, hidden_channels) for _ in range(2)))
