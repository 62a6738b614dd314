"""Files of figures, and lines: whatever is drawn is read back from the axes."""

import hashlib

import pytest

from umlbench import paper
from umlbench.render import figures
from umlbench.render.figures import lines, style

LAYOUT = {"metrics": ["accuracy"], "rows": ["shots"], "columns": ["method"]}
PLOT = {"x": "shots", "lines": "method"}


@pytest.fixture
def report(hand):
    recipe = hand.recipe(
        axes={"shots": [1, 2, 4, 8, 16], "method": [f"m{n}" for n in range(6)]},
        report={**LAYOUT, "plot": PLOT},
    )
    hand.fill(recipe, lambda cell, seed: 50.0 + cell["shots"] + seed + int(cell["method"][1]))
    return hand.report(recipe)


def digests(paths):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_files_are_byte_stable_in_every_format(report, tmp_path):
    first = figures.draw(report, tmp_path, figures.FORMATS)
    assert [path.name for path in first] == ["hand.png", "hand.svg", "hand.pdf"]
    before = digests(first)
    assert digests(figures.draw(report, tmp_path, figures.FORMATS)) == before
    starts = [path.read_bytes()[:5] for path in first]
    assert starts == [b"\x89PNG\r", b"<?xml", b"%PDF-"]
    assert all(path.stat().st_size > 5000 for path in first)


def test_no_file_says_when_or_by_what_it_was_made(report, tmp_path):
    for path in figures.draw(report, tmp_path, figures.FORMATS):
        body = path.read_bytes()
        assert not any(word in body for word in (b"Date", b"Creat", b"Produ", b"Software"))


def test_every_line_is_drawn_and_differs_in_grey_too(report):
    (axes,) = lines.make(report, ()).axes
    dashes = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
    assert len(axes.lines) == len(dashes) == 6
    assert len({str(style.look(n)) for n in range(20)}) == 20
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4", "8", "16"]
    assert list(axes.lines[0].get_ydata()) == [53.0, 54.0, 56.0, 60.0, 68.0]
    assert axes.get_ylabel() == "Test accuracy\n(percent)"
    assert axes.get_xlabel() == "shots (samples a class)"


def test_the_legend_names_every_line_once(report):
    (legend,) = lines.make(report, ()).legends
    assert [text.get_text() for text in legend.get_texts()] == [f"m{n}" for n in range(6)]


def test_colours_differ_in_lightness():
    """Okabe and Ito's, for colour-blind readers: no two neighbours are alike in grey."""
    light = [sum(c * w for c, w in zip(rgb(x), (0.299, 0.587, 0.114), strict=True)) for x in
             style.COLOURS]  # fmt: skip
    assert all(abs(a - b) > 0.02 for i, a in enumerate(light) for b in light[:i])


