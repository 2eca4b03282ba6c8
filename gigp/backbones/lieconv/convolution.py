"""The sum over neighbors and the linear layer after it, block by block.

    y_i = W sum_j k_ij (x) f_j

The outer products of 16 kernel numbers with all channels are by far the largest tensors of the
network. Here a few queries at a time go from gathered features to outputs while they are in the
cache, and the backward pass makes them anew: nothing of that size is ever in memory.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gigp.backbones.lieconv.neighborhood import ALL, TableNeighborhood, outer_sums
from gigp.nn.linear import input_gradient, product, weight_gradient

BLOCK = 2**20  # numbers in the outer products of a block, 4 MB


class Part(NamedTuple):
    """Queries of a block that lie in one table.

    Attributes:
        table: which table, (g, n, m, k).
        clouds, queries: which of its g clouds and m queries.
        rows: theirs among all queries.
    """

    table: int
    clouds: slice
    queries: slice
    rows: slice


def cut(shapes: list[tuple[int, int, int]], numbers: int) -> Iterator[list[Part]]:
    """Cut tables (g, n, m) into blocks of consecutive queries, each with at most `BLOCK` //
    `numbers` of them (or one).

    Args:
        shapes: of the tables.
        numbers: in the outer products of one query.
    """
    block, filled, limit, start = [], 0, max(1, BLOCK // numbers), 0
    for table, (g, _, m) in enumerate(shapes):
        clouds, queries = max(1, limit // m), min(m, limit)
        for c in range(0, g, clouds):
            for q in range(0, m, queries):
                c_end, q_end = min(c + clouds, g), min(q + queries, m)
                size = (c_end - c) * (q_end - q)
                if block and filled + size > limit:
                    yield block
                    block, filled = [], 0
                block.append(
                    Part(table, slice(c, c_end), slice(q, q_end), slice(start, start + size))
                )
                filled, start = filled + size, start + size
    if block:
        yield block


class Convolution(torch.autograd.Function):
    """W sum_j k_ij (x) f_j + b, (Q, S, o), of kernel values (E, k), features (R, S, c), W (o, k *
    c) and b (o,).
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Tensor,
        feat: Tensor,
        weight: Tensor,
        bias: Tensor,
        neighborhood: TableNeighborhood,
    ) -> Tensor:
        placed = neighborhood.placed(kernel)
        ctx.save_for_backward(placed, feat, weight)
        ctx.neighborhood, tables = neighborhood, neighborhood.split(placed)
        out = feat.new_empty(len(neighborhood.count), feat.shape[1], len(weight))
        for block in cut(neighborhood.table_shapes, weight.shape[1] * feat.shape[1]):
            sums = _sums(block, tables, feat, neighborhood)
            out[_rows(block)] = product(sums, weight, bias).view(-1, *out.shape[1:])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (placed, feat, weight), neighborhood = ctx.saved_tensors, ctx.neighborhood
        grad, (_, signals, channels) = grad.contiguous(), feat.shape
        tables, dplaced = neighborhood.split(placed), torch.empty_like(placed)
        dtables, dfeat, dweight = (
            neighborhood.split(dplaced),
            torch.zeros_like(feat),
            torch.zeros_like(weight),
        )
        for block in cut(neighborhood.table_shapes, weight.shape[1] * signals):
            dout = grad[_rows(block)].flatten(0, 1)  # (rows * S, o)
            sums = _sums(block, tables, feat, neighborhood)
            dweight += weight_gradient(dout, sums, weight)
            # (rows, S, k, c)
            dsums = input_gradient(dout, sums, weight).view(-1, signals, placed.shape[1], channels)
            for part, ds in zip(
                block,
                dsums.split([part.rows.stop - part.rows.start for part in block]),
                strict=True,
            ):
                at = part.clouds, ALL, part.queries
                table = tables[part.table][at].flatten(2)  # (b, n, m * k)
                values = neighborhood.values(feat, part.table, part.clouds).flatten(2)
                # (b, m * k, S * c)
                ds = ds.transpose(1, 2).reshape(len(table), table.shape[2], -1)
                dtables[part.table][at] = (values @ ds.mT).view_as(dtables[part.table][at])
                neighborhood.add_values(table @ ds, dfeat, part.table, part.clouds)
        dkernel = (
            dplaced if neighborhood.slots is None else dplaced.index_select(0, neighborhood.slots)
        )
        return dkernel, dfeat, dweight, grad.sum((0, 1)), None


def _rows(block: list[Part]) -> slice:
    return slice(block[0].rows.start, block[-1].rows.stop)


def _sums(
    block: list[Part], tables: list[Tensor], feat: Tensor, neighborhood: TableNeighborhood
) -> Tensor:
    """Sums over the neighbors of a block's queries, (rows * S, k * c)."""
    parts = [tables[table][clouds, :, queries] for table, clouds, queries, _ in block]
    return outer_sums(
        parts, [neighborhood.values(feat, part.table, part.clouds) for part in block]
    ).flatten(0, 1)
