"""Planes and heat maps of heads that digits jobs left, read back from the axes."""

import numpy as np
import pytest

from umlbench import recipe, reporting
from umlbench.jobs import Context
from umlbench.protocols import linear_probe
from umlbench.records import Store, succeeded
from umlbench.render import figures
from umlbench.render.figures import planes, prototypes

CHANGES = (
    "geometry=true", "plane=[four, nine]", "max_iterations=101", "warmup_iterations=5",
    "shots=[2]", "learning_rate=0.01", "weight_decay=0.0", "batch_size=8", "learnable_scale=false",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    digits = recipe.load("digits", overrides=CHANGES, seeds="1-2")
    root = tmp_path_factory.mktemp("digits")
    context = Context(cache=root, offline=True)
    jobs = list(digits.jobs())
    made = [succeeded(job, outcome, {}) for job, outcome in run(jobs, context)]
    store = Store(root, "digits")
    store.append(made)
    return reporting.build(digits, store.load())


def run(jobs, context):
    for job in jobs:
        yield from linear_probe.run([job], context)


def panels(figure):
    return [axes for axes in figure.axes if axes.get_xlabel()]


def test_a_plane_has_both_classes_and_their_boundary(report):
    found = panels(planes.make(report, ()))
    assert len(found) == 3  # of each method, at its first seed
    for axes, record in zip(found, (r for r in report.records if r.seed == 1), strict=True):
        four, nine = axes.collections
        assert (four.get_label(), nine.get_label()) == ("four", "nine")
        (curve,) = [one for one in record.curves if one.axis == "plane_sample"]
        side = np.array(curve.values["second"])
        for drawn, kept in ((four, side == 0), (nine, side == 1)):
            expected = np.stack([curve.values["u1"], curve.values["u2"]], axis=1)[kept]
            assert np.asarray(drawn.get_offsets()) == pytest.approx(expected)
        (boundary,) = axes.lines
        assert list(boundary.get_xdata()) == [0, 0]
        accuracy = f"{record.metrics['plane_accuracy']:.2f} percent on their side"
        assert axes.get_title().endswith(f"seed 1\n{accuracy}")


def test_a_heat_map_is_the_records_matrix(report):
    found = panels(prototypes.make(report, ()))
    assert [axes.get_title().split(",")[1] for axes in found] == [" Ours", " Ours (init)"]
    with_text = [r for r in report.records if r.seed == 1 and "prototype_rank1" in r.metrics]
    for axes, record in zip(found, with_text, strict=True):
        (curve,) = [one for one in record.curves if one.axis == "prototype"]
        (image,) = axes.images
        drawn = image.get_array()
        assert drawn.shape == (10, 10)
        assert drawn[2, 7] == pytest.approx(curve.values["7 seven"][2])  # row: prototype of two
        assert [t.get_text() for t in axes.get_yticklabels()] == list(curve.points)


def test_all_kinds_are_written_and_stable(report, tmp_path):
    written = figures.draw(report, tmp_path, ["png", "pdf"])
    names = [path.name for path in written if path.suffix == ".png"]
    assert names == ["digits.png", "digits-planes.png", "digits-prototypes.png"]
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in figures.draw(report, tmp_path, ["png", "pdf"])] == before


def test_records_without_them_have_no_such_figure(hand):
    recipe = hand.recipe()
    hand.fill(recipe, lambda cell, seed: 1.0)
    assert planes.make(hand.report(recipe), ()) is None
    assert prototypes.make(hand.report(recipe), ()) is None
