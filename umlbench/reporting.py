"""Records + the paper's numbers -> what a table says. Rendering is render/'s business.

Every number comes from a stored record; a cell without one is "not run", and an average over cells
of which one is missing is withheld.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from umlbench import paper, selection
from umlbench.claims import Axes, Samples, Statement, Verdict, mean_over
from umlbench.paper import PaperTable
from umlbench.protocols import Metric
from umlbench.recipe import Recipe
from umlbench.records import Record, Stored
from umlbench.schema import Scalar
from umlbench.stats import Interval, interval

Coords = Mapping[str, Scalar]


@dataclass(frozen=True)
class Entry:
    """One number of a table: ours, the paper's, and the paired difference to the baseline."""

    coords: Coords
    metric: str
    ours: Interval | None  # None: not run, or an average withheld
    paper: float | None
    versus: Interval | None  # ours minus the baseline, paired over seeds
    seeds: int  # how many the recipe asks for
    cells: tuple[int, int] = (1, 1)  # (with a figure, all) that an average runs over
    ran: bool = True  # whether the cell has a record at all

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.ours is None or self.paper is None else self.ours.mean - self.paper


@dataclass(frozen=True)
class Report:
    """The comparison of one recipe's records with the paper."""

    recipe: Recipe
    printed: PaperTable | None
    records: tuple[Record, ...]  # the ones that belong to this recipe, latest success first
    stale: int  # records of other settings, versions or seeds, left out
    problems: tuple[str, ...]  # unreadable lines

    # --- looking figures up -------------------------------------------------------------------

    @cached_property
    def _by_cell(self) -> dict[tuple[Scalar, ...], dict[int, Record]]:
        found: dict[tuple[Scalar, ...], dict[int, Record]] = {}
        axes = self.recipe.file.axes
        for record in self.records:
            key = tuple(record.cell[axis] for axis in axes)
            found.setdefault(key, {})[record.seed] = record
        return found

    def samples(self, metric: str, coords: Coords) -> Samples:
        """The figure at `coords` by seed; a coordinate that is no axis is a point of a curve."""
        axes = self.recipe.file.axes
        points = {name: value for name, value in coords.items() if name not in axes}
        records = self._records_at(coords)
        values = {seed: _figure(record, metric, points) for seed, record in records.items()}
        return {seed: value for seed, value in sorted(values.items()) if value is not None}

    def _records_at(self, coords: Coords) -> dict[int, Record]:
        return self._by_cell.get(tuple(coords[axis] for axis in self.recipe.file.axes), {})

    def mean_samples(self, metric: str, coords: Coords, over: str) -> tuple[Samples, int]:
        """Per seed, the mean over an axis where every cell has that seed; cells with a figure."""
        each = [self.samples(metric, {**coords, over: v}) for v in self.recipe.file.axes[over]]
        return mean_over(each), sum(bool(samples) for samples in each)

    # --- the table ----------------------------------------------------------------------------

    @property
    def metrics(self) -> dict[str, Metric]:
        """The printed metrics, with their labels and units."""
        known = self.recipe.protocol.METRICS
        return {name: known[name] for name in self.recipe.file.report.metrics}

    def axis(self, name: str) -> list[Scalar]:
        """The printed values of an axis, or the printed points of a curve."""
        if name in self.recipe.file.axes:
            return self.recipe.file.axes[name]
        return list(self.recipe.file.report.points[name])

    def product(self, names: list[str]) -> list[dict[str, Scalar]]:
        """Every combination of the values of some axes."""
        values = itertools.product(*(self.axis(name) for name in names))
        return [dict(zip(names, point, strict=True)) for point in values]

    def entry(self, coords: Coords, metric: str) -> Entry:
        """The number at one place of the table; without the averaged axis, the average."""
        over = self._averaged(coords)
        if over:
            samples, cells = self.mean_samples(metric, coords, over)
            counts = (cells, len(self.recipe.file.axes[over]))
        else:
            samples, counts = self.samples(metric, coords), (1, 1)
        return Entry(
            coords=dict(coords),
            metric=metric,
            ours=self._summary(metric, samples) if samples else None,
            paper=self._paper(coords, metric, over),
            versus=self._versus(coords, metric, samples, over),
            seeds=len(self.recipe.file.seeds),
            cells=counts,
            ran=bool(over or self._records_at(coords)),
        )

    def _summary(self, metric: str, samples: Samples) -> Interval:
        values = list(samples.values())
        rule = self.metrics[metric].over_seeds
        if rule == "mean":
            return interval(values)
        return Interval(min(values) if rule == "min" else max(values), None, len(values))

    def entries(self) -> Iterator[Entry]:
        """Every number of the table, row by row."""
        layout = self.recipe.file.report
        for row in self.product(layout.rows):
            for column in self.columns():
                for metric in layout.metrics:
                    yield self.entry({**row, **column}, metric)

    def columns(self) -> list[dict[str, Scalar]]:
        """The combinations that run across the page, the average's (an axis less) last."""
        layout = self.recipe.file.report
        columns = self.product(layout.columns)
        if layout.average in layout.columns:
            columns += self.product([axis for axis in layout.columns if axis != layout.average])
        return columns

    def _averaged(self, coords: Coords) -> str | None:
        over = self.recipe.file.report.average
        return over if over and over not in coords else None

    def _paper(self, coords: Coords, metric: str, over: str | None) -> float | None:
        table = self.printed
        if table is None or metric != self.recipe.file.report.metrics[0] or not table.rows:
            return None
        wanted = [axis for axis in table.axes if axis != over]
        if any(axis not in coords for axis in wanted):
            return None
        at = {axis: coords[axis] for axis in wanted}
        if any(value not in table.axes[axis] for axis, value in at.items()):
            return None
        return table.printed_average(at) if over else table.value(at)

    def _versus(
        self, coords: Coords, metric: str, samples: Samples, over: str | None
    ) -> Interval | None:
        baseline = self.recipe.file.report.baseline
        if not baseline or all(coords.get(axis) == value for axis, value in baseline.items()):
            return None
        at = {**coords, **baseline}
        other = self.mean_samples(metric, at, over)[0] if over else self.samples(metric, at)
        paired = [samples[seed] - other[seed] for seed in samples if seed in other]
        return interval(paired) if paired else None

    # --- beside the table ---------------------------------------------------------------------

    @property
    def done(self) -> int:
        """Jobs with a figure."""
        return len(self.records)

    @cached_property
    def jobs(self) -> int:
        """Jobs the recipe means."""
        return sum(1 for _ in self.recipe.cells()) * len(self.recipe.file.seeds)

    @cached_property
    def verdicts(self) -> list[tuple[str, list[Verdict]]]:
        """Every machine-readable claim (the paper's first) and what our records say of it."""
        ours: Axes = {**self.recipe.file.axes, **self.recipe.file.report.points}
        theirs = self.printed.axes if self.printed else {}
        shared = {
            name: [v for v in ours[name] if v in theirs[name]] for name in theirs if name in ours
        }
        judged = [(claim, shared) for claim in (self.printed.claims if self.printed else ())]
        judged += [(claim, ours) for claim in self.recipe.file.claims]
        return [
            (claim.text, claim.judge(axes, self._lookup))
            for claim, axes in judged
            if not isinstance(claim, Statement) and claim.applies(axes)
        ]

    def _lookup(self, metric: str | None, coords: Coords) -> Samples:
        return self.samples(metric or self.recipe.file.report.metrics[0], coords)

    def notes(self) -> list[str]:
        """Footnotes: how to read the numbers, what was chosen, what is missing."""
        file = self.recipe.file
        lines = [_reading(self)]
        if file.selection:
            rule, trials = selection.DESCRIPTIONS[file.selection], _trials(file.grid)
            lines.append(f"Selection `{file.selection}` among {trials} trials a job: {rule}.")
        lines += file.notes
        if self.printed and self.printed.uncertain:
            lines.append(f"Paper: {self.printed.uncertain}")
        if self.done < self.jobs:
            lines.append(f"{self.done} of {self.jobs} jobs have a record; the rest is not run.")
        lines += [f"Unreadable: {problem}." for problem in self.problems]
        mixed = _mixed_inputs(self.records)
        if mixed:
            lines.append(f"Records differ in their inputs ({', '.join(mixed)}): run again.")
        return lines

    def label(self, axis: str, value: Scalar) -> str:
        """The printed name of an axis' value."""
        own = self.recipe.file.report.labels.get(axis, {})
        if value in own:
            return own[value]
        if self.printed and axis in self.printed.labels:
            return self.printed.label(axis, value)
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def build(recipe: Recipe, stored: Stored) -> Report:
    """The report of a recipe from stored records alone (no data, no weights, no training)."""
    wanted = {job.spec_id for job in recipe.jobs()}
    latest = [record for record in stored.latest().values() if record.ok]
    mine = {record.spec_id: record for record in latest if record.spec_id in wanted}
    name = recipe.file.paper or recipe.id
    # `digits`, `theory` and a user's own recipes are no items of the paper.
    printed = paper.load(name) if name in paper.names() else None
    return Report(recipe, printed, tuple(mine.values()), len(latest) - len(mine), stored.problems)


def _figure(record: Record, metric: str, points: Coords) -> float | None:
    if not points:
        return record.metrics.get(metric)
    ((axis, point),) = points.items()
    for curve in record.curves:
        if curve.axis == axis and metric in curve.values and point in curve.points:
            return curve.values[metric][curve.points.index(float(point or 0))]
    return None


def _reading(report: Report) -> str:
    units = {metric.unit for metric in report.metrics.values()}
    seeds = len(report.recipe.file.seeds)
    text = f"Mean over {seeds} seeds ± half-width of the 95% t-interval"
    return f"{text}; unit: {', '.join(sorted(units))}."


def _trials(grid: Mapping[str, list[Scalar]]) -> int:
    count = 1
    for values in grid.values():
        count *= len(values)
    return count


def _mixed_inputs(records: tuple[Record, ...]) -> list[str]:
    """Names of inputs (a data set, an encoder) that have more than one fingerprint."""
    seen: dict[str, set[str]] = {}
    for record in records:
        for name, fingerprint in record.inputs.items():
            seen.setdefault(name, set()).add(fingerprint)
    return sorted(name for name, fingerprints in seen.items() if len(fingerprints) > 1)
