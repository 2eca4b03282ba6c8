"""The sum over neighbors and the linear layer after it by native.c, block by block.

    y_i = W sum_j k_ij (x) f_j + b

The definition is `plain_convolution`. The outer products of 16 kernel numbers with all channels are
by far the largest tensors of the network. Here the sums of a few queries at a time go through the
linear layer while they are in the cache, and the backward pass makes them anew.
"""

from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gigp.backbones.lieconv.native import call, use_native
from gigp.backbones.lieconv.neighborhood import Neighborhood, TableNeighborhood
from gigp.nn.linear import product, weight_gradient

NUMBERS = 16  # kernel numbers for each pair that native.c works with
BLOCK = 2**20  # numbers in the sums of a block, 4 MB
MAX_INDEX = 2**31 - 1  # of pairs and rows


def plain_convolution(
    kernel: Tensor, feat: Tensor, weight: Tensor, bias: Tensor, neighborhood: Neighborhood
) -> Tensor:
    """W sum_j k_ij (x) f_j + b.

    Args:
        kernel: kernel numbers of the pairs, (E, k).
        feat: features of S feature maps on all R points, (R, S, c).
        weight, bias: the linear layer after the sum, (o, k * c) and (o,).
        neighborhood: the pairs of Q queries with their neighbors.

    Returns:
        (Q, S, o).
    """
    return F.linear(neighborhood.sum(kernel, feat), weight, bias)


def use_native_convolution(kernel: Tensor, feat: Tensor, neighborhood: Neighborhood) -> bool:
    """Whether `NativeConvolution` may compute with these tensors."""
    return (
        isinstance(neighborhood, TableNeighborhood)
        and kernel.shape[1] == NUMBERS
        and 0 < len(kernel) < MAX_INDEX
        and feat.numel() > 0
        and not neighborhood.pairs.requires_grad  # as for forces, which need second derivatives
        and use_native(kernel, feat)
    )


class QueryPairs:
    """The pairs of a neighborhood, query by query, and which points and queries a cloud has.

    Attributes:
        first: the pairs of query q are those from first[q] to first[q + 1], (Q + 1,).
        point, pair: row of the neighbor and of the kernel numbers of each pair, (E,).
        rows, queries: the first point and query of each cloud, and their ends, (clouds + 1,).
    """

    def __init__(self, neighborhood: TableNeighborhood) -> None:
        shapes = neighborhood.shapes
        self.num_clouds = sum(g for g, _, _ in shapes)
        self.num_queries = sum(g * m for g, _, m in shapes)
        self.rows = starts([n for g, n, _ in shapes for _ in range(g)])
        self.queries = starts([m for g, _, m in shapes for _ in range(g)])
        pairs = len(neighborhood.pairs)
        self.point, self.pair = (torch.empty(pairs, dtype=torch.int32) for _ in range(2))
        self.first = torch.empty(self.num_queries + 1, dtype=torch.int32)
        if neighborhood.index is None:
            call("list_all_pairs", self.num_clouds, self.rows, self.queries, *self.lists)
            return
        index = neighborhood.index.contiguous()
        slots = neighborhood.slots
        slots = torch.arange(pairs) if slots is None else slots.contiguous()
        call("list_chosen_pairs", *index.shape, index, pairs, slots, *self.lists)

    @property
    def lists(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.first, self.point, self.pair


def query_pairs(neighborhood: TableNeighborhood) -> QueryPairs:
    """The pairs of a neighborhood, listed once for all blocks of the network that share it."""
    if not hasattr(neighborhood, "_query_pairs"):
        neighborhood._query_pairs = QueryPairs(neighborhood)
    return neighborhood._query_pairs


def starts(sizes: list[int]) -> Tensor:
    """Where parts of these sizes start, and the end of the last one, (n + 1,)."""
    return torch.tensor(list(accumulate(sizes, initial=0)), dtype=torch.int32)


class NativeConvolution(torch.autograd.Function):
    """`plain_convolution` by native.c."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Tensor,
        feat: Tensor,
        weight: Tensor,
        bias: Tensor,
        neighborhood: TableNeighborhood,
    ) -> Tensor:
        kernel, feat = kernel.contiguous(), feat.contiguous()
        ctx.save_for_backward(kernel, feat, weight, bias)
        ctx.neighborhood = neighborhood
        pairs = query_pairs(neighborhood)
        by_channel = channels_first(weight, feat.shape[2])
        out = feat.new_empty(pairs.num_queries, feat.shape[1], len(weight))
        for begin, end in blocks(pairs.num_queries, feat):
            sums = outer_sums(kernel, feat, pairs, begin, end)
            out[begin:end] = product(sums, by_channel, bias).view(out[begin:end].shape)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernel, feat, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is differentiated again
            inputs = kernel, feat, weight, bias
            out = plain_convolution(*inputs, ctx.neighborhood)
            return *torch.autograd.grad(out, inputs, grad, create_graph=True), None
        pairs, (_, maps, channels) = query_pairs(ctx.neighborhood), feat.shape
        by_channel = channels_first(weight, channels)
        dkernel, dfeat = torch.empty_like(kernel), torch.zeros_like(feat)
        dweight = torch.zeros_like(by_channel)
        for begin, end in blocks(pairs.num_queries, feat):
            dout = grad[begin:end].reshape(-1, len(weight))  # (rows * S, o)
            dweight += weight_gradient(dout, outer_sums(kernel, feat, pairs, begin, end))
            dsums = product(dout, by_channel.t())  # (rows * S, c * 16)
            call(
                "outer_sums_backward",
                kernel,
                feat,
                maps,
                channels,
                *pairs.lists,
                pairs.num_clouds,
                pairs.rows,
                pairs.queries,
                begin,
                end,
                dsums,
                dkernel,
                dfeat,
            )
        dweight = dweight.unflatten(1, (channels, NUMBERS)).transpose(1, 2).flatten(1)
        return dkernel, dfeat, dweight, grad.sum((0, 1)), None


def channels_first(weight: Tensor, channels: int) -> Tensor:
    """Weights of kernel numbers x channels as weights of channels x kernel numbers, which is how
    native.c puts its sums, (o, 16 * c) -> (o, c * 16).
    """
    return weight.unflatten(1, (NUMBERS, channels)).transpose(1, 2).flatten(1)


def blocks(num_queries: int, feat: Tensor) -> list[tuple[int, int]]:
    """Cut the queries into ranges whose sums are `BLOCK` numbers at most, or those of one query."""
    step = max(1, BLOCK // (NUMBERS * feat[0].numel()))
    return [(q, min(q + step, num_queries)) for q in range(0, num_queries, step)]


def outer_sums(kernel: Tensor, feat: Tensor, pairs: QueryPairs, begin: int, end: int) -> Tensor:
    """Sums over the neighbors of queries [begin, end), (rows * S, c * 16)."""
    _, maps, channels = feat.shape
    out = feat.new_empty((end - begin) * maps, channels * NUMBERS)
    call("outer_sums", kernel, feat, maps * channels, *pairs.lists, begin, end, out)
    return out
