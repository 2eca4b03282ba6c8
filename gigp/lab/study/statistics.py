"""Mean and spread over seeds; differences paired over seeds and test samples; corrections for
several tests.
"""

import copy
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

RESAMPLES = 10_000
CHUNK = 16  # resamples drawn at a time: with 13,083 molecules 2 MB, which stay near the processor
BLOCK = 250  # resamples of which means are taken at a time
ROUNDING = 1e-9  # of the largest difference
FEW = 100  # distinct values of a difference whose numbers in a resample are drawn directly
POWER = 1.43  # (1.96 + 0.84) / 1.96: half an interval becomes the effect seen with a power of 80%


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
    found = given[np.isfinite(given)]
    mean = float(found.mean()) if len(found) else math.nan
    std = float(found.std(ddof=1)) if len(found) > 1 else math.nan
    return Spread(mean, std, len(found), len(given))


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


@dataclass(frozen=True)
class Interval:
    """A mean difference with its 95% interval.

    Attributes:
        mean: mean of the differences.
        low, high: bounds of the interval.
        p: two-sided p value of no difference.
        seeds: number of seeds.
        samples: number of test samples.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: int
    samples: int

    @property
    def verdict(self) -> str:
        """The verdict by the interval, where lower is better: `lower`, `higher` or `unresolved`."""
        return "lower" if self.high < 0 else "higher" if self.low > 0 else "unresolved"

    @property
    def detectable(self) -> float:
        """Smallest effect that would have been seen with a power of 80%."""
        return POWER * (self.high - self.low) / 2


class Resamples:
    """Resamples of test samples, drawn once for each number of samples and shared by all tables.

    Args:
        num: number of resamples.
        seed: seed of the random numbers.
    """

    def __init__(self, num: int = RESAMPLES, seed: int = 0) -> None:
        self.num, self.seed = num, seed
        self._drawn: dict[int, tuple[np.ndarray, np.random.Generator]] = {}

    def sums(self, columns: np.ndarray) -> tuple[np.ndarray, np.random.Generator]:
        """Sums of columns (samples, k) over every resample, (num, k), and random numbers to go on
        with, the same for all columns.

        Errors have few binary digits (`gigp.lab.study.records.KEPT_BITS`), so that their sums over
        seeds and samples are exact, in any order.
        """
        if len(columns) not in self._drawn:
            rng = np.random.default_rng(self.seed)
            self._drawn[len(columns)] = draw_counts(len(columns), self.num, rng), rng
        counts, rng = self._drawn[len(columns)]
        blocks = range(0, self.num, BLOCK)
        sums = [counts[i : i + BLOCK].astype(np.float64) @ columns for i in blocks]
        return np.concatenate(sums), copy.deepcopy(rng)


def draw_counts(num: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `num` samples is in every resample, (resamples, num) uint8."""
    counts = np.empty((resamples, num), np.uint8)
    for start in range(0, resamples, CHUNK):
        size = min(CHUNK, resamples - start)
        drawn = rng.integers(num, size=(size, num))
        drawn += num * np.arange(size)[:, None]
        counted = np.bincount(drawn.ravel(), minlength=size * num)
        counts[start : start + size] = counted.reshape(size, num)
    return counts


def paired_intervals(
    losses: Mapping[Hashable, np.ndarray],
    pairs: Mapping[str, tuple[Hashable, Hashable]],
    resamples: Resamples,
) -> dict[str, Interval]:
    """Hierarchical bootstrap of paired differences over seeds, then over test samples.

    The test samples are the same for all seeds, so a resample draws them once for all. A resample
    of three to five seeds is too narrow at any number of resamples: there are only ten different
    ones of three. At the level of seeds the resample is therefore a draw of Student's t with n - 1
    degrees of freedom times the standard error over seeds (`seed_variance`). A single seed says
    nothing of other seeds; its interval is over test samples alone.

    Args:
        losses: losses by row and target, each (seeds, samples).
        pairs: the two whose difference is taken, by name.
        resamples: resamples of the test samples.
    """
    found: dict[str, Interval] = {}
    for num in sorted({losses[one].shape[1] for one, _ in pairs.values()}):
        mine = {name: pair for name, pair in pairs.items() if losses[pair[0]].shape[1] == num}
        found |= _intervals(losses, mine, resamples)
    return found


