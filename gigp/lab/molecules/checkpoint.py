"""What checkpoints hold of a data set of molecules, which may come from anyone."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.molecules.chemistry import Chemistry
from gigp.lab.molecules.training_range import TrainingRange

if TYPE_CHECKING:
    from gigp.lab.molecules.clouds import MoleculeClouds


def pack(data: "MoleculeClouds") -> dict[str, Any]:
    """What predictions need to know of the training set."""
    return {
        "reference": data.reference,
        "references": data.references,
        "positions_std": data.positions_std,
        "offset": data.offset,
        "training_range": data.training_range and list(data.training_range),
        "target_range": data.target_range and [x.tolist() for x in data.target_range],
        "chemistry": data.chemistry and [*data.chemistry],
    }


def unpack(data: "MoleculeClouds", state: dict[str, Any]) -> dict[str, Any]:
    """Set what `pack` has kept, unless the data set is read already, and return the rest.

    Raises:
        InputError: a value is damaged.
    """
    rest = dict(state)
    kept = {name: rest.pop(name, None) for name in pack(data)}
    if hasattr(data, "indices"):
        return rest
    references, num = kept["references"], len(data.targets)
    if references is not None and (kept["reference"] or "atoms") == data.reference:
        data.references = check_references(references, (len(data.features), num))
    if references is not None:  # earlier versions subtracted nothing else
        zero, offset = torch.zeros(1, num, dtype=torch.float64), kept["offset"]
        rows = offset[None] if isinstance(offset, Tensor) and offset.dim() else zero
        data.offset = check_references(rows, (1, num))[0]
    std = kept["positions_std"]
    if std is not None and not (type(std) is float and 0 < std < 1e6):
        raise damaged(f"the scale of positions in the checkpoint is {std!r:.40}")
    data.positions_std = std
    known, targets, chemistry = (
        kept[name] for name in ("training_range", "target_range", "chemistry")
    )
    data.training_range = known and TrainingRange.from_state(known)
    data.target_range = targets and check_range(targets, num)
    if chemistry:
        data.chemistry = Chemistry.from_state(chemistry)
    return rest


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
