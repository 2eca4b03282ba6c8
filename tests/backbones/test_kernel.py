"""The kernel MLP: block by block it is what the plain modules are."""

import copy

import pytest
import torch
from torch import nn

from gigp.backbones.lieconv import kernel
from gigp.backbones.lieconv.kernel import KernelMLP


def plain(mlp: KernelMLP, x: torch.Tensor) -> torch.Tensor:
    return nn.Sequential.forward(mlp, x)


@pytest.fixture
def mlp(monkeypatch) -> KernelMLP:
    """A kernel MLP in double precision that calls more than 40 rows many; norms that do
    something.
    """
    monkeypatch.setattr(kernel, "BLOCK", 10)
    mlp = KernelMLP([6, 32, 32, 16]).double()
    for norm in list(mlp)[1::3]:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return mlp


def test_blocks_equal_plain_modules_in_training(mlp):
    other = copy.deepcopy(mlp)
    x, grad = torch.randn(57, 6).double(), torch.randn(57, 16).double()
    out, expected = mlp(x), plain(other, x)
    assert "Blockwise" in type(out.grad_fn).__name__
    torch.testing.assert_close(out, expected)
    out.backward(grad)
    expected.backward(grad)
    for (name, p), q in zip(mlp.named_parameters(), other.parameters(), strict=True):
        if p.grad is None:  # a bias before a norm has no effect
            assert name in ("0.bias", "3.bias", "6.bias")
            assert q.grad.abs().max() < 1e-12
        else:
            torch.testing.assert_close(p.grad, q.grad)
    for p, q in zip(mlp.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(p, q)


def test_blocks_equal_plain_modules_in_evaluation(mlp):
    x = torch.randn(57, 6).double()
    mlp(x)
    mlp.eval()
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), plain(mlp, x))


@pytest.mark.parametrize(
    "case", ["few rows", "gradient of positions", "no norm", "mixed precision"]
)
def test_plain_modules_where_blocks_do_not_serve(mlp, case):
    x = torch.randn(20 if case == "few rows" else 57, 6).double()
    if case == "no norm":
        mlp = KernelMLP([6, 32, 16], norm=False).double()
    x.requires_grad_(case == "gradient of positions")
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "mixed precision"):
        out = mlp(x)
    assert "Blockwise" not in type(out.grad_fn).__name__
    out.sum().backward()
    assert x.grad is None or x.grad.isfinite().all()


def test_keeps_a_third_of_the_memory(mlp):
    """Bytes that the forward pass keeps for the backward pass, for each row."""

    def kept(function) -> float:
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (
                sizes.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}),
                t,
            )[1],
            lambda t: t,
        ):
            alive = function()
        del alive
        return sum(sizes.values())

    x = torch.randn(5000, 6).double()
    assert kept(lambda: mlp(x)) < 0.45 * kept(lambda: plain(mlp, x))
