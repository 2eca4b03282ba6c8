"""Spread, intervals, corrections: checked against scipy, by hand, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from gigp.lab.study.statistics import (
    Interval,
    holm,
    paired_interval,
    share_of_samples,
    spread,
    with_error,
)

EFFECT = 0.3


def interval_of(differences: np.ndarray) -> Interval:
    """The interval of differences by seed and sample, as errors against some that vary, too."""
    base = np.random.default_rng(9).standard_normal(differences.shape)
    return paired_interval((base + differences).mean(axis=1), base.mean(axis=1))


def draw(rng, seeds: int, samples: int, of_seed: float, of_sample: float, rest: float):
    """Paired differences with a known mean, and a share of each kind of noise."""
    return (
        EFFECT
        + of_seed * rng.standard_normal((seeds, 1))
        + of_sample * rng.standard_normal((1, samples))
        + rest * rng.standard_normal((seeds, samples))
    )


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_over_seeds_is_that_of_scipy(seeds):
    values = draw(np.random.default_rng(3), seeds, 400, 0.2, 1.0, 0.5)
    ours, by_seed = interval_of(values), values.mean(axis=1)
    low, high = stats.t.interval(0.95, seeds - 1, by_seed.mean(), stats.sem(by_seed))
    test = stats.ttest_1samp(by_seed, 0)
    assert (ours.low, ours.high) == pytest.approx((low, high))
    assert (ours.mean, ours.p) == pytest.approx((by_seed.mean(), test.pvalue))
    assert ours.seeds == seeds
    error = values[0].std(ddof=1) / 20
    assert share_of_samples(values[0], 400) == pytest.approx(1.959964 * error)
    assert share_of_samples(values[0], 1600) == pytest.approx(1.959964 * error / 2)  # a fourth


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_effect_as_often_as_it_says(seeds):
    rng = np.random.default_rng(1)
    intervals = [interval_of(draw(rng, seeds, 50, 0.1, 0.0, 1.0)) for _ in range(1500)]
    held = np.mean([one.low <= EFFECT <= one.high for one in intervals])
    assert 0.93 <= held <= 0.97


@pytest.mark.parametrize("seeds", [3, 5])
def test_what_is_detectable_is_seen_in_four_of_five(seeds):
    """An effect as large as `detectable` says for the true spread over seeds."""
    rng, error = np.random.default_rng(2), 1 / math.sqrt(seeds)
    critical, power = stats.t.ppf([0.975, 0.8], seeds - 1)
    effect = (critical + power) * error
    p = stats.ttest_1samp(effect + rng.standard_normal((4000, seeds)), 0, axis=1).pvalue
    assert 0.76 <= np.mean(p < 0.05) <= 0.93  # a little on the safe side
    one = interval_of(np.array([[0.9], [1.0], [1.1]]))
    sem = 0.1 / math.sqrt(3)
    critical, power = stats.t.ppf([0.975, 0.8], 2)
    assert one.detectable == pytest.approx((critical + power) * sem)


def test_one_seed_says_nothing_about_others():
    one = interval_of(draw(np.random.default_rng(2), 1, 400, 0.0, 1.0, 1.0))
    assert all(math.isnan(x) for x in (one.low, one.high, one.p, one.detectable))
    assert one.verdict == "unresolved"


def test_intervals_say_what_they_show():
    noise = 0.1 * np.random.default_rng(4).standard_normal((3, 500))
    values = {"lower": noise - 1, "higher": noise + 1, "unresolved": noise - noise.mean()}
    found = {name: interval_of(value) for name, value in values.items()}
    assert [one.verdict for one in found.values()] == list(values)
    assert found["lower"].p < 0.01 < 0.5 < found["unresolved"].p


@pytest.mark.parametrize("scale", [1, 3, 7, 1e5])
def test_ties_are_ties_at_any_scale(scale):
    """Equal errors whose last bits differ."""
    values = np.array([1.0, 2.0, 3.0]) / scale
    tie = paired_interval(values * (1 + 1e-15), values)
    assert (tie.mean, tie.p, tie.verdict) == (0, 1, "unresolved")
    same = paired_interval([3 / scale] * 3, [2 / scale] * 3)
    assert same.p < 1e-20  # every seed, by the same amount
    assert same.verdict == "higher"


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.04, never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
    p = np.random.default_rng(0).uniform(size=20)
    bonferroni, plain = np.minimum(1, 20 * p), p
    assert (np.array(holm(p)) <= bonferroni + 1e-15).all()
    assert (np.array(holm(p)) >= plain).all()


def test_spread():
    cell = spread([1.0, 2.0, math.nan])
    assert (cell.mean, cell.num, cell.expected) == (1.5, 2, 3)
    assert cell.std == pytest.approx(np.std([1, 2], ddof=1))
    assert str(cell) == "1.50 ± 0.71 (2 of 3 seeds)"
    assert str(spread([1.0, 2.0])) == "1.50 ± 0.71"
    assert str(spread([3.14159])) == "3.142"
    assert str(spread([math.nan])) == "not run"


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [(100.0, 1.234, "100.0 ± 1.2"), (0.5, 0.0123, "0.500 ± 0.012"), (1.0, 0.0, "1 ± 0")],
)
def test_a_mean_has_two_digits_of_its_spread(mean, std, text):
    assert with_error(mean, std) == text
