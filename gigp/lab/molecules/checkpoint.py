"""What checkpoints hold of a data set of molecules, which may come from anyone."""

from typing import Any

import torch
from torch import Tensor

from gigp.errors import InputError


def check_references(references: Any, shape: tuple[int, int]) -> Tensor:
    """Reference values of atoms by nuclear charge, (Z, T) float64.

    Raises:
        InputError: they are none of this shape.
    """
    if not (
        isinstance(references, Tensor)
        and references.shape == shape
        and references.dtype == torch.float64
        and bool(references.isfinite().all())
    ):
        raise damaged(
            f"the reference values of atoms in the checkpoint are not a finite {shape} table"
        )
    return references


def check_range(state: Any, num: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest of the training targets, (T,) each.

    Args:
        num: number of targets T.

    Raises:
        InputError: they are no such numbers.
    """
    try:
        low, high = torch.tensor(state)
        fits = low.shape == (num,) and bool((low <= high).all() and (high - low).isfinite().all())
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits:
        raise damaged(f"the range of the targets in the checkpoint is {state!r:.60}")
    return low, high


def missing(what: str) -> InputError:
    """The error for what earlier versions did not keep."""
    return InputError(
        f"the checkpoint lacks {what}, as those of earlier versions do; train the run again with "
        "overwrite=true."
    )


def damaged(what: str) -> InputError:
    """The error for what no run has written."""
    return InputError(f"{what}; it is damaged. Start again with overwrite=true.")
