"""Relative gains against hand computation and the delta method."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle

from umlbench.analysis.relative_gain import gain, over_seeds

PERCENT = st.floats(1, 100)
PAIRS = st.lists(st.tuples(PERCENT, PERCENT), min_size=2, max_size=10)


def test_the_papers_own_percentages():
    assert gain(44.46, 28.78) == pytest.approx(54.5, abs=0.05)  # protocol 4.5, Table 25
    assert gain(3.0, 0.0) is None


def test_the_gain_of_the_means_is_not_the_mean_of_the_gains():
    found = over_seeds([20.0, 40.0], [10.0, 40.0])
    assert found.mean == pytest.approx(20.0)  # 60 over 50; the seeds' own gains are 100 and 0


@given(PAIRS)
def test_the_interval_is_that_of_the_delta_method(pairs):
    figures, baseline = np.array(pairs).T
    found, n = over_seeds(figures, baseline), len(pairs)
    ratio = figures.mean() / baseline.mean()
    assert found.mean == pytest.approx(100 * (ratio - 1), abs=1e-9)
    (aa, ab), (_, bb) = np.cov(figures, baseline)
    variance = max(aa - 2 * ratio * ab + ratio**2 * bb, 0) / n / baseline.mean() ** 2
    half = 100 * oracle.t.ppf(0.975, n - 1) * variance**0.5
    assert found.half == pytest.approx(half, rel=1e-6, abs=1e-4)


@given(st.lists(PERCENT, min_size=2, max_size=10))
def test_a_constant_share_has_no_spread(baseline):
    found = over_seeds([1.5 * value for value in baseline], baseline)
    assert (found.mean, found.half) == (pytest.approx(50.0), pytest.approx(0.0, abs=1e-9))


def test_one_seed_has_no_interval_and_nothing_is_no_share_of_zero():
    assert over_seeds([3.0], [2.0]).half is None
    assert over_seeds([3.0, 1.0], [0.0, 0.0]) is None
