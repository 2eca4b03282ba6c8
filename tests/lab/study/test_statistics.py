"""Spread, intervals, corrections: checked against scipy, by hand, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from gigp.lab.study.statistics import (
    FEW,
    RESAMPLES,
    Resamples,
    draw_counts,
    holm,
    mcnemar,
    paired_intervals,
    spread,
    with_error,
)

EFFECT = 0.3


def intervals_of(differences, resamples: int = RESAMPLES, seed: int = 0):
    """Intervals of differences by name, as losses against one that has none."""
    losses = {**differences, "none at all": np.zeros_like(next(iter(differences.values())))}
    pairs = {name: (name, "none at all") for name in differences}
    return paired_intervals(losses, pairs, Resamples(resamples, seed))


def draw(rng, seeds: int, samples: int, of_seed: float, of_sample: float, rest: float):
    """Paired differences with a known mean, and a share of each kind of noise."""
    return (
        EFFECT
        + of_seed * rng.standard_normal((seeds, 1))
        + of_sample * rng.standard_normal((1, samples))
        + rest * rng.standard_normal((seeds, samples))
    )


def coverage(simulations: int, *scales: float, seeds: int) -> float:
    """How often the interval holds the effect."""
    rng, held = np.random.default_rng(1), 0
    for i in range(simulations):
        values = {"it": draw(rng, seeds, 200, *scales)}
        interval = intervals_of(values, resamples=1000, seed=i)["it"]
        held += interval.low <= EFFECT <= interval.high
    return held / simulations


@pytest.mark.slow
@pytest.mark.parametrize(
    "scales",
    [(0.1, 0.1, 1.0), (0.05, 1.0, 1.0), (0.1, 1.0, 0.3), (0.02, 1.0, 0.5), (0.0, 1.0, 1.0)],
)
def test_the_interval_covers_the_effect_as_often_as_it_says(scales):
    assert 0.93 <= coverage(1000, *scales, seeds=5) <= 0.97


@pytest.mark.slow
def test_three_seeds_are_covered_too():
    assert 0.94 <= coverage(1000, 0.1, 0.1, 1.0, seeds=3) <= 0.985


def test_resampling_seeds_alone_would_be_too_narrow():
    """Why the level of seeds is a draw of Student's t: five seeds that differ, many samples."""
    rng, held, plain = np.random.default_rng(0), 0, 0
    for i in range(200):
        values = draw(rng, 5, 20, 1.0, 0.0, 0.01)
        interval = intervals_of({"it": values}, resamples=500, seed=i)["it"]
        held += interval.low <= EFFECT <= interval.high
        means = rng.choice(values.mean(axis=1), (500, 5)).mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        plain += low <= EFFECT <= high
    assert held / 200 > 0.91
    assert plain / 200 < 0.88


def test_one_seed_is_scipys_bootstrap():
    values = draw(np.random.default_rng(2), 1, 400, 0.0, 1.0, 1.0)
    ours = intervals_of({"it": values}, resamples=4000)["it"]
    theirs = stats.bootstrap((values[0],), np.mean, n_resamples=4000, method="percentile", rng=0)
    low, high = theirs.confidence_interval
    width = high - low
    assert ours.low == pytest.approx(low, abs=0.05 * width)
    assert ours.high == pytest.approx(high, abs=0.05 * width)
    assert (ours.seeds, ours.samples) == (1, 400)


def test_many_samples_give_the_t_interval_over_seeds():
    values = draw(np.random.default_rng(3), 4, 2000, 1.0, 0.0, 0.01)
    ours = intervals_of({"it": values})["it"]
    by_seed = values.mean(axis=1)
    low, high = stats.t.interval(0.95, 3, by_seed.mean(), stats.sem(by_seed))
    assert ours.mean == pytest.approx(by_seed.mean())
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.07 * (high - low))
    assert ours.p == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue, abs=0.02)


def test_intervals_repeat_and_say_what_they_show():
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((3, 500))
    values = {"less": noise - 1, "more": noise + 1, "none": noise - noise.mean()}
    first, again = intervals_of(values), intervals_of(values)
    assert first == again
    assert [first[name].verdict for name in values] == ["lower", "higher", "unresolved"]
    assert first["less"].p < 0.01 < 0.5 < first["none"].p
    assert first["none"].detectable == pytest.approx(
        1.43 * (first["none"].high - first["none"].low) / 2
    )


def test_ties_are_ties_at_any_scale():
    """Differences of digits are whole numbers; sums of their thirds that cancel leave rounding."""
    values = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=(1, 60), p=[0.2, 0.6, 0.2])
    p = {scale: intervals_of({"it": values / scale})["it"].p for scale in (1, 3, 7, 1e5)}
    assert len(set(p.values())) == 1


def test_counts_are_resamples():
    counts = draw_counts(50, 40, np.random.default_rng(0))
    assert counts.shape == (40, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.max() > 3  # with replacement


def test_many_values_and_few_are_resampled_alike():
    """Few values are drawn by their numbers, many sample by sample."""
    few = np.random.default_rng(5).integers(-1, 3, size=(1, 900)).astype(float)
    many = few + np.linspace(0, 1e-9, few.size)
    assert len(np.unique(many)) > FEW >= len(np.unique(few))
    one, other = intervals_of({"it": few})["it"], intervals_of({"it": many})["it"]
    width = one.high - one.low
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.03 * width)


def test_tables_share_their_resamples():
    """What another table drew before makes no difference."""
    values = draw(np.random.default_rng(6), 3, 300, 0.1, 1.0, 0.3)
    losses = {"one": values, "other": np.zeros_like(values), "third": values**2}
    shared = Resamples(500)
    paired_intervals(losses, {"before": ("third", "other")}, shared)
    pairs = {"it": ("one", "other")}
    assert paired_intervals(losses, pairs, shared) == paired_intervals(
        losses, pairs, Resamples(500)
    )


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.04, never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
    p = np.random.default_rng(0).uniform(size=20)
    bonferroni, plain = np.minimum(1, 20 * p), p
    assert (np.array(holm(p)) <= bonferroni + 1e-15).all()
    assert (np.array(holm(p)) >= plain).all()


def test_mcnemar_counts_what_only_one_gets_wrong():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(size=(2, 5000)) < [[0.03], [0.02]]
    test = mcnemar(first, second)
    only = (int((first & ~second).sum()), int((~first & second).sum()))
    assert (test.first_only, test.second_only) == only
    assert test.p == pytest.approx(min(1, 2 * stats.binom.cdf(min(only), sum(only), 0.5)))
    chi2 = (abs(only[0] - only[1]) - 1) ** 2 / sum(only)
    assert test.p == pytest.approx(stats.chi2.sf(chi2, 1), rel=0.2)
    assert mcnemar(first, first).p == 1


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
