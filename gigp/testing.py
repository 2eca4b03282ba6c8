"""Symmetry checks for your own layers: random group elements in double precision, and a message
that shows the one that fails.

    from gigp.groups import SO3
    from gigp.testing import assert_invariant
    assert_invariant(lambda pos: model(feat, pos, mask), SO3(), pos)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.groups import Group
from gigp.groups.base import check_group
from gigp.pointcloud import check_tensors

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}


def random_element(
    group: Group, num: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """`num` random elements of a group, the same for the same seed, (num, rep_dim, rep_dim).

    Examples:
        >>> from gigp.groups import SO2
        >>> random_element(SO2(), 5).shape
        torch.Size([5, 2, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    return group.random(num, generator=generator, dtype=dtype)


def assert_invariant(
    fn: Callable[[Tensor], Tensor],
    group: Group,
    pos: Tensor,
    *,
    num: int = 4,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Check fn(g x) = fn(x) for random g.

    Args:
        fn: maps positions (..., d) to a tensor.
        group: the group that acts on the positions.
        pos: positions, (..., d).
        num: number of random elements.
        tolerance: largest error allowed, relative to the largest output; None: 1e-8 for positions
            in double precision, 1e-3 in single precision.
        seed: seed of the random elements.

    Raises:
        AssertionError: with the element, and the absolute and the relative error.

    Examples:
        >>> from gigp.groups import SO3
        >>> pos = torch.randn(4, 3, dtype=torch.float64)
        >>> assert_invariant(lambda pos: pos.norm(dim=-1), SO3(), pos)
        >>> assert_invariant(lambda pos: pos.amax(0), SO3(), pos)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        AssertionError: not equivariant under SO(3): element 0 changes the output by ...
    """
    assert_equivariant(fn, group, pos, lambda g, y: y, num=num, tolerance=tolerance, seed=seed)


def assert_equivariant(
    fn: Callable[[Tensor], Tensor],
    group: Group,
    pos: Tensor,
    act_out: Callable[[Tensor, Tensor], Tensor] | None = None,
    *,
    num: int = 4,
    tolerance: float | None = None,
    seed: int = 0,
) -> None:
    """Check fn(g x) = g fn(x) for random g.

    Args:
        fn: maps positions (..., d) to a tensor.
        group: the group that acts on the positions.
        pos: positions, (..., d).
        act_out: action of an element on the output, `act_out(g, y)`; None: as on positions.
        num: number of random elements.
        tolerance: see `assert_invariant`.
        seed: seed of the random elements.

    Raises:
        AssertionError: with the element, and the absolute and the relative error.
        InputError: something else than a group, or positions of another type.

    Examples:
        >>> from gigp.groups import SO3
        >>> pos = torch.randn(4, 3, dtype=torch.float64)
        >>> assert_equivariant(lambda pos: pos.mean(0), SO3(), pos)  # it turns with them
    """
    check_group(group)
    check_tensors(pos=pos)
    act_out = act_out or group.act
    if tolerance is None:
        if pos.dtype not in TOLERANCE:
            raise InputError(f"pos is of {pos.dtype}; pass pos.double(), or give tolerance=.")
        tolerance = TOLERANCE[pos.dtype]
    expected = fn(pos).detach()
    if not expected.isfinite().all():
        raise AssertionError(
            f"the output has {int((~expected.isfinite()).sum())} values that are not finite."
        )
    for i, g in enumerate(random_element(group, num, seed=seed)):
        moved = fn(group.act(g, pos.double()).to(pos.dtype)).detach().double()
        target = act_out(g, expected.double())
        error, scale = float((moved - target).abs().max()), float(target.abs().max())
        if not error <= tolerance * max(scale, 1e-30):
            rows = "\n".join(
                "  " + " ".join(f"{value: .4f}" for value in row) for row in g.tolist()
            )
            raise AssertionError(
                f"not equivariant under {group}: element {i} changes the output by {error:.2e}, "
                f"{error / max(scale, 1e-30):.2e} of its largest value {scale:.2e} (allowed "
                f"{tolerance:.0e}). The element:\n{rows}"
            )


@torch.no_grad()
def describe_invariance(
    fn: Callable[[Tensor], Tensor], group: Group, pos: Tensor, *, num: int = 4, seed: int = 0
) -> str:
    """One sentence about how far fn(g x) is from fn(x), for a model that may well not be invariant.

    Args:
        fn: maps positions (..., d) to a tensor.
        group: the group that acts on the positions.
        pos: positions, (..., d); in double precision rounding is out of the way.
        num: number of random elements.
        seed: seed of the random elements.

    Raises:
        InputError: something else than a group, or positions of another type.

    Examples:
        >>> from gigp.groups import SO3
        >>> pos = torch.randn(4, 3, dtype=torch.float64)
        >>> describe_invariance(lambda pos: pos.norm(dim=-1), SO3(), pos)  # doctest: +ELLIPSIS
        'invariant, up to rounding: 4 random elements of SO(3) change the output by at most ...'
    """
    check_group(group)
    check_tensors(pos=pos)
    expected = fn(pos).double()
    elements = random_element(group, num, seed=seed)
    outputs = [fn(group.act(g, pos.double()).to(pos.dtype)).double() for g in elements]
    error = max(float((out - expected).abs().max()) for out in outputs)
    relative = error / max(float(expected.abs().max()), 1e-30)
    holds = relative <= TOLERANCE.get(pos.dtype, TOLERANCE[torch.float32])
    verdict = "invariant, up to rounding" if holds else "not invariant"
    return (
        f"{verdict}: {num} random elements of {group} change the output by at most "
        f"{relative:.1e} of its largest value"
    )
