"""Claims: what holds, is reversed, undecided or withheld, on single numbers and over seeds."""

import pytest
from pydantic import TypeAdapter

from umlbench.claims import Claim, mean_over

AXES = {"method": ["a", "b"], "epoch": [1, 2, 3]}
FIGURES = {("a", 1): 1.0, ("a", 2): 5.0, ("a", 3): 2.0, ("b", 1): 2.0, ("b", 2): 0.0}
ORDER = {"kind": "ordering", "greater": {"method": "a"}, "than": {"method": "b"}}


def claim(**fields):
    return TypeAdapter(Claim).validate_python({"text": "a claim", **fields})


def judge(figures, **fields):
    """(place, finding) of one claim on `figures[(method, epoch)]`: a number or numbers by seed."""

    def lookup(metric, at):
        found = figures.get((at["method"], at["epoch"]), {})
        return found if isinstance(found, dict) else {0: found}

    return [(dict(v.at), v.finding) for v in claim(**fields).judge(AXES, lookup)]


def test_an_ordering_of_single_numbers_goes_by_the_sign():
    assert judge(FIGURES, **ORDER, for_each=["epoch"]) == [
        ({"epoch": 1}, "reversed"),
        ({"epoch": 2}, "holds"),
        ({"epoch": 3}, "not run"),
    ]


def test_equal_numbers_decide_nothing():
    assert judge({("a", 1): 1.0, ("b", 1): 1.0}, **ORDER, for_each=["epoch"])[0][1] == "undecided"


@pytest.mark.parametrize(
    ("gain", "finding"),
    [([1.0, 1.2, 0.9], "holds"), ([-1.0, -1.2, -0.9], "reversed"), ([1.0, -1.2, 0.4], "undecided")],
)
def test_an_ordering_over_seeds_is_paired(gain, finding):
    noise = [0.0, 50.0, -70.0]  # shared by both sides: only a paired comparison sees the gain
    figures = {
        ("a", 1): {s: noise[s] + gain[s] for s in range(3)},
        ("b", 1): {s: noise[s] for s in range(3)},
    }
    where = {"epoch": [1]}
    assert judge(figures, **ORDER, for_each=["epoch"], where=where) == [({"epoch": 1}, finding)]


def test_a_mean_is_over_the_where_values_and_withheld_with_a_gap():
    assert judge(FIGURES, **ORDER, over="epoch") == [({}, "not run")]
    assert judge(FIGURES, **ORDER, over="epoch", where={"epoch": [1, 2]}) == [({}, "holds")]


def test_a_mean_keeps_only_seeds_that_every_cell_has():
    assert mean_over([{1: 1.0, 2: 3.0}, {2: 5.0, 3: 9.0}]) == {2: 4.0}


def test_a_bound_includes_its_limits_and_every_seed():
    where = {"method": ["a"]}
    fields = {"kind": "bound", "for_each": ["method", "epoch"], "where": where}
    found = [finding for _, finding in judge(FIGURES, **fields, at_least=2.0)]
    assert found == ["reversed", "holds", "holds"]
    found = [finding for _, finding in judge(FIGURES, **fields, at_most=2.0)]
    assert found == ["holds", "reversed", "holds"]
    two_seeds = {("a", 1): {1: 5.0, 2: 1.0}}
    assert judge(two_seeds, **fields, at_least=2.0)[0][1] == "reversed"


def test_a_trend_compares_the_ends():
    fields = {"kind": "trend", "along": "epoch", "for_each": ["method"]}
    rising = judge(FIGURES, **fields, direction="rising")
    assert rising == [({"method": "a"}, "holds"), ({"method": "b"}, "not run")]
    assert judge(FIGURES, **fields, direction="falling")[0] == ({"method": "a"}, "reversed")


def test_a_claim_applies_only_where_its_axes_and_values_are():
    assert claim(**ORDER, for_each=["epoch"]).applies(AXES)
    assert not claim(**ORDER, for_each=["shots"]).applies(AXES)
    assert not claim(**ORDER, for_each=["epoch"]).applies({**AXES, "method": ["a", "c"]})
