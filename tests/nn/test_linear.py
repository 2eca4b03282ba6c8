"""Linear layers on oneDNN are linear layers."""

import pytest
import torch
import torch.nn.functional as F

from gigp.nn.linear import LARGE, Linear, linear, weight_gradient


def relative(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x - y).detach().abs().max() / y.detach().abs().max())


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    monkeypatch.setattr("gigp.nn.linear.LARGE", 0)


@pytest.mark.parametrize(
    "shape", [(1, 3, 5), (15, 6, 4), (1403, 64, 32), (1024, 5, 1), (37, 1, 16)]
)
def test_equals_the_plain_layer(shape):
    rows, i, o = shape
    inputs = [torch.randn(size).requires_grad_() for size in ((rows, i), (o, i), (o,))]
    out, expected = linear(*inputs), F.linear(*inputs)
    assert "OneDNNLinear" in type(out.grad_fn).__name__
    assert out.is_contiguous()
    assert relative(out, expected) < 2e-6
    grad = torch.randn_like(out)
    for mine, plain in zip(
        *(torch.autograd.grad(y, inputs, grad) for y in (out, expected)), strict=True
    ):
        assert mine.shape == plain.shape
        assert relative(mine, plain) < 1e-5


@pytest.mark.parametrize("threads", [1, 2])
def test_runs_on_onednn(threads, monkeypatch):
    """Forward and both gradients; small images, which PyTorch does not give to it, are left to the
    plain layer.
    """
    monkeypatch.undo()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for rows, ours in ((LARGE // 8 + 8, True), (LARGE // 8 - 8, False)):
        x, weight = torch.randn(rows, 8).requires_grad_(), torch.randn(6, 8).requires_grad_()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            linear(x, weight).sum().backward()
        names = {event.key for event in profile.key_averages()}
        assert ("aten::mkldnn_convolution" in names) == ours
        assert not names & {"aten::slow_conv_dilated2d", "aten::thnn_conv2d"}
    torch.set_num_threads(before)


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
    assert "OneDNNLinear" not in type(out.grad_fn).__name__
    assert out.dtype == (torch.bfloat16 if case == "mixed precision" else torch.float64)


@pytest.mark.parametrize("many", [1, 2**31])
def test_either_library_makes_weight_gradients(many, monkeypatch):
    """Which one does depends on the vectors of the CPU; both are held to double precision here."""
    monkeypatch.setattr("gigp.nn.linear.MANY", many)
    grad, x, weight = torch.randn(4099, 24), torch.randn(4099, 40), torch.randn(24, 40)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        found = weight_gradient(grad, x, weight)
    assert relative(found.double(), grad.double().t() @ x.double()) < 1e-5
    assert any("convolution_backward" in event.key for event in profile.key_averages()) == (
        many > 1
    )
