"""Job, Outcome and the identity that ties a plan to its records.

A **job** is one cell of a table at one seed with all its grid points (trials): the unit of
execution, resume and failure. Its id hashes exactly the fields that can change its figure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench.schema import Closed, Scalar
from umlbench.seeds import digest

if TYPE_CHECKING:
    from umlbench.heads import Head, Place

Grid = Mapping[str, tuple[Scalar, ...]]


def spec_id(spec: Mapping[str, Any], seed: int) -> str:
    """Identity without the inputs: what a report can match without data on the machine."""
    return digest({"spec": spec, "seed": seed})


def job_id(spec: Mapping[str, Any], seed: int, inputs: Mapping[str, str]) -> str:
    """The id of a job, computed alike from a plan and from a record."""
    return digest({"spec": spec, "seed": seed, "inputs": dict(inputs)})


@dataclass(frozen=True)
class Job:
    """One cell x seed, with its resolved settings, its grid and its inputs' fingerprints."""

    recipe: str
    protocol: str
    version: int  # of the protocol: raised when its code changes a figure
    cell: Mapping[str, Scalar]  # the recipe's axes at this job, in declared order
    seed: int
    settings: Closed  # the protocol's Settings, resolved for this cell
    grid: Grid = field(default_factory=dict)
    selection: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Every resolved field that can change the figure, as plain JSON values."""
        return {
            "protocol": self.protocol,
            "version": self.version,
            "settings": self.settings.identity(),
            "grid": {name: list(values) for name, values in self.varied.items()},
            "selection": self.selection,
        }

    @cached_property
    def id(self) -> str:
        """See `job_id`."""
        return job_id(self.spec, self.seed, self.inputs)

    @cached_property
    def spec_id(self) -> str:
        """See the function `spec_id`."""
        return spec_id(self.spec, self.seed)

    @cached_property
    def varied(self) -> Grid:
        """The grid's names that can change this job's figure: no text's weight without text."""
        relevant = self.settings.identity()
        return {name: values for name, values in self.grid.items() if name in relevant}

    def trials(self) -> list[dict[str, Scalar]]:
        """The grid's points in declared order (the last name varies fastest)."""
        points = itertools.product(*self.varied.values())
        return [dict(zip(self.varied, point, strict=True)) for point in points]


@dataclass(frozen=True)
class Curve:
    """A figure followed along an axis in one job: `values[metric][i]` belongs to `points[i]`."""

    axis: str
    points: tuple[Scalar, ...]
    values: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Outcome:
    """What a protocol returns for one job; records.py adds identity and provenance.

    `metrics` are the job's figures by name (the protocol's METRICS gives units). `trials` holds one
    list per recorded quantity, in the order of `Job.trials()`. `head` is what the selected trial
    learned, where `Context.heads` asks for it; it is stored in a file of its own.
    """

    metrics: Mapping[str, float]
    curves: tuple[Curve, ...] = ()
    selection: Mapping[str, Any] | None = None
    trials: Mapping[str, list[Any]] | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    head: Head | None = None


def silent(message: str) -> None:
    """The default progress sink."""


@dataclass(frozen=True)
class Context:
    """Where a job runs. Nothing here may change a figure beyond the device's rounding."""

    device: str = "cpu"
    cache: Path = Path()  # of features
    data: Path = Path("data")  # the folder that holds the data sets
    offline: bool = False
    say: Callable[[str], None] = silent  # progress inside a long job, one short line each
    heads: Place | None = None  # where selected heads are kept, if they are
