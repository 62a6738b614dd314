"""What counts as a deviation, on hand-made records."""

import pytest

from umlbench import paper
from umlbench.deviations import check
from umlbench.errors import UserError

TABLE12 = paper.load("table12")  # tolerance 1.0
LIKE_TABLE12 = {
    "paper": "table12",
    "axes": {"dataset": ["dtd", "sun397"], "method": ["unimodal", "uml"]},
    "report": {"metrics": ["accuracy"], "rows": ["method"], "columns": ["dataset"]},
}
CLAIM = {
    "text": "text helps",
    "kind": "ordering",
    "greater": {"method": "uml"},
    "than": {"method": "unimodal"},
    "for_each": ["shots"],
}


def offset(amount, noise=0.0):
    """Printed numbers plus `amount`, with three seeds at -noise, 0 and noise."""
    return lambda cell, seed: TABLE12.value(cell) + amount + (seed - 2) * noise


@pytest.mark.parametrize(
    ("amount", "noise", "deviations"),
    [
        (1.0, 0.0, 0),  # on the tolerance
        (1.01, 0.0, 4),
        (-1.01, 0.0, 4),
        (3.4, 1.0, 0),  # allowed: 1 + 4.3027 / sqrt(3) = 3.484
        (3.5, 1.0, 4),
    ],
)
def test_beyond_tolerance_and_own_interval(hand, amount, noise, deviations):
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(recipe, offset(amount, noise))
    found = check(hand.report(recipe))
    assert (found.numbers, len(found.deviations)) == (4, deviations)
    assert {d.kind for d in found.deviations} <= {"paper"}


def test_lines_say_where_and_how_much(hand):
    recipe = hand.recipe(**LIKE_TABLE12, seeds=[1])
    hand.fill(recipe, lambda cell, seed: TABLE12.value(cell) + 2 * (cell["dataset"] == "dtd"))
    lines = check(hand.report(recipe)).lines()
    assert lines[0] == "hand: 2 deviations (4 numbers against the paper, 1 judged claim)"
    assert lines[1] == (
        "  paper: [method=unimodal, dataset=dtd] ours 80.25, paper 78.25: +2.00, allowed ±1.00"
    )


def test_only_a_reversed_claim_deviates(hand):
    recipe = hand.recipe(claims=[CLAIM])
    gains = {1: [-1.0, -1.2, -0.9], 2: [1.0, -1.2, 0.4]}
    hand.fill(
        recipe,
        lambda cell, seed: 50 + gains[cell["shots"]][seed - 1] * (cell["method"] == "uml"),
    )
    found = check(hand.report(recipe))
    assert found.claims == 2
    assert [str(d) for d in found.deviations] == ["claim: [shots=1] reversed: text helps"]


def test_what_was_not_run_is_counted_and_does_not_deviate(hand):
    recipe = hand.recipe(claims=[CLAIM])
    hand.fill(recipe, lambda cell, seed: 50.0 if cell["shots"] == 1 and seed == 1 else None)
    found = check(hand.report(recipe))
    assert (found.claims, found.missing, found.deviations) == (1, 10, ())
    assert found.lines() == ["hand: no deviation (1 judged claim, 10 jobs not run)"]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ([0.0, 0.0, 0.0], []),
        ([0.4, -0.3, 0.1], []),  # noise between two machines
        ([-2.0, -2.1, -1.9], ["worse"]),  # far below the spread over seeds, but on every seed
        ([2.0, 2.1, 1.9], ["better"]),
        ([1e-6, 1e-6, 1e-6], []),  # below what records keep
    ],
)
def test_changes_are_paired_over_seeds(hand, tmp_path, change, kinds):
    recipe = hand.recipe(axes={"shots": [1], "method": ["uml"]})
    spread = [0.0, 20.0, -20.0]
    hand.fill(recipe, lambda cell, seed: 50 + spread[seed - 1])
    hand.results.rename(tmp_path / "earlier")
    hand.fill(recipe, lambda cell, seed: 50 + spread[seed - 1] + change[seed - 1])
    found = check(hand.report(recipe), tmp_path / "earlier")
    assert found.earlier == 1
    assert [d.what.split()[0] for d in found.deviations] == kinds
    assert {d.kind for d in found.deviations} <= {"change"}


def test_a_change_of_one_seed_is_told(hand, tmp_path):
    recipe = hand.recipe(axes={"shots": [1], "method": ["uml"]})
    hand.fill(recipe, lambda cell, seed: 50.0)
    hand.results.rename(tmp_path / "earlier")
    hand.fill(recipe, lambda cell, seed: 49.0 if seed == 2 else None)
    (line,) = check(hand.report(recipe), tmp_path / "earlier").lines()[1:]
    assert line == (
        "  change: [shots=1, method=uml] worse than before: was 50.00, now 49.00 (-1.00, 1 seed)"
    )


def test_a_folder_that_is_not_there(hand, tmp_path):
    with pytest.raises(UserError, match="no folder"):
        check(hand.report(hand.recipe()), tmp_path / "nowhere")


def test_plain_keys(hand):
    found = check(hand.report(hand.recipe()))
    keys = ["recipe", "numbers", "claims", "earlier", "missing", "deviations"]
    assert list(found.plain()) == keys
