"""The sum over neighbors of kernel x feature, and the linear layer after it.

    y_i = W sum_j k_ij (x) f_j + b

`plain_convolution` is the definition. On a CPU, native.c makes the sums. The outer products of 16
kernel numbers with all channels are by far the largest tensors of the network: sums of a few
queries at a time go through the linear layer while they are in the cache, and the backward pass
makes them again.
"""

from typing import Any

import torch
from torch import Tensor

from gigp.backbones.lieconv.native import call, use_native
from gigp.backbones.lieconv.neighborhood import Neighborhood, TableNeighborhood
from gigp.backbones.lieconv.pairs import QueryPairs
from gigp.nn.linear import input_gradient, linear, product, weight_gradient

NUMBERS = 16  # kernel numbers for each pair that native.c works with
BLOCK = 2**20  # numbers in the sums of a block, 4 MB, which a cache holds
ROWS = 512  # of a block at least: with fewer, products wait for their weights
MAX_INDEX = 2**31 - 1  # number of pairs that native.c can count


def convolution(
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
    native = (
        isinstance(neighborhood, TableNeighborhood)
        and kernel.shape[1] == NUMBERS
        and 0 < len(kernel) < MAX_INDEX
        and feat.numel() > 0
        and not neighborhood.pairs.requires_grad  # as for forces, which need second derivatives
        and use_native(kernel, feat, weight)
    )
    if native:
        return NativeConvolution.apply(kernel, feat, weight, bias, neighborhood)
    return plain_convolution(kernel, feat, weight, bias, neighborhood)


def plain_convolution(
    kernel: Tensor, feat: Tensor, weight: Tensor, bias: Tensor, neighborhood: Neighborhood
) -> Tensor:
    """`convolution` in plain PyTorch."""
    return linear(neighborhood.sum(kernel, feat), weight, bias)


class NativeConvolution(torch.autograd.Function):
    """`convolution` by native.c."""

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
        pairs, by_channel = neighborhood.query_pairs, channels_first(weight, feat.shape[2])
        out = feat.new_empty(pairs.num_queries, feat.shape[1], len(weight))
        for begin, end in blocks(pairs.num_queries, feat):
            sums = outer_sums(kernel, feat, pairs, begin, end)
            out[begin:end] = product(sums, by_channel, bias).view(out[begin:end].shape)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs = kernel, feat, weight, _ = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is differentiated again
            out = plain_convolution(*inputs, ctx.neighborhood)  # type: ignore[call-arg]
            return *torch.autograd.grad(out, inputs, grad, create_graph=True), None
        pairs, (_, maps, channels) = ctx.neighborhood.query_pairs, feat.shape
        by_channel = channels_first(weight, channels)
        dkernel, dfeat = torch.empty_like(kernel), torch.zeros_like(feat)
        dweight = torch.zeros_like(by_channel)
        fixed = kernel, feat, maps, channels, *pairs.lists, *pairs.clouds
        for begin, end in blocks(pairs.num_queries, feat):
            dout = grad[begin:end].reshape(-1, len(weight))  # (rows * S, o)
            dweight += weight_gradient(dout, outer_sums(kernel, feat, pairs, begin, end))
            dsums = input_gradient(dout, by_channel)  # (rows * S, c * 16)
            call("outer_sums_backward", *fixed, begin, end, dsums, dkernel, dfeat)
        dweight = dweight.unflatten(1, (channels, NUMBERS)).transpose(1, 2).flatten(1)
        return dkernel, dfeat, dweight, grad.sum((0, 1)), None


def channels_first(weight: Tensor, channels: int) -> Tensor:
    """Weights for sums as native.c orders them: kernel numbers x channels -> channels x kernel
    numbers, (o, 16 * c) -> (o, c * 16).
    """
    return weight.unflatten(1, (NUMBERS, channels)).transpose(1, 2).flatten(1)


def blocks(num_queries: int, feat: Tensor) -> list[tuple[int, int]]:
    """Cut the queries into ranges whose sums are `BLOCK` numbers at most, or `ROWS` rows."""
    step = max(1, BLOCK // (NUMBERS * feat[0].numel()), ROWS // feat.shape[1])
    return [(q, min(q + step, num_queries)) for q in range(0, num_queries, step)]


def outer_sums(kernel: Tensor, feat: Tensor, pairs: QueryPairs, begin: int, end: int) -> Tensor:
    """Sums over the neighbors of queries [begin, end), (rows * S, c * 16)."""
    _, maps, channels = feat.shape
    out = feat.new_empty((end - begin) * maps, channels * NUMBERS)
    call("outer_sums", kernel, feat, maps * channels, *pairs.lists, begin, end, out)
    return out
