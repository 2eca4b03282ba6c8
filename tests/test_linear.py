"""Linear layers on oneDNN are linear layers."""

import pytest
import torch
import torch.nn.functional as F

from gigp.linear import Linear, linear


def relative(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x - y).detach().abs().max() / y.detach().abs().max())


@pytest.mark.parametrize("shape", [(1, 3, 5), (15, 6, 4), (1403, 64, 32), (1024, 5, 1), (37, 1, 16)])
def test_equals_the_plain_layer(shape):
    rows, i, o = shape
    inputs = [torch.randn(size).requires_grad_() for size in ((rows, i), (o, i), (o,))]
    out, expected = linear(*inputs), F.linear(*inputs)
    assert "Product" in type(out.grad_fn).__name__
    assert out.is_contiguous()
    assert relative(out, expected) < 2e-6
    grad = torch.randn_like(out)
    for mine, plain in zip(*(torch.autograd.grad(y, inputs, grad) for y in (out, expected)), strict=True):
        assert mine.shape == plain.shape
        assert relative(mine, plain) < 1e-5


def test_differentiates_twice():
    """As for forces that are trained on."""
    x, weight = torch.randn(40, 8).requires_grad_(), torch.randn(6, 8).requires_grad_()
    found = []
    for f in (linear, F.linear):
        (force,) = torch.autograd.grad(f(x, weight).tanh().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(force.square().sum(), (x, weight)))
    for mine, plain in zip(*found, strict=True):
        assert relative(mine, plain) < 1e-5


def test_any_leading_shape_and_no_rows():
    layer = Linear(4, 3)
    for shape in ((4,), (2, 4), (2, 5, 4), (0, 4), (3, 0, 4)):
        x = torch.randn(shape)
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("case", ["double precision", "mixed precision"])
def test_pytorch_decides_elsewhere(case):
    x, weight = torch.randn(20, 4), torch.randn(3, 4).requires_grad_()
    if case == "double precision":
        x, weight = x.double(), weight.detach().double().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "mixed precision"):
        out = linear(x, weight)
    assert "Product" not in type(out.grad_fn).__name__
    assert out.dtype == (torch.bfloat16 if case == "mixed precision" else torch.float64)
