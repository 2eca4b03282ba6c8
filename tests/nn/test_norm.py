"""Batch norm over the rows that count: against plain batch norm on those rows alone."""

import pytest
import torch

from gigp.nn.norm import BatchNorm, NormSequential, RowWeights


@pytest.fixture
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    return 3 * torch.randn(500, 8, dtype=torch.float64) + 1, torch.rand(500) > 0.3


@pytest.mark.parametrize("compiled", [False, True])
def test_rows_that_do_not_count_change_nothing(rows, compiled):
    """Output, gradient and running statistics."""
    x, real = rows
    plain, weighted = BatchNorm(8).double(), BatchNorm(8).double()
    some, full = x[real].clone().requires_grad_(), x.clone().requires_grad_()
    expected = plain(some)
    forward = torch.compile(weighted, backend="eager") if compiled else weighted
    found = forward(full, RowWeights.of(real, torch.float64))[real]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    expected.square().sum().backward()
    found.square().sum().backward()
    torch.testing.assert_close(full.grad[real], some.grad, rtol=1e-10, atol=1e-10)
    assert (full.grad[~real] == 0).all()
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(weighted, name), getattr(plain, name))


@pytest.mark.parametrize("first", [0.0, 30.0])
def test_little_cancels_in_single_precision(rows, first):
    """Far from the origin, and where the first row, from which differences are taken, is far from
    the others.
    """
    x, real = rows[0] + 100, torch.ones(500, dtype=torch.bool)
    x[0] += first
    norm = BatchNorm(8)
    found = torch.compile(norm, backend="eager")(x.float(), RowWeights.of(real, torch.float32))
    expected = (x - x.mean(0)) / x.std(0, correction=0)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(norm.running_var.double(), 0.9 + 0.1 * x.var(0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_stay_in_single_precision(rows, weighted):
    """In mixed precision, as for a network in bf16."""
    x, real = rows[0].float(), rows[1]
    weights = RowWeights.of(real, torch.float32) if weighted else None
    norm, expected = BatchNorm(8), BatchNorm(8)
    expected(x, weights)
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x.bfloat16(), weights)
    assert out.dtype == torch.bfloat16
    for name in ("running_mean", "running_var"):
        assert getattr(norm, name).dtype == torch.float32
        # the rows are rounded to 8 bits, their mean is not
        torch.testing.assert_close(
            getattr(norm, name), getattr(expected, name), rtol=1e-3, atol=1e-3
        )


def test_a_bias_before_a_norm_is_not_trained():
    layers = NormSequential(torch.nn.Linear(4, 8), BatchNorm(8), torch.nn.Linear(8, 2))
    assert [name for name, p in layers.named_parameters() if not p.requires_grad] == ["0.bias"]
