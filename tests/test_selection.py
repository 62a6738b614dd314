import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlbench import selection
from umlbench.selection import Selected, best_on_average, val_accuracy


def test_the_best_validation_figure_is_chosen_whatever_the_test_figures():
    assert val_accuracy([10.0, 30.0, 20.0], [99.0, 1.0, 50.0]) == Selected(1, 1, 0.0)


def test_a_tie_goes_to_the_first_and_says_what_hangs_on_it():
    assert val_accuracy([30.0, 10.0, 30.0, 30.0], [5.0, 90.0, 8.0, 4.0]) == Selected(0, 3, 4.0)


def test_a_trial_without_a_figure_is_never_chosen():
    nan = math.nan
    assert val_accuracy([nan, 10.0, nan, 20.0], [1.0, 2.0, 3.0, 4.0]).index == 3


@pytest.mark.parametrize("val", [[], [math.nan], [math.nan, math.nan]])
def test_nothing_to_choose_from(val):
    with pytest.raises(ValueError, match="no trial has a validation figure"):
        val_accuracy(val, [1.0] * len(val))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 100)), min_size=1))
def test_against_the_definition(trials):
    val, test = [float(v) for v, _ in trials], [float(t) for _, t in trials]
    chosen = val_accuracy(val, test)
    assert all(value < val[chosen.index] for value in val[: chosen.index])
    assert all(value <= val[chosen.index] for value in val)
    assert chosen.ties == val.count(val[chosen.index])
    assert chosen.tied_spread == max(test[i] - test[j] for i in tied(val) for j in tied(val))


def tied(val):
    return [i for i, value in enumerate(val) if value == max(val)]


def test_every_rule_is_described():
    assert selection.RULES.keys() == selection.DESCRIPTIONS.keys()


@pytest.mark.parametrize(
    ("val", "best"),
    [
        ([[50.0, 60.0], [80.0, 61.0]], 0),  # 65 against 60.5, though the second wins a seed
        ([[60.0, 60.0], [60.0, 60.0]], 0),
        ([[None, 10.0], [99.0, 10.0]], 1),
        ([[10.0, 20.0, 20.0]], 1),
        ([[None, 5.0], [5.0, None]], 0),
    ],
)
def test_one_trial_for_all_seeds(val, best):
    assert best_on_average(val) == best
