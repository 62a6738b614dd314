"""Every shipped recipe runs end to end, made small: from the plan to rendered tables."""

import pytest

from umlbench import api, recipe

# What makes a job of each protocol small; axes, grid, layout and claims stay as shipped.
SMALL = {
    "gaussian": ["steps=50", "eval_every=25", "budget=64", "batch_size=16", "validation_size=32"],
    "linear_probe": ["max_iterations=60", "eval_every=20", "patience=2"],
    "theory": ["designs=2", "replicates=5"],
}
SINGLE = [name for name in recipe.names() if len(recipe.bundle(name).recipes) == 1]


@pytest.mark.parametrize("name", SINGLE)
def test_a_shipped_recipe_runs_end_to_end(name, tmp_path, monkeypatch):
    monkeypatch.setenv("UMLBENCH_CACHE", str(tmp_path / "cache"))
    overrides = SMALL[recipe.load(name).file.protocol]
    ran = api.run(name, results=tmp_path, overrides=overrides, seeds="1-2")
    assert not ran.failed
    assert len(ran.made) == ran.plan.jobs
    [report] = api.build_reports([name], results=tmp_path, overrides=overrides, seeds="1-2")
    assert report.done == report.jobs
    figures = [entry for entry in report.entries() if entry.ours]
    assert figures
    assert api.run(name, results=tmp_path, overrides=overrides, seeds="1-2").made == ()


def test_a_suite_is_its_recipes():
    parts = recipe.bundle("quickstart").recipes
    assert [part.id for part in parts] == ["figure3", "theory", "digits"]
