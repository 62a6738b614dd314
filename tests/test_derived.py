"""Exchange rates in a report: from hand-made records to the table, the claims and the notes."""

import json
import math

import pytest

from umlbench import paper
from umlbench.render import render
from umlbench.render.layout import table

TABLE = paper.load("figure8")
SHOTS, TEXTS = [1, 2, 4], [0.0, 5.0, 10.0]
# What a sentence of 16 words brings where an image brings 2 points: 8 and 20 sentences an image.
BRINGS = {"aligned": 0.25, "unaligned": 0.1}
LIKE_FIGURE8 = {
    "paper": "figure8",
    "axes": {
        "alignment": ["unaligned", "aligned"],
        "dataset": ["dtd", "food101"],
        "shots": SHOTS,
        "scale": TEXTS,  # the hand-made protocol has no text: its scale is the number of sentences
    },
    "presets": {"alignment": {"unaligned": {"rate": 0.1}, "aligned": {"rate": 0.2}}},
    "settings": {"method": "uml"},
    "report": {
        "metrics": ["words_per_image", "r_squared"],
        "rows": ["alignment", "dataset"],
        "columns": ["fit"],
        "analysis": {
            "kind": "exchange_rate",
            "images": "shots",
            "texts": "scale",
            "fits": ["raw", "raw_no_zero"],
        },
    },
}


def accuracy(cell, seed):
    return 40 + seed + 2 * cell["shots"] + BRINGS[cell["alignment"]] * cell["scale"]


def record(cell, seed):
    """Jobs without text know no number of words."""
    words = {"text_words": 16.0} if cell["scale"] else {}
    return {"accuracy": accuracy(cell, seed), **words}


@pytest.fixture
def figure8(hand):
    recipe = hand.recipe(**LIKE_FIGURE8)
    hand.fill(recipe, record)
    return hand.report(recipe)


def at(alignment, fit="raw", dataset="dtd"):
    return {"alignment": alignment, "fit": fit, "dataset": dataset}


def test_words_stand_beside_the_papers(figure8):
    entry = figure8.entry(at("aligned"), "words_per_image")
    assert entry.ours.mean == pytest.approx(128.0)
    assert entry.ours.bounds == pytest.approx((128.0, 128.0))
    assert entry.paper == 228
    assert entry.difference == pytest.approx(-100.0)
    assert figure8.entry(at("unaligned"), "words_per_image").ours.mean == pytest.approx(320.0)
    assert figure8.entry(at("aligned"), "r_squared").ours.mean == pytest.approx(1.0)
    assert len(list(figure8.entries())) == 2 * 2 * 2 * 2
    assert (figure8.done, figure8.jobs) == (108, 108)


def test_the_table_says_it_in_cells(figure8):
    shown = table(figure8)
    assert shown.header[3:5] == [
        "raw counts, Words worth one image",
        "raw counts, R² of the plane",
    ]
    texts = [[cell.text for cell in row[:5]] for row in shown.rows]
    assert texts[:3] == [
        ["Unaligned", "DTD", "ours", "320 [320, 320]", "1.00"],
        ["Unaligned", "DTD", "paper", "2309", ""],
        ["Unaligned", "DTD", "ours − paper", "-1989", ""],
    ]


def test_the_papers_claim_is_judged_for_every_fit(figure8):
    ((text, verdicts),) = figure8.verdicts
    assert text == TABLE.claims[0].text
    assert [(v.at["fit"], v.at["dataset"], v.finding) for v in verdicts] == [
        ("raw", "dtd", "holds"),
        ("raw", "food101", "holds"),
        ("raw_no_zero", "dtd", "holds"),
        ("raw_no_zero", "food101", "holds"),
    ]


def test_what_stands_in_the_way_is_noted(hand):
    recipe = hand.recipe(**LIKE_FIGURE8)

    def figure(cell, seed):
        if cell["dataset"] == "food101" and cell["shots"] == 4:
            return None
        return record({**cell, "scale": -cell["scale"]}, seed)

    hand.fill(recipe, figure)
    report = hand.report(recipe)
    assert report.entry(at("aligned"), "words_per_image").ours is None
    assert report.entry(at("aligned"), "words_per_image").ran
    assert report.verdicts[0][1][0].finding == "not run"
    notes = report.notes()
    assert any(note.startswith("Plane: ordinary least squares") for note in notes)
    assert (
        "No rate, since accuracy does not rise with text: Unaligned, DTD, raw counts; Unaligned, "
        "DTD, raw counts, no 0; Unaligned, Food101, raw counts; Unaligned, Food101, raw counts, "
        "no 0; and at 4 more." in notes
    )
    assert any(n.startswith("3 of 9 cells are missing: Unaligned, Food101") for n in notes)
    assert not any("Mean over" in note for note in notes)


def test_more_places_than_a_line_holds(hand):
    recipe = hand.recipe(
        **{**LIKE_FIGURE8, "axes": {**LIKE_FIGURE8["axes"], "dataset": TABLE.axes["dataset"]}}
    )
    hand.fill(recipe, lambda cell, seed: record(cell, seed) if cell["shots"] < 4 else None)
    (note,) = [n for n in hand.report(recipe).notes() if n.startswith("3 of 9 cells")]
    assert note.endswith("; and at 14 more.")


def test_nothing_run(hand):
    report = hand.report(hand.recipe(**LIKE_FIGURE8))
    entry = report.entry(at("aligned"), "words_per_image")
    assert (entry.ours, entry.ran) == (None, False)
    assert [row[3].text for row in table(report).rows if row[2].text == "ours"] == ["not run"] * 4


def test_an_open_interval_in_every_format(hand):
    recipe = hand.recipe(**LIKE_FIGURE8)
    slopes = {1: 0.2, 2: 0.1, 3: -0.05}
    hand.fill(
        recipe,
        lambda cell, seed: {
            "accuracy": cell["shots"] + slopes[seed] * cell["scale"],
            "text_words": 10.0,
        },
    )
    report = hand.report(recipe)
    found = report.entry(at("aligned"), "words_per_image").ours
    assert found.bounds == (pytest.approx(50.0), math.inf)
    assert "120 \\[50, ∞\\]" in render([report], "markdown")
    plain = json.loads(render([report], "json"))[0]["entries"][0]["ours"]
    assert plain == {"mean": 120.0, "ci95": None, "seeds": 3, "bounds": [50.0, None]}
    assert ",words_per_image,120,inf,3," in render([report], "csv")
