"""Pearson's r of many neurons at once, against NumPy and SciPy one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr

from umlbench.analysis.neurons import correlations, pearson


def pair(seed=0, count=30, neurons=6):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, neurons)).astype(np.float32)
    return x, (0.5 * x + rng.normal(size=x.shape)).astype(np.float32)


def test_every_neuron_has_scipys_r():
    x, y = pair()
    expected = [pearsonr(x[:, j].astype(float), y[:, j].astype(float)).statistic for j in range(6)]
    np.testing.assert_allclose(pearson(x, y), expected, atol=1e-12)


def test_labels_are_taken_apart():
    x, y = pair()
    labels = np.arange(30) % 3
    found = correlations(x, y, labels)
    np.testing.assert_array_equal(found.overall, pearson(x, y))
    assert set(found.within) == {0, 1, 2}
    np.testing.assert_allclose(
        found.within[1],
        [np.corrcoef(x[labels == 1, j], y[labels == 1, j])[0, 1] for j in range(6)],
        atol=1e-6,
    )


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6, 1 / 3])
def test_a_neuron_that_does_not_vary_has_r_0(constant):
    """0.1 is no float: the mean of a constant column need not be the constant."""
    x, y = pair()
    x[:, 2] = constant
    y[:, 4] = constant
    found = pearson(x, y)
    assert (found[[2, 4]] == 0).all()
    assert (found[[0, 1, 3, 5]] != 0).all()
    assert (pearson(x[:1], y[:1]) == 0).all()


@given(arrays(np.float32, (9, 2), elements=st.integers(-1000, 1000)), st.floats(0.01, 100))
def test_r_lies_between_minus_one_and_one_and_knows_no_scale(x, scale):
    y = x[::-1]
    found = pearson(x, y)
    assert (np.abs(found) <= 1).all()
    np.testing.assert_allclose(found, pearson(y, x), atol=1e-9)
    other = pearson(x * np.float64(scale) + 1, y.astype(np.float64))
    np.testing.assert_allclose(found, other, atol=1e-4)
