"""Training, validation and test parts of data: named in the files, or drawn."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gigp.errors import InputError

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
# words for the parts in files, with the index into `PARTS`
WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
WORDS |= {"dev": 1, "testing": 2}

ATTEMPTS, NEXT_SEED = 1000, 1_000_003  # draws of a split, and between their seeds


def check_fractions(val_fraction: float, test_fraction: float) -> tuple[float, float]:
    """Shares of the samples for validation and test, checked."""
    if not (val_fraction > 0 and test_fraction > 0 and val_fraction + test_fraction < 1):
        raise InputError(
            f"val_fraction={val_fraction}, test_fraction={test_fraction}: both must be "
            "positive, and together less than 1."
        )
    return val_fraction, test_fraction


def named_split(
    parts: np.ndarray, what: str, val_fraction: float = 0.1, seed: int = 0
) -> dict[Part, Tensor]:
    """Samples of each part as the files name them; where they name none for validation, a seeded
    share of the training samples.

    Args:
        parts: index into `PARTS` of every sample, (M,).
        what: the samples and how they are named, for messages; ends in the part's name.
        val_fraction: that share.
        seed: seed of that draw.

    Raises:
        InputError: a part has no sample.
    """
    named = {part: torch.from_numpy(np.flatnonzero(parts == i)) for i, part in enumerate(PARTS)}
    if not len(named["val"]) and len(named["train"]) > 1:
        train = named["train"][np.random.RandomState(seed).permutation(len(named["train"]))]
        num = min(max(1, round(val_fraction * len(train))), len(train) - 1)
        named["train"], named["val"] = train[num:].sort().values, train[:num].sort().values
    if empty := [part for part, indices in named.items() if not len(indices)]:
        raise InputError(f"no {what}{empty[0]}; each of train, val and test needs one at least.")
    return named


def drawn_split(
    num: int,
    fractions: tuple[float, float],
    seed: int,
    what: str,
    groups: np.ndarray | None = None,
) -> dict[Part, Tensor]:
    """A seeded draw of samples for each part.

    Args:
        num: number of samples.
        fractions: shares for validation and test.
        seed: seed of the draw.
        what: how many samples there are, as `a.xyz has 3 molecules`, for messages.
        groups: number of the group of every sample, (M,): groups are drawn, and their samples stay
            in one part; None: each sample is one.

    Raises:
        InputError: there are too few samples or groups.
    """
    if groups is not None:
        count = int(groups.max()) + 1
        drawn = drawn_split(count, fractions, seed, f"{what} in {count} groups")
        return {
            part: torch.from_numpy(np.flatnonzero(np.isin(groups, chosen.numpy())))
            for part, chosen in drawn.items()
        }
    val, test = (max(1, round(fraction * num)) for fraction in fractions)
    if num - val - test < 2:
        raise InputError(f"{what}, too few to train on, validate and test; 4 is the least.")
    order = torch.from_numpy(np.random.RandomState(seed).permutation(num))
    return dict(zip(PARTS, order.split([num - val - test, val, test]), strict=True))


def labelled_split(
    num: int,
    fractions: tuple[float, float],
    seed: int,
    what: str,
    known: np.ndarray,
    groups: np.ndarray | None = None,
) -> dict[Part, Tensor]:
    """The first of several draws in which every part has every target; the last, if none has.

    Args:
        num, fractions, seed, what, groups: see `drawn_split`.
        known: whether a sample has a target, (M, T).
    """
    for attempt in range(ATTEMPTS):
        drawn = drawn_split(num, fractions, (seed + attempt * NEXT_SEED) % 2**32, what, groups)
        if all(known[indices.numpy()].any(0).all() for indices in drawn.values()):
            break
    return drawn


def take(parts: dict[Part, Tensor], sizes: Mapping[Part, int | None]) -> dict[Part, Tensor]:
    """The first `sizes[part]` samples of each part; None takes all.

    Raises:
        InputError: a part has fewer samples, or none would be left.
    """
    for part, size in sizes.items():
        if size is not None and not 1 <= size <= len(parts[part]):
            raise InputError(
                f"dataset.{part}_size={size}: this source has {len(parts[part])} samples for "
                f"{part}; choose from 1 to {len(parts[part])}, or null for all."
            )
    return {part: indices[: sizes[part]] for part, indices in parts.items()}
