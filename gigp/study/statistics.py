"""Mean and spread over seeds, and comparisons paired over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from gigp.errors import InputError

MOST_PAIRS = 22  # whose sign flips are all enumerated


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of the runs of a cell."""

    mean: float
    std: float  # NaN for a single run
    num: int
    expected: int  # seeds that the experiment asks for; num where it asks for none

    def __str__(self) -> str:
        """`mean ± std (n)`, or `(n of m)` where seeds are missing."""
        if not self.num:
            return "missing"
        seeds = f"{self.num}" if self.num >= self.expected else f"{self.num} of {self.expected}"
        return f"{with_error(self.mean, self.std)} ({seeds})"


def spread(values: Sequence[float]) -> Spread:
    """Of results of several seeds; NaN stands for a run that is missing."""
    given = np.asarray(values, dtype=float)
    found = given[np.isfinite(given)]
    mean = float(found.mean()) if len(found) else math.nan
    return Spread(
        mean, float(found.std(ddof=1)) if len(found) > 1 else math.nan, len(found), len(given)
    )


@dataclass(frozen=True)
class Paired:
    """Mean of paired differences, its 95% t interval, and the exact p value of the sign-flip
    permutation test.
    """

    difference: float
    percent: float  # of the mean of what is compared with
    low: float  # NaN for a single pair
    high: float
    p: float
    num: int

    @property
    def verdict(self) -> str:
        """What the interval says of a result where lower is better."""
        if self.num < 2:
            return "open" if self.num else "missing"
        return "lower" if self.high < 0 else "higher" if self.low > 0 else "same"

    def __str__(self) -> str:
        """`difference [low, high], p`."""
        if not self.num:
            return "missing"
        if self.num == 1:
            return f"{self.difference:+.3g} (one pair)"
        return f"{self.difference:+.3g} [{self.low:+.3g}, {self.high:+.3g}], p {self.p:.2g}"


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Compare two methods over the same seeds, in the same order; pairs with a NaN do not count."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    both = np.isfinite(ours) & np.isfinite(theirs)
    difference, num = (ours - theirs)[both], int(both.sum())
    if not num:
        return Paired(*[math.nan] * 5, 0)
    mean = float(difference.mean())
    scale = float(theirs[both].mean())
    percent = 100 * mean / scale if scale else math.nan
    if num == 1:
        return Paired(mean, percent, math.nan, math.nan, math.nan, 1)
    half = float(stdtrit(num - 1, 0.975)) * float(difference.std(ddof=1)) / math.sqrt(num)
    return Paired(mean, percent, mean - half, mean + half, sign_flip_p(difference), num)


def sign_flip_p(difference: np.ndarray) -> float:
    """Share of all sign flips of the differences whose sum is at least as far from 0 as theirs:
    exact, two-sided.

    Raises:
        InputError: too many differences to enumerate 2^n flips.
    """
    if len(difference) > MOST_PAIRS:
        raise InputError(
            f"{len(difference)} pairs are too many for the exact test, which takes {MOST_PAIRS} at "
            "most."
        )
    sums = np.zeros(1)
    for d in difference:
        sums = np.concatenate([sums - d, sums + d])
    return float(np.mean(np.abs(sums) >= abs(difference.sum()) * (1 - 1e-12)))


def with_error(mean: float, std: float) -> str:
    """A mean to two digits of its standard deviation, but to five of its own at most; to four where
    there is none.
    """
    if math.isnan(std):
        return f"{mean:.4g}"
    if std == 0:
        return f"{mean:.4g} ± 0"
    decimals = 1 - math.floor(math.log10(std))
    if mean:
        decimals = min(decimals, 4 - math.floor(math.log10(abs(mean))))
    decimals = max(0, decimals)
    return f"{mean:.{decimals}f} ± {std:.{decimals}f}"
