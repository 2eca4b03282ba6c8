"""The public symmetry checks accept symmetric functions and name the error of others."""

import pytest
import torch

from gigp.errors import InputError
from gigp.groups import SE3, SO2, SO3, T
from gigp.testing import (
    assert_equivariant,
    assert_invariant,
    describe_invariance,
    random_element,
)


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def pos(request):
    return torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(
        request.param
    )


def test_accepts_invariants(pos):
    assert_invariant(lambda x: x.norm(dim=-1), SO3(), pos)
    assert_invariant(lambda x: torch.cdist(x, x), T(3), pos)


def test_accepts_equivariants(pos):
    assert_equivariant(lambda x: x * x.norm(dim=-1, keepdim=True), SO3(), pos)
    assert_equivariant(lambda x: x.mean(1), T(3), pos)
    assert_equivariant(
        lambda x: torch.einsum("bni,bnj->bij", x, x), SO3(), pos, lambda g, y: g @ y @ g.mT
    )


@pytest.mark.parametrize(
    "fn",
    [lambda x: x[..., 0], lambda x: x.abs().sum(-1), lambda x: x.norm(dim=-1) + 1e-2 * x[..., 0]],
)
def test_rejects_what_is_not_invariant(pos, fn):
    with pytest.raises(
        AssertionError, match=r"not equivariant under SO\(3\): element 0 .*of its largest value"
    ):
        assert_invariant(fn, SO3(), pos)


def test_a_sum_of_vector_components_is_not_invariant():
    with pytest.raises(AssertionError):
        assert_invariant(lambda x: x.sum(-1), SO2(), torch.randn(5, 2))


def test_rejects_nan(pos):
    with pytest.raises(AssertionError, match="not finite"):
        assert_invariant(lambda x: x / 0, SO3(), pos)


def test_refuses_what_cannot_be_checked(pos):
    for given, group, message in (
        (pos, SO3, r"group is the class SO3; pass an object of it"),
        (pos.half(), SO3(), r"pos is of torch\.float16; pass pos\.double\(\), or give tolerance="),
        (pos.numpy(), SO3(), "pos is a ndarray; pass a tensor"),
    ):
        with pytest.raises(InputError, match=message):
            assert_invariant(lambda x: x.norm(dim=-1), group, given)
    assert_invariant(lambda x: x.norm(dim=-1), SO3(), pos.half(), tolerance=1e-2)


def test_elements_repeat_by_seed():
    assert torch.equal(random_element(SO3(), 3), random_element(SO3(), 3))
    assert not torch.equal(random_element(SO3(), 3), random_element(SO3(), 3, seed=1))


def test_a_sentence_about_any_model():
    pos = torch.randn(5, 3).double()
    said = describe_invariance(lambda pos: torch.cdist(pos, pos), SE3(), pos)
    assert said.startswith(
        "invariant, up to rounding: 4 random elements of SE(3) change the output"
    )
    said = describe_invariance(lambda pos: pos.sum(0), SE3(), pos)
    assert said.startswith("not invariant: ")
