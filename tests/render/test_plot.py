import hashlib

import pytest

from umlbench.render import plot

LAYOUT = {"metrics": ["accuracy"], "rows": ["shots"], "columns": ["method"]}


@pytest.fixture
def report(hand):
    recipe = hand.recipe(
        axes={"shots": [1, 2, 4, 8, 16], "method": [f"m{n}" for n in range(6)]},
        report={**LAYOUT, "plot": {"x": "shots", "lines": "method"}},
    )
    hand.fill(recipe, lambda cell, seed: 50.0 + cell["shots"] + seed + int(cell["method"][1]))
    return hand.report(recipe)


def digests(paths):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_files_are_byte_stable(report, tmp_path):
    first = plot.draw(report, tmp_path)
    assert [path.name for path in first] == ["hand.png", "hand.svg"]
    before = digests(first)
    assert digests(plot.draw(report, tmp_path)) == before
    assert first[0].read_bytes().startswith(b"\x89PNG")
    assert first[0].stat().st_size > 5000


def test_every_line_is_drawn_and_none_looks_like_another(report, monkeypatch, tmp_path):
    figures = []
    draw_panel = plot._panel
    monkeypatch.setattr(
        plot, "_panel", lambda r, p, axes, v: (draw_panel(r, p, axes, v), figures.append(axes))
    )
    plot.draw(report, tmp_path)
    (axes,) = figures
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(axes.lines) == len(looks) == 6
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4", "8", "16"]
    assert list(axes.lines[0].get_ydata()) == [53.0, 54.0, 56.0, 60.0, 68.0]
    assert axes.get_ylabel() == "Test accuracy (percent)"


def test_curves_in_panels_with_a_line_that_was_not_run(hand, tmp_path):
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
    svg = plot.draw(hand.report(recipe), tmp_path)[1].read_text()
    assert svg.count('id="axes_') == 2


def test_nothing_to_draw(hand, tmp_path):
    assert plot.draw(hand.report(hand.recipe()), tmp_path) == []  # no plot
    layout = {**LAYOUT, "plot": {"x": "shots", "lines": "method"}}
    assert plot.draw(hand.report(hand.recipe(report=layout)), tmp_path) == []  # no records
    assert not list(tmp_path.iterdir())
