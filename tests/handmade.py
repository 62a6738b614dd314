"""A hand-made protocol whose records are made by hand, so that reports can be checked by hand."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from umlbench import protocols, reporting
from umlbench.jobs import Curve, Outcome
from umlbench.protocols import Metric
from umlbench.recipe import Recipe
from umlbench.recipe.model import RecipeFile
from umlbench.records import Store, succeeded
from umlbench.schema import Closed


class Settings(Closed):
    dataset: str = "dtd"
    method: str = "unimodal"
    shots: int = 1
    scale: float = 1.0
    rate: float = 0.1

    def identity(self):
        return self.model_dump(mode="json", exclude={"rate"} if self.method == "unimodal" else None)


HANDMADE = SimpleNamespace(
    VERSION=1,
    WHOLE_BATCHES=False,
    Settings=Settings,
    METRICS={
        "accuracy": Metric("Test accuracy", "percent", higher_is_better=True),
        "worst": Metric("Worst error", "relative", False, 1, True, over_seeds="max"),
        "least": Metric("Least gap", "relative", True, 3, over_seeds="min"),
    },
    inputs=lambda settings: {},
    batch=lambda job: job.id,
)
FILE = {
    "id": "hand",
    "title": "A table",
    "protocol": "handmade",
    "axes": {"shots": [1, 2], "method": ["unimodal", "uml"]},
    "seeds": [1, 2, 3],
    "report": {"metrics": ["accuracy"], "rows": ["shots"], "columns": ["method"]},
}


class Hand:
    """Recipes and records of the hand-made protocol under one results folder."""

    def __init__(self, results):
        self.results = results

    def recipe(self, **fields):
        return Recipe(
            RecipeFile.model_validate({**FILE, **fields}), source=fields.get("id", "hand")
        )

    def write(self, path, **fields):
        path.write_text(yaml.safe_dump({**FILE, **fields}))
        return path

    def outcome(self, figure):
        """A number is the accuracy; a dict gives metrics, and points of a curve of accuracy."""
        figure = figure if isinstance(figure, dict) else {"accuracy": figure}
        curve = {k: v for k, v in figure.items() if not isinstance(k, str)}
        curves = (Curve("step", tuple(curve), {"accuracy": tuple(curve.values())}),)
        metrics = {k: v for k, v in figure.items() if isinstance(k, str)}
        return Outcome(metrics, curves if curve else ())

    def store(self, recipe):
        return Store(self.results, recipe.id)

    def fill(self, recipe, figure, inputs=None):
        """One record per job whose `figure(cell, seed)` is not None; an exception is a failure."""
        made = []
        for job in recipe.jobs(inputs):
            value = figure(job.cell, job.seed)
            if isinstance(value, Exception):
                error = f"{type(value).__name__}: {value}"
                blank = succeeded(job, Outcome({}), {})
                made.append(replace(blank, status="failed", error=error))
            elif value is not None:
                made.append(succeeded(job, self.outcome(value), {}))
        self.store(recipe).append(made)
        return made

    def report(self, recipe):
        return reporting.build(recipe, self.store(recipe).load())


@pytest.fixture
def hand(tmp_path, monkeypatch):
    load = protocols.load
    monkeypatch.setattr(protocols, "NAMES", (*protocols.NAMES, "handmade"))
    monkeypatch.setattr(
        protocols, "load", lambda name: HANDMADE if name == "handmade" else load(name)
    )
    return Hand(tmp_path / "results")
