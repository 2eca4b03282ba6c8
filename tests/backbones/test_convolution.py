"""Block by block, a convolution is what the plain sum and linear layer are."""

import pytest
import torch
import torch.nn.functional as F

from gigp.backbones.lieconv import convolution
from gigp.backbones.lieconv.convolution import Convolution, cut
from gigp.backbones.lieconv.layer import LieConv
from gigp.backbones.lieconv.neighborhood import TableNeighborhood

GROUPS = [(3, 5, 5), (2, 7, 7), (4, 2, 2)]


def neighborhood(case: str) -> tuple[TableNeighborhood, int, int]:
    """Pairs of several molecules or of an image, all or sampled; points and feature maps."""
    if "sampled" in case:
        maps = 4 if case == "sampled image" else 1
        index, slots = torch.randint(0, 40, (7, 4)), torch.randperm(28)[:20]
        return TableNeighborhood(torch.randn(20, 3).double(), [(1, 40, 7)], index, slots), 40, maps
    if case == "image":
        return TableNeighborhood(torch.randn(45, 3).double(), [(1, 9, 5)]), 9, 4
    places, rows = sum(g * n * m for g, n, m in GROUPS), sum(g * n for g, n, _ in GROUPS)
    return TableNeighborhood(torch.randn(places, 3).double(), GROUPS), rows, 1


@pytest.mark.parametrize("block", [2**19, 3000, 500, 1])
@pytest.mark.parametrize("case", ["molecules", "sampled molecules", "image", "sampled image"])
def test_equals_the_plain_sum(case, block, monkeypatch):
    monkeypatch.setattr(convolution, "BLOCK", block)
    where, rows, maps = neighborhood(case)
    shapes = [(len(where.pairs), 16), (rows, maps, 6), (5, 16 * 6), (5,)]
    inputs = [torch.randn(shape).double().requires_grad_() for shape in shapes]
    kernel, feat, weight, bias = inputs
    out = Convolution.apply(*inputs, where)
    expected = F.linear(where.sum(kernel, feat), weight, bias)
    torch.testing.assert_close(out, expected)
    grad = torch.randn_like(out)
    for mine, plain in zip(
        *(torch.autograd.grad(y, inputs, grad) for y in (out, expected)), strict=True
    ):
        torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("block", [10**9, 60, 7, 1])
def test_blocks_cover_every_query_once(block, monkeypatch):
    monkeypatch.setattr(convolution, "BLOCK", block)
    seen = []
    for parts in cut(GROUPS, numbers=2):
        size = sum(part.rows.stop - part.rows.start for part in parts)
        assert size <= max(1, block // 2)
        for table, clouds, queries, rows in parts:
            own = [
                (table, c, q)
                for c in range(clouds.start, clouds.stop)
                for q in range(queries.start, queries.stop)
            ]
            assert len(own) == rows.stop - rows.start
            assert rows.start == len(seen)
            seen += own
    assert seen == [
        (i, c, q) for i, (g, _, m) in enumerate(GROUPS) for c in range(g) for q in range(m)
    ]


def test_nothing_of_the_size_of_the_outer_products_is_kept():
    """What is saved for the backward pass: kernel, features, weights, nothing of 16 x channels for
    each query.
    """
    where, rows, maps = neighborhood("molecules")
    kernel, feat = (
        torch.randn(len(where.pairs), 16).double(),
        torch.randn(rows, maps, 200).double(),
    )
    layer, kept = LieConv(200, 8, 3).double(), []
    kernel.requires_grad_(), feat.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.append(t.numel()), t)[1], lambda t: t
    ):
        Convolution.apply(kernel, feat, layer.linear.weight, layer.linear.bias, where)
    assert max(kept) < rows * 16 * 200


def test_second_derivatives_of_positions():
    """Where positions need a gradient, as for forces, the layer can be differentiated twice."""
    where, rows, _ = neighborhood("molecules")
    where.pairs.requires_grad_()
    layer = LieConv(6, 4, 3).double().eval()
    energy = layer(torch.randn(rows, 1, 6).double(), where).sum()
    (force,) = torch.autograd.grad(energy, where.pairs, create_graph=True)
    force.square().sum().backward()
    assert layer.linear.weight.grad.isfinite().all()
    assert layer.linear.weight.grad.abs().max() > 0
