"""Intervals against hand computation and scipy."""

import math

import pytest
from scipy import stats as oracle

from umlbench.stats import Interval, interval, t_quantile


def test_three_values_by_hand():
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    quantile = 0.95 * math.sqrt(2 / (1 - 0.95**2))  # Student's t with 2 degrees, in closed form
    assert found.half == pytest.approx(quantile / math.sqrt(3), rel=1e-12)
    assert (found.low, found.high) == (found.mean - found.half, found.mean + found.half)


@pytest.mark.parametrize("values", [[1.0, 1.5], [60.1, 58.3, 61.0, 59.9], [3.0] * 4 + [9.0]])
def test_scipy_agrees(values):
    found, n = interval(values), len(values)
    low, high = oracle.t.interval(0.95, n - 1, loc=found.mean, scale=oracle.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)


def test_one_value_has_no_interval():
    assert interval([7.0]) == Interval(7.0, None, 1)
    assert (interval([7.0]).low, interval([7.0]).high) == (7.0, 7.0)


def test_equal_values_have_an_interval_of_no_width():
    assert interval([2.0, 2.0, 2.0]) == Interval(2.0, 0.0, 3)


@pytest.mark.parametrize("degrees", [1, 4, 30])
def test_quantiles(degrees):
    assert t_quantile(degrees) == pytest.approx(oracle.t.ppf(0.975, degrees), rel=1e-12)
