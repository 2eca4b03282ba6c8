"""The convolution by native.c equals the plain sum and linear layer."""

import pytest
import torch

from gigp.backbones.lieconv import native
from gigp.backbones.lieconv.convolution import NativeConvolution, plain_convolution
from gigp.backbones.lieconv.layer import LieConv
from gigp.backbones.lieconv.native import plain_pytorch
from gigp.backbones.lieconv.neighborhood import TableNeighborhood

GROUPS = [(3, 5, 5), (2, 7, 7), (4, 2, 2)]
needs_native = pytest.mark.skipif(native.library() is None, reason=native.native_status())


def neighborhood(case: str) -> tuple[TableNeighborhood, int, int]:
    """Pairs of several molecules or of an image, all or sampled; points and feature maps."""
    if "sampled" in case:
        maps = 4 if case == "sampled image" else 1
        index, slots = torch.randint(0, 40, (7, 14)), torch.randperm(98)[:70]
        return TableNeighborhood(torch.randn(70, 3), [(1, 40, 7)], index, slots), 40, maps
    if case == "image":
        return TableNeighborhood(torch.randn(45, 3), [(1, 9, 5)]), 9, 4
    places, rows = sum(g * n * m for g, n, m in GROUPS), sum(g * n for g, n, _ in GROUPS)
    return TableNeighborhood(torch.randn(places, 3), GROUPS), rows, 1


@needs_native
@pytest.mark.parametrize(("block", "least_rows"), [(2**19, 1), (3000, 1), (1, 1), (1, 3)])
@pytest.mark.parametrize("channels", [1, 6, 16, 70])
@pytest.mark.parametrize("case", ["molecules", "sampled molecules", "image", "sampled image"])
def test_equals_the_plain_sum(case, channels, block, least_rows, monkeypatch):
    monkeypatch.setattr("gigp.backbones.lieconv.convolution.BLOCK", block)
    monkeypatch.setattr("gigp.backbones.lieconv.convolution.ROWS", least_rows)
    where, rows, maps = neighborhood(case)
    shapes = [(len(where.pairs), 16), (rows, maps, channels), (5, 16 * channels), (5,)]
    inputs = [torch.randn(shape).requires_grad_() for shape in shapes]
    out = NativeConvolution.apply(*inputs, where)
    precise = [x.detach().double().requires_grad_() for x in inputs]
    expected = plain_convolution(*precise, where)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-4)
    grad = torch.randn_like(out)
    found = torch.autograd.grad(out, inputs, grad)
    for mine, plain in zip(
        found, torch.autograd.grad(expected, precise, grad.double()), strict=True
    ):
        assert (mine - plain).abs().max() < 2e-6 * plain.abs().max()


@needs_native
@pytest.mark.parametrize("case", ["molecules", "sampled image"])
def test_layer_runs_native(case):
    where, rows, maps = neighborhood(case)
    layer = LieConv(6, 4, 3)
    feat = torch.randn(rows, maps, 6)
    out = layer(feat, where)
    assert "NativeConvolution" in type(out.grad_fn.next_functions[0][0]).__name__
    with plain_pytorch():
        torch.testing.assert_close(layer(feat, where), out, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["double precision", "other kernel", "no pairs"])
def test_plain_pytorch_elsewhere(case):
    where, rows, maps = neighborhood("molecules")
    layer = LieConv(6, 4, 3, kernel_channels=5 if case == "other kernel" else 16)
    feat = torch.randn(rows, maps, 6)
    if case == "double precision":
        layer, feat, where.pairs = layer.double(), feat.double(), where.pairs.double()
        where.count = where.count.double()
    if case == "no pairs":
        empty = torch.zeros(0, dtype=torch.long)
        where = TableNeighborhood(torch.zeros(0, 3), [(1, 4, 4)], torch.zeros(4, 2).long(), empty)
        feat, layer = torch.randn(4, 1, 6), layer.eval()
    out = layer(feat, where)
    assert "NativeConvolution" not in type(out.grad_fn.next_functions[0][0]).__name__
    assert out.isfinite().all()


@needs_native
def test_nothing_of_the_size_of_the_sums_is_kept():
    """What is saved for the backward pass: kernel, features and weights, but not 16 x channels
    numbers for each query.
    """
    where, rows, maps = neighborhood("molecules")
    kernel, feat = torch.randn(len(where.pairs), 16), torch.randn(rows, maps, 200)
    layer, kept = LieConv(200, 8, 3), []
    kernel.requires_grad_(), feat.requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.append(t.numel()), t)[1], lambda t: t
    ):
        NativeConvolution.apply(kernel, feat, layer.linear.weight, layer.linear.bias, where)
    assert max(kept) < rows * 16 * 200


def test_second_derivatives_of_positions():
    """Where positions need a gradient, as for forces, the layer can be differentiated twice."""
    where, rows, _ = neighborhood("molecules")
    where.pairs.requires_grad_()
    layer = LieConv(6, 4, 3).eval()
    energy = layer(torch.randn(rows, 1, 6), where).sum()
    (force,) = torch.autograd.grad(energy, where.pairs, create_graph=True)
    force.square().sum().backward()
    assert layer.linear.weight.grad.isfinite().all()
    assert layer.linear.weight.grad.abs().max() > 0


def test_second_derivatives_of_features():
    where, rows, maps = neighborhood("sampled molecules")
    layer, feat = LieConv(6, 4, 3), torch.randn(rows, maps, 6).requires_grad_()
    found = []
    for _ in range(2):
        (gradient,) = torch.autograd.grad(
            layer(feat, where).square().sum(), feat, create_graph=True
        )
        found.append(torch.autograd.grad(gradient.square().sum(), feat)[0])
        with plain_pytorch():
            (gradient,) = torch.autograd.grad(
                layer(feat, where).square().sum(), feat, create_graph=True
            )
            found.append(torch.autograd.grad(gradient.square().sum(), feat)[0])
    assert (found[0] - found[1]).abs().max() < 1e-3 * found[1].abs().max()
