"""Mean and spread over seeds; differences paired over seeds, by Student's t, and
Holm's correction for several tests. Nothing is resampled, so no result depends on random numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from gigp.lab.runs.compare import with_error

LEVEL = 0.95  # of intervals
POWER = 0.8  # with which a detectable effect is seen
ROUNDING = 1e-9  # of an error: a smaller difference is a tie


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of the results of several seeds.

    Attributes:
        mean: over the seeds; NaN without any.
        std: with n - 1 in the denominator; NaN for fewer than two seeds.
        num: number of results.
        expected: number of seeds that the experiment asks for.
    """

    mean: float
    std: float
    num: int
    expected: int

    def __str__(self) -> str:
        """`mean ± std`, and how many seeds where some are missing."""
        return f"{with_error(self.mean, self.std)}{self.seeds}" if self.num else "not run"

    @property
    def seeds(self) -> str:
        """How many seeds there are where some are missing, in brackets."""
        return "" if self.num >= self.expected else f" ({self.num} of {self.expected} seeds)"


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread of results by seed; NaN marks a missing run."""
    given = np.asarray(values, dtype=float)
    known = given[np.isfinite(given)]
    mean = float(known.mean()) if len(known) else math.nan
    std = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return Spread(mean, std, len(known), len(given))


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95% interval over seeds.

    Attributes:
        mean: mean of the differences.
        low, high: bounds of the interval by Student's t over the seeds; NaN for a single seed.
        p: exact two-sided p value of no difference by the same t; NaN for a single seed.
        detectable: smallest effect that would have been seen with a power of 80%; NaN for a single
            seed.
        seeds: number of seeds.
    """

    mean: float
    low: float
    high: float
    p: float
    detectable: float
    seeds: int

    @property
    def verdict(self) -> str:
        """The verdict by the interval, where lower is better: `lower`, `higher` or `unresolved`."""
        return "lower" if self.high < 0 else "higher" if self.low > 0 else "unresolved"


def paired_interval(first: ArrayLike, second: ArrayLike) -> Interval:
    """Difference of two rows of runs, paired over seeds, by Student's t with n - 1 degrees of
    freedom. A single seed says nothing about other seeds, so it has neither interval nor p value.

    Args:
        first, second: errors of the same seeds on the same test samples, so that their difference
            is the mean of the differences on the samples, (seeds,).
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    by_seed = one - other
    by_seed[np.abs(by_seed) <= ROUNDING * np.maximum(np.abs(one), np.abs(other))] = 0
    seeds, mean = len(by_seed), float(by_seed.mean())
    if seeds < 2:
        return Interval(mean, math.nan, math.nan, math.nan, math.nan, seeds)
    error = float(by_seed.std(ddof=1)) / math.sqrt(seeds)
    critical = float(stats.t.ppf((1 + LEVEL) / 2, seeds - 1))
    p = 2 * float(stats.t.sf(abs(mean) / error, seeds - 1)) if error else float(mean == 0)
    # the t quantile of the power is added to that of the level: a little on the safe side
    detectable = (critical + float(stats.t.ppf(POWER, seeds - 1))) * error
    return Interval(mean, mean - critical * error, mean + critical * error, p, detectable, seeds)


def share_of_samples(differences: np.ndarray, num: int) -> float:
    """Half the 95% interval that the choice of the test samples alone makes: other samples, the
    same two trained networks.

    Args:
        differences: of two runs on some of the test samples, (n,).
        num: number of all test samples.
    """
    if len(differences) < 2:
        return 0.0
    error = float(differences.std(ddof=1)) / math.sqrt(num)
    return float(stats.norm.ppf((1 + LEVEL) / 2)) * error


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's method (1979): the k-th smallest of n times
    n - k + 1, never smaller than the one before.
    """
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    corrected = np.minimum(1, np.maximum.accumulate(np.asarray(p, float)[order] * factors))
    adjusted = np.empty(len(p))
    adjusted[order] = corrected
    return adjusted.tolist()
