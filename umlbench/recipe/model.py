"""The closed schema of a recipe file, and the recipe it becomes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from umlbench import protocols
from umlbench.analysis import exchange_rate, relative_gain
from umlbench.claims import Claim
from umlbench.jobs import Grid, Job
from umlbench.schema import Closed, Scalar, located

Values = Annotated[list[Scalar], Field(min_length=1)]
Points = Annotated[list[float] | list[str], Field(min_length=1)]
Presets = Mapping[str, Mapping[Scalar, Mapping[str, Any]]]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_id(name: str) -> str:
    """The name itself; raises `ValueError` where it cannot name a folder of results."""
    if not _ID.fullmatch(name):
        raise ValueError("must be made of letters, digits, '-', '_' and '.'")
    return name


def named(cell: Mapping[str, Scalar], presets: Presets, fields: Container[str]) -> dict[str, Any]:
    """The settings that a cell names: those its presets stand for, and its axes themselves.

    An axis that is none of the settings' `fields` is only a name for its presets.
    """
    found: dict[str, Any] = {}
    for axis, value in cell.items():
        found |= presets.get(axis, {}).get(value, {})
    return found | {k: v for k, v in cell.items() if k in fields or k not in presets}


class Plot(Closed):
    """A figure drawn from the records: `x` across, one line per value of `lines`.

    There is a panel for each printed metric and for each combination of the axes `panels`.
    """

    x: str
    lines: str
    panels: str | list[str] = Field(default_factory=list)

    @property
    def panel_axes(self) -> list[str]:
        """`panels` as a list."""
        return [self.panels] if isinstance(self.panels, str) else self.panels


class Analysis(Closed):
    """Figures made of many cells at once (`umlbench.analysis.exchange_rate`).

    The axes `images` and `texts` are what they are made of; `fits` are the values of an axis `fit`
    that has their place in the report.
    """

    kind: Literal["exchange_rate"]
    images: str
    texts: str
    fits: list[Literal["raw", "raw_no_zero", "log", "log_no_zero"]] = Field(min_length=1)

    def axes(self, cells: Mapping[str, list[Scalar]]) -> dict[str, list[Scalar]]:
        """The axes of the report, given those of the recipe's cells."""
        kept = {name: v for name, v in cells.items() if name not in (self.images, self.texts)}
        return {**kept, "fit": list(self.fits)}

    @property
    def metrics(self) -> Mapping[str, protocols.Metric]:
        """The figures that it makes."""
        return exchange_rate.METRICS

    @property
    def of(self) -> str:
        """The figure of a cell that it makes them of."""
        return "accuracy"


class Layout(Closed):
    """How a report lays the recipe's cells out.

    With a `baseline`, `relative_gain` is one of the metrics: that of the first other one.
    """

    metrics: list[str] = Field(min_length=1)
    rows: list[str] = Field(min_length=1)
    columns: list[str] = Field(default_factory=list)
    baseline: dict[str, Scalar] | None = None  # differences to these cells, paired over seeds
    average: str | None = None  # an axis whose mean is printed as a last column
    points: dict[str, Points] = Field(default_factory=dict)  # printed points of a curve's axis
    labels: dict[str, dict[Scalar, str]] = Field(default_factory=dict)
    analysis: Analysis | None = None
    plot: Plot | None = None


class RecipeFile(Closed):
    """The keys of a recipe file."""

    id: str
    title: str
    paper: str | None = None  # whose printed numbers stand beside ours; without it, the id's
    like: str | None = None  # the paper's item that asks the same of other data or encoders
    protocol: str
    axes: dict[str, Values] = Field(min_length=1)
    presets: dict[str, dict[Scalar, dict[str, Any]]] = Field(default_factory=dict)  # see `named`
    seeds: list[int] = Field(min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Values] = Field(default_factory=dict)
    selection: str | None = None
    report: Layout
    claims: list[Claim] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)

    _id = field_validator("id")(check_id)


class SuiteFile(Closed):
    """The keys of a suite file: recipes that run as one."""

    id: str
    title: str
    runs: list[str] = Field(min_length=1)
    notes: list[str] = Field(default_factory=list)

    _id = field_validator("id")(check_id)


@dataclass(frozen=True)
class Recipe:
    """A validated recipe: `RecipeFile` with its settings read by the protocol's own model."""

    file: RecipeFile
    source: str  # the built-in's name or the file's, for messages and for `run` in a report
    modified: bool = False  # by --set, --only or --seeds: its tables are printed, not stored

    @property
    def id(self) -> str:
        """The recipe's name."""
        return self.file.id

    @cached_property
    def protocol(self) -> protocols.Protocol:
        """The protocol's module."""
        return protocols.load(self.file.protocol)

    @property
    def axes(self) -> dict[str, list[Scalar]]:
        """The axes that place a number of the report: those of the cells, or of an analysis."""
        analysis = self.file.report.analysis
        return analysis.axes(self.file.axes) if analysis else self.file.axes

    @property
    def metrics(self) -> Mapping[str, protocols.Metric]:
        """The figures that the report may print."""
        layout = self.file.report
        if layout.analysis:
            return layout.analysis.metrics
        gains = relative_gain.METRICS if layout.baseline else {}
        return {**self.protocol.METRICS, **gains}

    def cells(self) -> Iterator[dict[str, Scalar]]:
        """Every cell: the product of the axes in declared order, the last varying fastest."""
        for point in itertools.product(*self.file.axes.values()):
            yield dict(zip(self.file.axes, point, strict=True))

    def settings(self, cell: Mapping[str, Scalar]) -> Closed:
        """The protocol's settings of one cell; grid names hold their first value."""
        first = {name: values[0] for name, values in self.file.grid.items()}
        model = self.protocol.Settings
        chosen = named(cell, self.file.presets, model.model_fields)
        return model.model_validate({**self.file.settings, **first, **chosen})

    @cached_property
    def grid(self) -> Grid:
        """The grid as the settings read it: `0` and `0.0` of a weight decay are one value.

        Names stand in the order of the settings' fields, so that the order of keys in a file,
        which is not in a job's id, cannot decide a tie.
        """
        cell = next(self.cells())
        return {
            name: tuple(
                getattr(self.settings({**cell, name: v}), name) for v in self.file.grid[name]
            )
            for name in self.protocol.Settings.model_fields
            if name in self.file.grid
        }

    def jobs(self, inputs: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[Job]:
        """Every job, cell by cell; `inputs` maps a cell's settings (JSON) to fingerprints.

        What a preset says does not vary inside a job, whatever the grid has for other cells.
        """
        for cell in self.cells():
            settings = self.settings(cell)
            preset = named(cell, self.file.presets, ())
            grid = {name: values for name, values in self.grid.items() if name not in preset}
            found = (inputs or {}).get(settings.model_dump_json(), {})
            for seed in self.file.seeds:
                yield Job(
                    recipe=self.id,
                    protocol=self.file.protocol,
                    version=self.protocol.VERSION,
                    cell=cell,
                    seed=seed,
                    settings=settings,
                    grid=grid,
                    selection=self.file.selection,
                    inputs=found,
                )

    def to_yaml(self) -> str:
        """The resolved recipe as a file of its own: loading it gives this recipe again."""
        return located.dump(self.file.model_dump(exclude_defaults=True))


@dataclass(frozen=True)
class Bundle:
    """What a name on the command line stands for: one recipe, or a suite of them."""

    id: str
    title: str
    recipes: tuple[Recipe, ...]
