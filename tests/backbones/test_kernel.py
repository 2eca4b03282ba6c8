"""The kernel MLP by native.c equals its modules, one after the other."""

import copy

import pytest
import torch
from torch import nn

from gigp.backbones.lieconv import native
from gigp.backbones.lieconv.kernel import KernelMLP
from gigp.nn.norm import BatchNorm, RowWeights

needs_native = pytest.mark.skipif(native.library() is None, reason=native.native_status())


def plain(mlp: KernelMLP, x: torch.Tensor) -> torch.Tensor:
    return nn.Sequential.forward(mlp, x)


def ran_native(out: torch.Tensor) -> bool:
    return "NativeKernelMLP" in type(out.grad_fn).__name__


def make_mlp(inputs: int = 6, norm: bool = True) -> KernelMLP:
    """A kernel MLP whose norms do something, each with an eps of its own."""
    mlp = KernelMLP([inputs, 32, 32, 16], norm)
    norms = [module for module in mlp if isinstance(module, nn.BatchNorm1d)]
    for i, norm in enumerate(norms):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.eps = 10.0 ** (-i - 1)
    return mlp


@needs_native
@pytest.mark.parametrize(("inputs", "rows"), [(1, 2), (3, 57), (6, 3001), (15, 48)])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_equals_the_modules_in_training(inputs, rows, momentum):
    """Outputs, gradients and running statistics, also with a mean far from zero."""
    mlp = make_mlp(inputs)
    for norm in list(mlp)[1::3]:
        norm.momentum = momentum
    precise = copy.deepcopy(mlp).double()
    x, grad = torch.randn(rows, inputs) + 10, torch.randn(rows, 16)
    for _ in range(2):
        out, expected = mlp(x), plain(precise, x.double())
    assert ran_native(out)
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-4)
    out.backward(grad)
    expected.backward(grad.double())
    for (name, p), q in zip(mlp.named_parameters(), precise.parameters(), strict=True):
        if p.grad is None:  # a bias before a norm has no effect
            assert name in ("0.bias", "3.bias", "6.bias")
        else:
            assert (p.grad - q.grad).abs().max() < 1e-4 * q.grad.abs().max()
    for p, q in zip(mlp.buffers(), precise.buffers(), strict=True):
        torch.testing.assert_close(p.double(), q.double(), rtol=1e-5, atol=1e-5)


def test_equals_the_modules_in_evaluation():
    mlp = make_mlp()
    x = torch.randn(57, 6)
    mlp(x)
    mlp.eval()
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), plain(mlp, x), rtol=1e-5, atol=1e-5)


def test_values_that_are_not_finite_are_seen():
    """As plain PyTorch: a NaN or an infinity anywhere makes outputs NaN, and is not hidden."""
    for value in (torch.nan, torch.inf):
        x = torch.randn(57, 6)
        x[5, 2] = value
        assert make_mlp()(x).isnan().all()


def test_large_values_saturate():
    mlp = make_mlp().eval()
    nn.init.constant_(mlp[0].weight, 1e6)
    x = torch.randn(57, 6)
    with torch.no_grad():
        # sums of six numbers of 1e6 that may cancel: their rounding depends on the order
        torch.testing.assert_close(mlp(x), plain(mlp, x), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    "case",
    [
        "one row",
        "gradient of positions",
        "no norm",
        "other widths",
        "double precision",
        "mixed precision",
        "many inputs",
    ],
)
def test_plain_pytorch_elsewhere(case):
    mlp = make_mlp(6, case != "no norm")
    x = torch.randn(1 if case == "one row" else 57, 6)
    if case == "other widths":
        mlp = KernelMLP([6, 24, 24, 16])
    if case == "many inputs":
        mlp, x = make_mlp(16), torch.randn(57, 16)
    if case == "double precision":
        mlp, x = mlp.double(), x.double()
    x.requires_grad_(case == "gradient of positions")
    mlp.train(case != "one row")  # batch norm cannot train on one row
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "mixed precision"):
        out = mlp(x)
    assert not ran_native(out)
    out.sum().backward()
    assert x.grad is None or x.grad.isfinite().all()


def test_differentiates_twice():
    mlp = make_mlp()
    x = torch.randn(57, 6)
    found = []
    for f in (mlp, lambda x: plain(mlp, x)):
        weight = mlp[3].weight
        (gradient,) = torch.autograd.grad(f(x).square().sum(), weight, create_graph=True)
        found.append(torch.autograd.grad(gradient.square().sum(), weight)[0])
    assert (found[0] - found[1]).abs().max() < 1e-3 * found[1].abs().max()


@pytest.mark.parametrize("norm", [True, False])
def test_joined_equals_one_by_one(norm):
    """Outputs, gradients and running statistics; some rows do not count."""
    mlps = [make_mlp(norm=norm).double() for _ in range(3)]
    for m in (m for mlp in mlps for m in mlp if isinstance(m, BatchNorm)):
        m.eps = 1e-5
    joined = copy.deepcopy(mlps)
    x, real = torch.randn(57, 6, dtype=torch.float64), torch.rand(57) > 0.3
    weights, found = RowWeights.of(real, torch.float64), []
    for every, out in (
        (mlps, [mlp(x, weights) for mlp in mlps]),
        (joined, KernelMLP.join(joined, x, weights)),
    ):
        for i, values in enumerate(out):
            values[real].pow(i + 1).sum().backward(retain_graph=True)
        found.append([*out, *(p.grad for m in every for p in m.parameters() if p.requires_grad)])
        found[-1] += [b for m in every for b in m.buffers()]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", ["evaluation", "cumulative average", "several processes"])
def test_not_joined(case, monkeypatch):
    mlp = make_mlp()
    assert mlp.can_join()
    if case == "evaluation":
        mlp.eval()
    if case == "cumulative average":
        mlp[1].momentum = None
    if case == "several processes":
        monkeypatch.setattr("gigp.nn.norm.world_size", lambda: 2)
    assert not mlp.can_join()


@needs_native
def test_keeps_a_third_of_the_memory():
    """Bytes that the forward pass keeps for the backward pass."""

    def kept(function) -> int:
        sizes = {}

        def pack(t: torch.Tensor) -> torch.Tensor:
            sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            alive = function()
        del alive
        return sum(sizes.values())

    mlp, x = make_mlp(), torch.randn(5000, 6)
    assert kept(lambda: mlp(x)) < 0.35 * kept(lambda: plain(mlp, x))
