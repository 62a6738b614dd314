"""The paper's printed numbers and the claims it makes about them (arXiv 2510.08492v1).

One YAML per table, and one per group of figures that show the same experiment, in tables/. A file
is named by its first number: `table17`, `figure3` (which also carries figure 39). Figures 1, 2 and
4 are diagrams without data and have no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from umlbench.claims import Claim, Coords, Samples, Statement, Trend
from umlbench.errors import UserError, unknown
from umlbench.resources import folder
from umlbench.schema import Closed, Scalar, as_label, located
from umlbench.schema.located import ProblemsError
from umlbench.schema.wording import explain

Values = Annotated[list[Scalar], Field(min_length=1)]

TABLES = range(1, 30)
# The first figure of each group: the other figures of the same experiment.
FIGURES: Mapping[int, Sequence[int]] = {
    3: (39,),
    5: (12, 13, 14, 15),
    6: (36, 37, 38),
    7: (),
    8: (9, *range(16, 32)),
    10: (11, 40),
    32: (),
    33: (34,),
    35: (),
    41: (42, 43),
    44: (45, 46, 47),
}
_DIAGRAMS = (1, 2, 4)

Family = Literal[
    "self-supervised",
    "full fine-tuning",
    "full linear probe",
    "few-shot linear probe",
    "three modalities",
    "gaussian",
    "robustness",
    "transfer",
    "exchange rate",
    "neurons",
    "geometry",
    "data",
    "settings",
]
Content = Literal["measured", "claims", "statistics", "settings", "examples"]


class Row(Closed):
    """One printed line: its coordinates, its numbers by the `columns` axis (None: not applicable).

    `average` is as printed; `recomputed` is the mean of the columns where the two do not agree.
    """

    at: dict[str, Scalar] = Field(default_factory=dict)
    values: dict[Scalar, float | None]
    average: float | None = None
    recomputed: float | None = None


class Shown(Closed):
    """What one figure of a group shows of it: these cells, metrics and kinds of picture (all)."""

    at: dict[str, list[Scalar]] = Field(default_factory=dict)
    metrics: list[str] = Field(default_factory=list)
    kinds: list[Literal["lines", "isolines", "planes", "prototypes"]] = Field(default_factory=list)

    @property
    def only(self) -> list[str]:
        """`at` as `--only` says it."""
        return [f"{axis}={','.join(map(str, values))}" for axis, values in self.at.items()]


class PaperTable(Closed):
    """One table, or one group of figures, of the paper."""

    id: str
    title: str
    numbers: list[int]
    source: str
    family: Family
    content: Content
    metric: str | None = None
    unit: str | None = None
    higher_is_better: bool | None = None
    seeds: int | None = None  # how many the printed means are over, where that is stated
    context: dict[str, str] = Field(default_factory=dict)
    axes: dict[str, Values] = Field(default_factory=dict)  # values in printed order
    columns: str | None = None  # the axis that runs across the page
    average: str | None = None  # the axis the printed average runs over
    labels: dict[str, dict[Scalar, str]] = Field(default_factory=dict)
    tolerance: float | None = None  # absolute, in the unit; None: only the claims are checked
    rows: list[Row] = Field(default_factory=list)
    claims: list[Claim] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    shows: dict[int, Shown] = Field(default_factory=dict)  # by number, where figures differ
    uncertain: str | None = None  # what a reader of the printed numbers must know
    notes: list[str] = Field(default_factory=list)

    @cached_property
    def _numbers(self) -> dict[tuple[Scalar, ...], float | None]:
        """Every printed cell by its coordinates in the order of `axes`."""
        return {
            tuple({**row.at, self.columns or "": column}[name] for name in self.axes): number
            for row in self.rows
            for column, number in row.values.items()
        }

    @cached_property
    def _averages(self) -> dict[tuple[Scalar, ...], Row]:
        names = [name for name in self.axes if name != self.average]
        return {
            tuple(row.at[name] for name in names): row
            for row in self.rows
            if row.average is not None
        }

    def _key(self, coords: Coords, axes: Sequence[str]) -> tuple[Scalar, ...]:
        for name in coords:
            if name not in axes:
                raise unknown(f"axis of {self.id}", name, axes)
        missing = [name for name in axes if name not in coords]
        if missing:
            raise UserError(
                f"{self.id}: the coordinates lack {', '.join(missing)}",
                f"its axes: {', '.join(axes)}",
            )
        return tuple(coords[name] for name in axes)

    def value(self, coords: Coords) -> float | None:
        """The printed number at `coords` (every axis), None where the paper prints none."""
        return self._numbers.get(self._key(coords, list(self.axes)))

    def cells(self) -> Iterator[tuple[dict[str, Scalar], float | None]]:
        """Every printed cell in reading order; a number is None where 'N/A' is printed."""
        for key, number in self._numbers.items():
            yield dict(zip(self.axes, key, strict=True)), number

    def _average_row(self, coords: Coords) -> Row | None:
        if self.average is None:
            return None
        return self._averages.get(
            self._key(coords, [name for name in self.axes if name != self.average])
        )

    def printed_average(self, coords: Coords) -> float | None:
        """The average as printed, `coords` naming every axis but the averaged one."""
        row = self._average_row(coords)
        return row.average if row else None

    def recomputed_average(self, coords: Coords) -> float | None:
        """The mean of the columns where the printed average is not that mean, else None."""
        row = self._average_row(coords)
        return row.recomputed if row else None

    def label(self, axis: str, value: Scalar) -> str:
        """The printed name of a value of `axis` (or of "metric"); the value itself without one."""
        return self.labels.get(axis, {}).get(value, as_label(value))

    def printed(self, metric: str | None, coords: Coords) -> Samples:
        """The lookup of the paper's own numbers, for a claim's `judge`: one sample, or none."""
        value = self.value(coords) if metric in (None, self.metric) else None
        return {} if value is None else {0: value}

    @model_validator(mode="after")
    def _check_rows(self) -> PaperTable:
        if self.rows and self.columns not in self.axes:
            raise ValueError(f"columns: '{self.columns}' is not one of the axes {list(self.axes)}")
        if self.average is not None and self.average != self.columns:
            raise ValueError("average: must be the columns axis")
        seen = set()
        for number, row in enumerate(self.rows):
            where = f"rows[{number}]"
            if set(row.at) != set(self.axes) - {self.columns}:
                raise ValueError(f"{where}.at: must name every axis but '{self.columns}'")
            self._check_coords(f"{where}.at", row.at)
            for column in row.values:
                self._check_coords(f"{where}.values", {str(self.columns): column})
            if row.average is not None and self.average is None:
                raise ValueError(f"{where}.average: the table does not say which axis it is over")
            key = frozenset(row.at.items())
            if key in seen:
                raise ValueError(f"{where}.at: a second row at the same coordinates")
            seen.add(key)
        return self

    @model_validator(mode="after")
    def _check_claims(self) -> PaperTable:
        for number, claim in enumerate(self.claims):
            if isinstance(claim, Statement):
                continue
            where = f"claims[{number}]"
            for name, values in claim.where.items():
                for value in values:
                    self._check_coords(f"{where}.where", {name: value})
            if isinstance(claim, Trend):
                self._check_names(f"{where}.along", [claim.along])
            named = [*claim.for_each, *([claim.over] if claim.over else [])]
            self._check_names(f"{where}.for_each", named)
            for side in claim.sides(self.axes):
                self._check_coords(where, side)
                if sorted([*named, *side]) != sorted(self.axes):
                    raise ValueError(f"{where}: must place every axis {list(self.axes)} once")
        return self

    @model_validator(mode="after")
    def _check_heading(self) -> PaperTable:
        given = (self.metric, self.unit, self.higher_is_better)
        if self.content in ("measured", "claims") and None in given:
            raise ValueError("metric: metric, unit and higher_is_better are needed")
        for axis, names in self.labels.items():
            for value in names if axis != "metric" else ():
                self._check_coords("labels", {axis: value})
        for number, shown in self.shows.items():
            if number not in self.numbers:
                raise ValueError(f"shows.{number}: is none of the numbers {self.numbers}")
            for axis, values in shown.at.items():
                for value in values:
                    self._check_coords(f"shows.{number}.at", {axis: value})
        return self

    def _check_names(self, where: str, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.axes:
                raise ValueError(f"{where}: '{name}' is not one of the axes {list(self.axes)}")

    def _check_coords(self, where: str, coords: Coords) -> None:
        self._check_names(where, list(coords))
        for name, value in coords.items():
            if value not in self.axes[name]:
                raise ValueError(f"{where}.{name}: {value!r} is not one of {self.axes[name]}")


def names() -> list[str]:
    """Every item of the paper: tables 1 to 29, then the figure groups in numeric order."""
    return [f"table{n}" for n in TABLES] + [f"figure{n}" for n in FIGURES]


def numbered(name: str) -> tuple[str, int]:
    """Kind ("t" or "f") and number of `Table 017` or `fig39`; ("", 0) for any other name."""
    match = re.fullmatch(r"(t|tab|table|f|fig|figure)[\s._-]*([0-9]+)", name.strip().lower())
    return (match[1][0], int(match[2])) if match else ("", 0)


def canonical(name: str) -> str:
    """The file stem an item goes by: `Table 017`, `fig39` -> `table17`, `figure3`.

    Raises `UserError` for an item the paper does not have, or one without data.
    """
    kind, number = numbered(name)
    if kind == "t" and number in TABLES:
        return f"table{number}"
    if kind == "f":
        for first, others in FIGURES.items():
            if number == first or number in others:
                return f"figure{first}"
        if number in _DIAGRAMS:
            raise UserError(
                f"figure {number} of the paper is a diagram without data",
                "`umlbench list` names every table and figure that has some",
            )
    raise unknown("table or figure", name, names())


def load(name: str) -> PaperTable:
    """The table or figure group called `name` (any form that `canonical` accepts)."""
    return read(folder("tables") / f"{canonical(name)}.yaml")


def shown(name: str) -> tuple[str, Shown]:
    """A figure by any name: what its file is called, and what it shows of its group.

    The group's own name stands for all of it; so does a number that shows no part.
    """
    table, number = load(name), numbered(name)[1]
    part = None if table.id == f"figure{number}" else table.shows.get(number)
    return (f"figure{number}", part) if part else (table.id, Shown())


@cache
def read(path: Path) -> PaperTable:
    """The table in one YAML file; raises `ProblemsError` with every problem and its position."""
    raw = located.read(path)
    try:
        return PaperTable.model_validate(raw.data)
    except ValidationError as error:
        raise ProblemsError(explain(error, raw, PaperTable)) from error
