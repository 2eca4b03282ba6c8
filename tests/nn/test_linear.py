"""Linear layers by oneDNN are linear layers."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gigp.nn.linear import FEW_NUMBERS, call_linear


def relative(x: torch.Tensor, y: torch.Tensor) -> float:
    return float((x - y).detach().abs().max() / y.detach().abs().max())


def ways(layer: nn.Linear, relu: bool = False) -> tuple:
    """Our call of a layer, and of a rectifier after it, and PyTorch's."""
    if relu:
        return partial(call_linear, layer, following=nn.ReLU()), nn.Sequential(layer, nn.ReLU())
    return partial(call_linear, layer), layer


@pytest.fixture(autouse=True)
def use_onednn_for_few_numbers(monkeypatch):
    monkeypatch.setattr("gigp.nn.linear.FEW_NUMBERS", 0)


@pytest.mark.parametrize("onednn_gradients", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "shape", [(1, 3, 5), (15, 6, 4), (1403, 64, 32), (1403, 32, 64), (1024, 5, 1), (37, 1, 16)]
)
def test_equals_the_plain_layer(shape, bias, relu, onednn_gradients, monkeypatch):
    monkeypatch.setattr("gigp.nn.linear.ONEDNN_GRADIENTS", onednn_gradients)
    rows, i, o = shape
    layer = nn.Linear(i, o, bias)
    x = torch.randn(rows, i).requires_grad_()
    out, expected = (call(x) for call in ways(layer, relu))
    assert "OneDNNLinear" in type(out.grad_fn.next_functions[0][0]).__name__
    assert out.is_contiguous()
    assert relative(out, expected) < 2e-6
    grad = torch.randn_like(out)
    found = torch.autograd.grad(out, [x, *layer.parameters()], grad)
    for mine, other in zip(
        found, torch.autograd.grad(expected, [x, *layer.parameters()], grad), strict=True
    ):
        assert mine.shape == other.shape
        assert relative(mine, other) < 1e-5


@pytest.mark.parametrize(("onednn_gradients", "products"), [(True, 3), (False, 1)])
def test_runs_on_onednn(onednn_gradients, products, monkeypatch):
    """Forward, and both gradients but on Intel's processors; small inputs are left to PyTorch."""
    monkeypatch.undo()
    monkeypatch.setattr("gigp.nn.linear.ONEDNN_GRADIENTS", onednn_gradients)
    for rows, ours in ((FEW_NUMBERS // 8 + 8, True), (FEW_NUMBERS // 8 - 8, False)):
        layer, x = nn.Linear(8, 6), torch.randn(rows, 8).requires_grad_()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            call_linear(layer, x).sum().backward()
        calls = {event.key: event.count for event in profile.key_averages()}
        assert calls.get("mkldnn::_linear_pointwise", 0) == (products if ours else 0)
        assert ("aten::addmm" in calls) != ours


@pytest.mark.parametrize("relu", [True, False])
def test_differentiates_twice(relu):
    """As for forces that are trained on."""
    layer, x = nn.Linear(8, 6), torch.randn(40, 8).requires_grad_()
    found = []
    for call in ways(layer, relu):
        (force,) = torch.autograd.grad(call(x).tanh().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(force.square().sum(), (x, layer.weight)))
    for mine, other in zip(*found, strict=True):
        assert relative(mine, other) < 1e-5


def test_any_leading_shape_and_no_rows():
    layer = nn.Linear(4, 3)
    for shape in ((4,), (2, 4), (2, 5, 4), (0, 4), (3, 0, 4)):
        x = torch.randn(shape)
        torch.testing.assert_close(call_linear(layer, x), F.linear(x, layer.weight, layer.bias))


@pytest.mark.parametrize("case", ["double precision", "mixed precision"])
def test_pytorch_decides_elsewhere(case):
    layer, x = nn.Linear(4, 3), torch.randn(20, 4)
    if case == "double precision":
        layer, x = layer.double(), x.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "mixed precision"):
        out = call_linear(layer, x)
    assert "OneDNNLinear" not in type(out.grad_fn).__name__
    assert out.dtype == (torch.bfloat16 if case == "mixed precision" else torch.float64)


def test_gradients_by_functorch():
    layer, x = nn.Linear(4, 3), torch.randn(20, 4)
    found, expected = (
        torch.func.grad(lambda x, call=call: call(x).square().sum())(x) for call in ways(layer)
    )
    torch.testing.assert_close(found, expected)


def test_hooks_of_a_rectifier_run_and_nan_stays():
    layer, relu, seen = nn.Linear(4, 3), nn.ReLU(), []
    x = torch.full((2, 4), torch.nan)
    assert call_linear(layer, x, relu).isnan().all()
    relu.register_forward_hook(lambda *call: seen.append(call[1][0]))
    call_linear(layer, -x, relu)
    assert len(seen) == 1