def _intervals(
    losses: Mapping[Hashable, np.ndarray],
    pairs: Mapping[str, tuple[Hashable, Hashable]],
    resamples: Resamples,
) -> dict[str, Interval]:
    """The intervals of pairs with the same number of test samples."""
    differences = {name: losses[one] - losses[other] for name, (one, other) in pairs.items()}
    values = {name: _distinct(rows.sum(axis=0)) for name, rows in differences.items()}
    many = dict.fromkeys(key for name, pair in pairs.items() if not values[name] for key in pair)
    rng, sums = np.random.default_rng(resamples.seed), {}
    if many:  # a resampled difference is that of the resampled rows, which many pairs share
        columns = np.stack([losses[key].sum(axis=0) for key in many], axis=1)  # (samples, k)
        table, rng = resamples.sums(columns)
        sums = dict(zip(many, table.T, strict=True))
    found = {}
    for name, rows in differences.items():
        if known := values[name]:
            num, (each, counts) = rows.shape[1], known
            total = rng.multinomial(num, counts / num, size=resamples.num) @ each
        else:
            one, other = pairs[name]
            total = sums[one] - sums[other]
        found[name] = _interval(rows, total / rows.size, rng)
    return found


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The values and the number of each where they are few, as those of digits, whose numbers in a
    resample can be drawn directly; else None.
    """
    if len(np.unique(values[: 2 * FEW])) > FEW:  # saves sorting all of them
        return None
    each, counts = np.unique(values, return_counts=True)
    return (each, counts) if len(each) <= FEW else None


def _interval(values: np.ndarray, means: np.ndarray, rng: np.random.Generator) -> Interval:
    """The interval of differences (seeds, samples) from the means of their resamples."""
    by_seed, resampled = values.mean(axis=1), means
    if len(by_seed) > 1:
        error = math.sqrt(seed_variance(values) / len(by_seed))
        resampled = resampled + error * rng.standard_t(len(by_seed) - 1, len(means))
    # what rounding leaves of a tie, as counts of digits have them
    resampled[np.abs(resampled) < ROUNDING * np.abs(values).max(initial=0)] = 0
    low, high = np.quantile(resampled, [0.025, 0.975])
    tail = float(min(np.mean(resampled <= 0), np.mean(resampled >= 0)))
    p = min(1.0, 2 * (tail * len(means) + 1) / (len(means) + 1))
    return Interval(float(by_seed.mean()), float(low), float(high), p, *values.shape)


def seed_variance(values: np.ndarray) -> float:
    """Variance of the mean difference between seeds, (seeds, samples), without the part due to
    the choice of the test samples, which is resampled already.
    """
    by_seed, by_sample = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = values - by_seed - by_sample + values.mean()
    num_seeds, num = values.shape
    of_samples = float((rest**2).sum()) / ((num_seeds - 1) * max(1, num - 1) * num)
    variance = float(by_seed.var(ddof=1))
    return max(variance / 2, variance - of_samples)  # a difference of estimates: with a floor


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number by Holm's method (1979): the k-th smallest of n times
    n - k + 1, never smaller than the one before.
    """
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    corrected = np.minimum(1, np.maximum.accumulate(np.asarray(p, float)[order] * factors))
    found = np.empty(len(p))
    found[order] = corrected
    return found.tolist()


@dataclass(frozen=True)
class McNemar:
    """Comparison of two classifiers on the same samples.

    Attributes:
        first_only, second_only: samples that only one of the two gets wrong.
        p: exact two-sided p value of equal error rates.
    """

    first_only: int
    second_only: int
    p: float


def mcnemar(first_wrong: np.ndarray, second_wrong: np.ndarray) -> McNemar:
    """Exact McNemar test: the samples that only one classifier gets wrong are a fair coin.

    Args:
        first_wrong, second_wrong: whether each sample is classified wrongly, (n,) booleans.
    """
    first = int((first_wrong & ~second_wrong).sum())
    second = int((second_wrong & ~first_wrong).sum())
    p = float(binomtest(first, first + second).pvalue) if first + second else 1.0
    return McNemar(first, second, p)