def rgb(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def test_curves_in_panels_with_a_line_that_was_not_run(hand):
    recipe = hand.recipe(
        axes={"scale": [0.5, 1.0], "method": ["unimodal", "uml"]},
        report={
            "metrics": ["accuracy"],
            "rows": ["scale", "step"],
            "columns": ["method"],
            "points": {"step": [0.0, 10.0]},
            "plot": {"x": "step", "lines": "method", "panels": "scale"},
        },
    )
    hand.fill(recipe, lambda cell, seed: {0.0: 1.0, 5.0: 2.0} if cell["scale"] == 1.0 else None)
    first, second = lines.make(hand.report(recipe), ()).axes
    assert [len(line.get_xdata()) for line in first.lines] == [0, 0]
    assert list(second.lines[1].get_xdata()) == [0.0, 5.0]  # stored points, not the printed ones
    assert (first.get_title(), second.get_title()) == ("scale 0.5", "scale 1")


def test_a_panel_for_every_metric_or_those_asked_for(hand):
    layout = {**LAYOUT, "metrics": ["accuracy", "worst"], "plot": PLOT}
    recipe = hand.recipe(report=layout)
    hand.fill(recipe, lambda cell, seed: {"accuracy": 1.0 * seed, "worst": 9.0 * seed})
    report = hand.report(recipe)
    assert [a.get_ylabel() for a in lines.make(report, ()).axes] == [
        "Test accuracy\n(percent)",
        "Worst error\n(relative)",
    ]
    (axes,) = lines.make(report, ["worst"]).axes
    assert list(axes.lines[0].get_ydata()) == [27.0, 27.0]  # the largest over seeds


def test_values_that_are_no_numbers_stand_side_by_side(hand):
    recipe = hand.recipe(
        axes={"dataset": ["dtd", "sun397"], "method": ["unimodal", "uml"]},
        report={
            "metrics": ["accuracy"],
            "rows": ["dataset"],
            "columns": ["method"],
            "plot": {"x": "dataset", "lines": "method"},
        },
    )
    hand.fill(recipe, lambda cell, seed: 1.0 * seed)
    (axes,) = lines.make(hand.report(recipe), ()).axes
    left, right = (list(line.get_xdata()) for line in axes.lines)
    assert [line.get_linestyle() for line in axes.lines] == ["None", "None"]
    assert left == pytest.approx([-0.06, 0.94])
    assert right == pytest.approx([0.06, 1.06])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["dtd", "sun397"]
    bars = [path.vertices[:, 1].tolist() for path in axes.collections[0].get_paths()]
    assert bars[0] == pytest.approx([2 - 2.4841, 2 + 2.4841], abs=1e-3)  # t(2) / sqrt(3)


# Beside the paper

TABLE12 = paper.load("table12")
LIKE_TABLE12 = {
    "paper": "table12",
    "axes": {"dataset": ["dtd", "sun397"], "method": ["unimodal", "uml"]},
    "report": {
        "metrics": ["accuracy"],
        "rows": ["dataset"],
        "columns": ["method"],
        "plot": {"x": "dataset", "lines": "method"},
    },
}


def test_printed_numbers_stand_hollow_beside_ours(hand):
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(recipe, lambda cell, seed: 80.0)
    (axes,) = lines.make(hand.report(recipe), ()).axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert list(drawn) == ["Unimodal", "Ours", "Unimodal, paper", "Ours, paper"]
    printed = [TABLE12.value({"method": "uml", "dataset": d}) for d in ("dtd", "sun397")]
    assert list(drawn["Ours, paper"].get_ydata()) == printed
    assert drawn["Ours, paper"].get_markerfacecolor() == "white"
    assert drawn["Ours, paper"].get_marker() == drawn["Ours"].get_marker()
    assert list(drawn["Ours, paper"].get_xdata()) == list(drawn["Ours"].get_xdata())


def test_what_is_not_run_leaves_the_printed_number_alone(hand):
    recipe = hand.recipe(**LIKE_TABLE12)
    hand.fill(recipe, lambda cell, seed: 80.0 if cell["method"] == "uml" else None)
    (axes,) = lines.make(hand.report(recipe), ()).axes
    assert [line.get_label() for line in axes.lines] == ["Ours", "Unimodal, paper", "Ours, paper"]


def test_nothing_to_draw(hand, tmp_path):
    assert figures.draw(hand.report(hand.recipe()), tmp_path) == []  # no plot
    layout = {**LAYOUT, "plot": PLOT}
    assert figures.draw(hand.report(hand.recipe(report=layout)), tmp_path) == []  # no records
    assert not list(tmp_path.iterdir())


def test_an_axis_of_percent_ends_where_percent_do(hand):
    recipe = hand.recipe(report={**LAYOUT, "plot": PLOT})
    hand.fill(recipe, lambda cell, seed: {1: 60.0, 2: 99.0, 3: 100.0}[seed])
    (axes,) = lines.make(hand.report(recipe), ()).axes
    assert axes.get_ylim()[1] == 103.0  # the interval ends at 143
    assert axes.get_ylim()[0] > 0
