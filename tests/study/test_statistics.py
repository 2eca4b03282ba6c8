"""Paired statistics against scipy."""

import numpy as np
import pytest
from scipy import stats

from gigp.errors import InputError
from gigp.study.statistics import paired, sign_flip_p, spread, with_error


@pytest.mark.parametrize("num", [2, 3, 5, 9])
def test_paired_agrees_with_scipy(num):
    rng = np.random.default_rng(num)
    ours, theirs = rng.normal(1, 1, num), rng.normal(1.5, 1, num)
    test = paired(ours, theirs)
    reference = stats.ttest_rel(ours, theirs)
    low, high = reference.confidence_interval(0.95)
    assert test.difference == pytest.approx((ours - theirs).mean())
    assert (test.low, test.high) == pytest.approx((low, high))
    flips = stats.permutation_test(
        (ours - theirs,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert test.p == pytest.approx(flips.pvalue)
    assert test.num == num


def test_pairs_with_a_missing_run_do_not_count():
    test = paired([1.0, np.nan, 3.0], [0.0, 5.0, 1.0])
    assert (test.num, test.difference) == (2, 1.5)


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ([1, 2, 3.1], "lower"),
        ([21, 22, 23.1], "higher"),
        ([12, 12, 12.0], "same"),
        ([1, np.nan, np.nan], "open"),
        ([np.nan] * 3, "missing"),
    ],
)
def test_verdict(ours, verdict):
    assert paired(ours, [11.0, 12.0, 13.0]).verdict == verdict


def test_too_many_flips_are_refused():
    with pytest.raises(InputError, match="23 pairs"):
        sign_flip_p(np.ones(23))


def test_text_of_a_cell():
    assert str(spread([10.0, 14.0])) == "12.0 ± 2.8 (2)"
    assert str(spread([10.0, np.nan])) == "10 (1 of 2)"
    assert str(spread([np.nan])) == "missing"
    assert with_error(0.083456, 0.00123) == "0.0835 ± 0.0012"
    assert with_error(1234.5, 120.0) == "1234 ± 120"
    assert with_error(5.3876001, 2.8e-7) == "5.3876 ± 0.0000"  # runs that agree to rounding
