"""Training, validation and test parts of the user's own data: named in the files, or drawn."""

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError
from gigp.lab.data.datamodule import Part

PARTS: tuple[Part, ...] = ("train", "val", "test")
# words for the parts in files, with the index into `PARTS`
WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}


def check_fractions(val_fraction: float, test_fraction: float) -> tuple[float, float]:
    """Shares of the samples for validation and test, checked."""
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise InputError(
            f"val_fraction={val_fraction}, test_fraction={test_fraction}: both must be "
            "positive, and together less than 1."
        )
    return val_fraction, test_fraction


def named_split(parts: np.ndarray, what: str) -> dict[Part, Tensor]:
    """Samples of each part as the files name them.

    Args:
        parts: index into `PARTS` of every sample, (M,).
        what: the samples and how they are named, for messages; ends in the part's name.

    Raises:
        InputError: a part has no sample.
    """
    named = {part: torch.from_numpy(np.flatnonzero(parts == i)) for i, part in enumerate(PARTS)}
    if empty := [part for part, indices in named.items() if not len(indices)]:
        raise InputError(f"no {what}{empty[0]}; each of train, val and test needs one at least.")
    return named


def drawn_split(
    num: int, fractions: tuple[float, float], seed: int, what: str
) -> dict[Part, Tensor]:
    """A seeded draw of samples for each part.

    Args:
        num: number of samples.
        fractions: shares for validation and test.
        seed: seed of the draw.
        what: how many samples there are, as `a.xyz has 3 molecules`, for messages.

    Raises:
        InputError: there are too few samples.
    """
    val, test = (max(1, round(fraction * num)) for fraction in fractions)
    if num - val - test < 2:
        raise InputError(f"{what}, too few to train on, validate and test; 4 is the least.")
    order = torch.from_numpy(np.random.RandomState(seed).permutation(num))
    return dict(zip(PARTS, order.split([num - val - test, val, test]), strict=True))
