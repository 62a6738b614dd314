"""Isolines of an exchange rate: cells, plane and the paper's slope, read back from the axes."""

import math

import pytest

from umlbench.render import figures
from umlbench.render.figures import isolines, lines

AXES = {
    "alignment": ["unaligned", "aligned"],
    "dataset": ["dtd"],
    "shots": [1, 2, 4],
    "scale": [0.0, 5.0, 10.0],  # stands for the number of sentences
}
FILE = {
    "paper": "figure8",
    "axes": AXES,
    "presets": {"alignment": {"unaligned": {"rate": 0.1}, "aligned": {"rate": 0.2}}},
    "settings": {"method": "uml"},
    "report": {
        "metrics": ["words_per_image"],
        "rows": ["alignment", "dataset"],
        "columns": ["fit"],
        "analysis": {
            "kind": "exchange_rate",
            "images": "shots",
            "texts": "scale",
            "fits": ["raw", "log"],
        },
        "plot": {"x": "alignment", "lines": "fit", "panels": ["dataset"]},
    },
}


def filled(hand, figure, **changes):
    recipe = hand.recipe(**{**FILE, **changes})
    hand.fill(recipe, figure)
    return hand.report(recipe)


def planted(text):
    def figure(cell, seed):
        accuracy = 40 + seed + 2.0 * cell["shots"] + text * cell["scale"]
        return {"accuracy": accuracy, "text_words": 16.0} if text is not None else None

    return figure


def panels(figure):
    return [axes for axes in figure.axes if axes.get_xlabel()]  # the others are colour bars


def test_a_panel_shows_cells_isolines_and_both_rates(hand):
    first, second = panels(isolines.make(filled(hand, planted(0.25)), ()))
    assert first.get_title() == "Unaligned, DTD\n1 image: 128 [128, 128] words (paper 2309)"
    assert second.get_title() == "Aligned (CLIP), DTD\n1 image: 128 [128, 128] words (paper 228)"
    assert first.get_ylabel() == "shots (samples a class)"
    dots = first.collections[0]
    assert dots.get_offsets()[:3].tolist() == [[0.0, 1.0], [5.0, 1.0], [10.0, 1.0]]
    assert list(dots.get_array()[:3]) == pytest.approx([44.0, 45.25, 46.5])
    assert [t.get_text() for t in first.get_xticklabels()] == ["0", "5", "10"]


def test_an_isoline_has_the_accuracy_that_it_says(hand):
    (contour,) = [
        drawn
        for drawn in panels(isolines.make(filled(hand, planted(0.25)), ()))[0].collections
        if hasattr(drawn, "levels")
    ]
    for level, path in zip(contour.levels, contour.get_paths(), strict=True):
        for texts, images in path.vertices:
            assert 42 + 2 * images + 0.25 * texts == pytest.approx(level)


def test_the_papers_line_has_its_slope(hand):
    (line, *_) = [
        drawn
        for drawn in panels(isolines.make(filled(hand, planted(0.25)), ()))[1].lines
        if drawn.get_label() == "the paper's rate"
    ]
    (t0, t1), (i0, i1) = line.get_xdata(), line.get_ydata()
    assert (t1 - t0) / (i0 - i1) * 16 == pytest.approx(228)  # words an image


def test_text_that_does_not_help_is_said_and_still_drawn(hand):
    first, _ = panels(isolines.make(filled(hand, planted(-0.1)), ()))
    assert first.get_title().endswith("1 image: no rate (paper 2309)")
    assert any(hasattr(drawn, "levels") for drawn in first.collections)


def test_a_plane_that_does_not_exist_leaves_the_cells(hand):
    figure = isolines.make(filled(hand, planted(0.1), axes={**AXES, "shots": [1]}), ())
    first, _ = panels(figure)
    assert len(first.collections) == 1
    assert "no rate" in first.get_title()


def test_what_was_not_run_has_no_panel(hand):
    def half(cell, seed):
        return planted(0.1)(cell, seed) if cell["alignment"] == "aligned" else None

    (only,) = panels(isolines.make(filled(hand, half), ()))
    assert only.get_title().startswith("Aligned")


def test_logarithms_are_drawn_on_their_scale(hand):
    layout = {**FILE["report"], "analysis": {**FILE["report"]["analysis"], "fits": ["log"]}}
    first, _ = panels(isolines.make(filled(hand, planted(0.25), report=layout), ()))
    assert list(first.get_yticks()) == pytest.approx([0.0, 1.0, 2.0])
    assert list(first.get_xticks()) == pytest.approx([0.0, math.log2(6), math.log2(11)])
    assert [t.get_text() for t in first.get_xticklabels()] == ["0", "5", "10"]
    assert not any(line.get_label() == "the paper's rate" for line in first.lines)


def test_words_beside_the_papers_are_one_star(hand):
    (axes,) = lines.make(filled(hand, planted(0.25)), ()).axes
    star = next(line for line in axes.lines if line.get_label() == "paper")
    assert (star.get_marker(), list(star.get_ydata())) == ("*", [2309, 228])
    assert axes.get_yscale() == "log"
    assert [line.get_label() for line in axes.lines] == ["raw counts", "logarithms", "paper"]


def test_an_interval_without_an_end_says_so(hand):
    slopes = {1: 0.2, 2: 0.1, 3: -0.05}

    def figure(cell, seed):
        accuracy = cell["shots"] + slopes[seed] * cell["scale"]
        return {"accuracy": accuracy, "text_words": 10.0}

    (axes,) = lines.make(filled(hand, figure), ()).axes
    assert [text.get_text() for text in axes.texts] == ["∞"] * 4
    for bars in axes.collections:
        assert all(math.isfinite(y) for path in bars.get_paths() for y in path.vertices[:, 1])


def test_both_figures_are_written(hand, tmp_path):
    written = figures.draw(filled(hand, planted(0.25)), tmp_path, ["png"])
    assert [path.name for path in written] == ["hand.png", "hand-isolines.png"]
    (alone,) = figures.draw(
        filled(hand, planted(0.25)), tmp_path, ["svg"], stem="figure27", kinds=["isolines"]
    )
    assert alone.name == "figure27.svg"
    again = alone.read_bytes()
    figures.draw(
        filled(hand, planted(0.25)), tmp_path, ["svg"], stem="figure27", kinds=["isolines"]
    )
    assert alone.read_bytes() == again
