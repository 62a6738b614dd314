"""Records + the paper's numbers -> what a table says. Rendering is render/'s business.

Every number comes from a stored record; a cell without one is "not run", and an average over cells
of which one is missing is withheld.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from umlbench import paper, selection
from umlbench.analysis import relative_gain
from umlbench.analysis.exchange_rate import FITS
from umlbench.claims import Axes, Judged, Samples, Statement, Verdict, mean_over
from umlbench.derived import ExchangeRates
from umlbench.errors import UserError
from umlbench.paper import PaperTable
from umlbench.protocols import Metric
from umlbench.recipe import Recipe
from umlbench.records import Record, Stored
from umlbench.schema import Scalar, as_label
from umlbench.stats import Interval, interval

Coords = Mapping[str, Scalar]
_NOWHERE = object()  # no value of any axis: None is one


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
    figures: Mapping[tuple[Scalar, ...], Mapping[int, Record]]  # by cell (axes' order) and seed
    failed: tuple[Record, ...]  # jobs of this recipe that have nothing but failures
    stale: int  # records of other settings, versions, inputs or seeds, left out
    problems: tuple[str, ...]  # unreadable lines

    # --- looking figures up -------------------------------------------------------------------

    @property
    def records(self) -> list[Record]:
        """The records behind the figures, in plan order."""
        return [record for seeds in self.figures.values() for record in seeds.values()]

    @cached_property
    def derived(self) -> ExchangeRates | None:
        """What the report's analysis makes of the cells; its metrics are the report's then."""
        analysis = self.recipe.file.report.analysis
        return ExchangeRates(self, analysis) if analysis else None

    def samples(self, metric: str, coords: Coords) -> Samples:
        """The figure at a place of the report by seed, measured or derived."""
        if self.derived:
            return self.derived.rate(coords).by_seed(metric)
        if metric == relative_gain.NAME:
            gains = {s: relative_gain.gain(a, b) for s, (a, b) in self._paired(coords).items()}
            return {seed: gain for seed, gain in gains.items() if gain is not None}
        return self.measured(metric, coords)

    def measured(self, metric: str, coords: Coords) -> Samples:
        """The figure of one cell by seed; a coordinate that is no axis is a point of a curve."""
        axes = self.recipe.file.axes
        points = {name: value for name, value in coords.items() if name not in axes}
        records = self._records_at(coords)
        values = {seed: _figure(record, metric, points) for seed, record in records.items()}
        return {seed: value for seed, value in sorted(values.items()) if value is not None}

    def _records_at(self, coords: Coords) -> Mapping[int, Record]:
        axes = self.recipe.file.axes
        lacking = [axis for axis in axes if axis not in coords]
        if lacking:
            message = f"{self.recipe.id}: nothing says which {', '.join(lacking)} is meant"
            raise UserError(message, "name every axis in report.rows or report.columns")
        return self.figures.get(tuple(coords[axis] for axis in axes), {})

    # --- the table ----------------------------------------------------------------------------

    @property
    def metrics(self) -> dict[str, Metric]:
        """The printed metrics, with their labels and units."""
        known = self.recipe.metrics
        return {name: known[name] for name in self.recipe.file.report.metrics}

    @property
    def main_metric(self) -> str:
        """What is meant where no metric is named: the first that is no gain."""
        names = self.recipe.file.report.metrics
        return next((name for name in names if name != relative_gain.NAME), names[0])

    def axis(self, name: str) -> list[Scalar]:
        """The printed values of an axis, or the printed points of a curve."""
        if name in self.recipe.axes:
            return self.recipe.axes[name]
        return list(self.recipe.file.report.points[name])

    def product(self, names: list[str]) -> list[dict[str, Scalar]]:
        """Every combination of the values of some axes."""
        values = itertools.product(*(self.axis(name) for name in names))
        return [dict(zip(names, point, strict=True)) for point in values]

    def samples_of(self, coords: Coords, metric: str) -> Samples:
        """The figures by seed behind one number of the table, an average included."""
        over = self._averaged(coords)
        if not over or metric == relative_gain.NAME:  # of averages, not their average
            return self.samples(metric, coords)
        return mean_over([self.samples(metric, {**coords, over: v}) for v in self.axis(over)])

    def entry(self, coords: Coords, metric: str) -> Entry:
        """The number at one place of the table; without the averaged axis, the average."""
        over = self._averaged(coords)
        samples, counts = self.samples_of(coords, metric), (1, 1)
        if over:
            figures = [self.samples(metric, {**coords, over: v}) for v in self.recipe.axes[over]]
            counts = (sum(map(bool, figures)), len(figures))
        return Entry(
            coords=dict(coords),
            metric=metric,
            ours=self._summary(coords, metric, samples),
            paper=self._paper(coords, metric),
            versus=self._versus(coords, metric),
            seeds=len(self.recipe.file.seeds),
            cells=counts,
            ran=bool(over or self._ran(coords)),
        )

    def _ran(self, coords: Coords) -> bool:
        if self.derived:
            return bool(self.derived.rate(coords).points)
        return bool(self._records_at(coords))

    def _summary(self, coords: Coords, metric: str, samples: Samples) -> Interval | None:
        if self.derived and not self._averaged(coords):
            return self.derived.rate(coords).summary(metric)
        if not samples:
            return None
        if metric == relative_gain.NAME:
            ours, baseline = zip(*self._paired(coords).values(), strict=True)
            return relative_gain.over_seeds(ours, baseline)
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

    def _paper(self, coords: Coords, metric: str) -> float | None:
        """The printed number, or the gain that printed numbers make."""
        own = self.printed is not None and self.printed.metric == relative_gain.NAME
        if metric == relative_gain.NAME and self._is_baseline(coords):
            return None
        if metric == (relative_gain.NAME if own else self.main_metric):
            return self._printed_number(coords)
        if own or metric != relative_gain.NAME:
            return None
        both = (self._printed_number({**coords, **place}) for place in ({}, self._baseline))
        figure, baseline = both
        return relative_gain.gain(figure, baseline) if figure and baseline else None

    def _printed_number(self, coords: Coords) -> float | None:
        """An average only where ours runs over the same cells as theirs."""
        table, over = self.printed, self._averaged(coords)
        if table is None or not table.rows:
            return None
        if over and not self._same_average(table, over):
            return None
        wanted = [axis for axis in table.axes if axis != over]
        if any(coords.get(axis, _NOWHERE) not in table.axes[axis] for axis in wanted):
            return None
        at = {axis: coords[axis] for axis in wanted}
        if not over:
            return table.value(at)
        recomputed = table.recomputed_average(at)  # a misprint: see `notes`
        return table.printed_average(at) if recomputed is None else recomputed

    def _same_average(self, table: PaperTable, over: str) -> bool:
        return table.average == over and set(self.recipe.axes[over]) == set(table.axes[over])

    def _versus(self, coords: Coords, metric: str) -> Interval | None:
        if metric == relative_gain.NAME:
            return None  # which says it itself
        paired = [ours - baseline for ours, baseline in self._paired(coords, metric).values()]
        return interval(paired) if paired else None

    def _paired(self, coords: Coords, metric: str | None = None) -> dict[int, tuple[float, float]]:
        """A figure (the main one) and the baseline's by seed; nothing at the baseline itself."""
        if not self._baseline or self._is_baseline(coords):
            return {}
        name = metric or self.main_metric
        ours = self.samples_of(coords, name)
        baseline = self.samples_of({**coords, **self._baseline}, name)
        return {seed: (ours[seed], baseline[seed]) for seed in ours if seed in baseline}

    @property
    def _baseline(self) -> Coords:
        return self.recipe.file.report.baseline or {}

    def _is_baseline(self, coords: Coords) -> bool:
        return all(coords.get(axis) == value for axis, value in self._baseline.items())

    # --- beside the table ---------------------------------------------------------------------

    @property
    def done(self) -> int:
        """Jobs with a figure."""
        return sum(len(seeds) for seeds in self.figures.values())

    @cached_property
    def jobs(self) -> int:
        """Jobs the recipe means."""
        return sum(1 for _ in self.recipe.cells()) * len(self.recipe.file.seeds)

    @cached_property
    def verdicts(self) -> list[tuple[str, list[Verdict]]]:
        """Every machine-readable claim (the paper's first) and what our records say of it.

        The paper's claims are judged on the values that both sides have. An axis that a claim does
        not place is one it is judged for each value of.
        """
        ours: Axes = {**self.recipe.axes, **self.recipe.file.report.points}
        theirs = self.printed.axes if self.printed else {}
        both: Axes = {
            name: [v for v in values if v in theirs.get(name, values)]
            for name, values in ours.items()
        }
        judged = [(claim, both) for claim in (self.printed.claims if self.printed else ())]
        judged += [(claim, ours) for claim in self.recipe.file.claims]
        found = [
            (
                claim.text,
                self._everywhere(claim).judge(self._with_figure(claim, axes), self._lookup),
            )
            for claim, axes in judged
            if not isinstance(claim, Statement) and claim.applies(axes) and self._has(claim.metric)
        ]
        return [(text, verdicts) for text, verdicts in found if verdicts]

    def _has(self, metric: str | None) -> bool:
        """Whether cells can have what a claim is about: a gain needs a baseline."""
        return metric != relative_gain.NAME or metric in self.recipe.metrics

    def _everywhere(self, claim: Judged) -> Judged:
        placed = {*claim.for_each, claim.over, *(n for side in claim.sides({}) for n in side)}
        free = [axis for axis in self.recipe.axes if axis not in placed]
        return claim.model_copy(update={"for_each": [*free, *claim.for_each]}) if free else claim

    def _with_figure(self, claim: Judged, axes: Axes) -> Axes:
        """The places of a claim: the baseline has no gain over itself."""
        if claim.metric != relative_gain.NAME or len(self._baseline) != 1:
            return axes
        ((axis, baseline),) = self._baseline.items()
        return {**axes, axis: [value for value in axes[axis] if value != baseline]}

    def _lookup(self, metric: str | None, coords: Coords) -> Samples:
        return self.samples(metric or self.main_metric, coords)

    def notes(self) -> list[str]:
        """Footnotes: how to read the numbers, what was chosen, what is missing."""
        file = self.recipe.file
        lines = _reading(self) + (self.derived.notes() if self.derived else [])
        if file.selection:
            rule, trials = selection.DESCRIPTIONS[file.selection], _trials(file.grid)
            lines.append(f"Selection `{file.selection}` among {trials} trials a job: {rule}.")
        lines += [" ".join(note.split()) for note in file.notes]
        return lines + _on_paper(self) + _on_records(self)

    def label(self, axis: str, value: Scalar) -> str:
        """The printed name of an axis' value."""
        own = self.recipe.file.report.labels.get(axis, {})
        if value in own:
            return own[value]
        if self.printed and axis in self.printed.labels:
            return self.printed.label(axis, value)
        if axis == "fit" and self.derived:
            return FITS[str(value)].label
        return as_label(value)


def build(recipe: Recipe, stored: Stored) -> Report:
    """The report of a recipe from stored records alone (no data, no weights, no training).

    The order of the lines in a file decides nothing: a job's latest success counts.
    """
    best = _latest(record for record in stored.records if record.ok)
    failures = _latest(record for record in stored.records if not record.ok)
    figures: dict[tuple[Scalar, ...], dict[int, Record]] = {}
    failed: dict[str, Record] = {}
    for job in recipe.jobs():
        if job.spec_id in best:
            figures.setdefault(tuple(job.cell.values()), {})[job.seed] = best[job.spec_id]
        elif job.spec_id in failures:
            failed[job.spec_id] = failures[job.spec_id]
    if recipe.file.selection in selection.ACROSS_SEEDS:
        figures = {cell: _chosen_together(by_seed) for cell, by_seed in figures.items()}
    used = {record.id for seeds in figures.values() for record in seeds.values()}
    stale = len({record.id for record in stored.records if record.ok} - used)
    printed = _printed(recipe)
    return Report(recipe, printed, figures, tuple(failed.values()), stale, stored.problems)


def _chosen_together(by_seed: Mapping[int, Record]) -> dict[int, Record]:
    """One cell's records with the figures of the trial that is best on average over the seeds."""
    trials = {seed: record.trials or {} for seed, record in by_seed.items()}
    if not all("val_accuracy" in one for one in trials.values()):
        return dict(by_seed)  # without a grid there is nothing to choose
    best = selection.best_on_average([one["val_accuracy"] for one in trials.values()])
    return {seed: _of_trial(record, best) for seed, record in by_seed.items()}


def _of_trial(record: Record, index: int) -> Record:
    """A record with another trial's figures; a metric that trials do not have is left out."""
    lists = record.trials or {}
    lists = {**lists, "accuracy": lists.get("test_accuracy", [])}
    metrics = {name: lists[name][index] for name in record.metrics if lists.get(name)}
    return replace(record, metrics={name: v for name, v in metrics.items() if v is not None})


def _printed(recipe: Recipe) -> PaperTable | None:
    """The paper's numbers; `digits`, `theory` and a user's own recipes are no items of it."""
    name = recipe.file.paper or recipe.id
    return paper.load(name) if name in paper.names() else None


def _latest(records: Iterable[Record]) -> dict[str, Record]:
    """By `spec_id`, the record that finished last."""
    latest: dict[str, Record] = {}
    for record in records:
        known = latest.get(record.spec_id)
        if known is None or (record.finished, record.id) >= (known.finished, known.id):
            latest[record.spec_id] = record
    return latest


def _figure(record: Record, metric: str, points: Coords) -> float | None:
    """A metric of a record, or of its curve at one point of the curve's axis."""
    if not points:
        return record.metrics.get(metric)
    for curve in record.curves:
        if metric in curve.values and list(points) == [curve.axis]:
            at: dict[Scalar, float] = dict(zip(curve.points, curve.values[metric], strict=True))
            return at.get(points[curve.axis])
    return None


def _reading(report: Report) -> list[str]:
    """What the numbers are: mean or worst case, unit, and how differences are taken."""
    count = len(report.recipe.file.seeds)
    over = f"over {count} seeds" if count > 1 else "of one seed"
    interval_text = " ± half-width of the 95% t-interval" if count > 1 else ""
    how = {
        "mean": f"Mean {over}{interval_text}",
        "min": f"Smallest {over}",
        "max": f"Largest {over}",
    }
    lines = []
    for rule, text in how.items():
        metrics = [metric for metric in report.metrics.values() if metric.over_seeds == rule]
        if metrics and not report.derived:
            lines.append(f"{text}: {', '.join(f'{m.label} ({m.unit})' for m in metrics)}.")
    if report.recipe.file.report.baseline and count > 1:
        lines.append(
            "Differences between cells are paired over seeds; bold: the interval excludes 0."
        )
    return lines


def _on_paper(report: Report) -> list[str]:
    """Where the printed numbers come from, and what their reader must know."""
    table = report.printed
    if table is None or not table.rows:
        return []
    lines = [f"Paper's numbers: {table.source}."]
    if table.uncertain:
        lines.append(f"Paper: {' '.join(table.uncertain.split())}")
    for row in table.rows if report.recipe.file.report.average else ():
        if row.recomputed is not None:
            place = ", ".join(
                f"{a.replace('_', ' ')} {table.label(a, v)}" for a, v in row.at.items()
            )
            lines.append(
                f"Paper: the average printed for {place} is {row.average:.2f}, "
                f"the mean of its line {row.recomputed:.2f}; the mean is used here."
            )
    return lines


def _on_records(report: Report) -> list[str]:
    """What is missing, left out, or does not fit together."""
    lines = []
    if report.done < report.jobs:
        lines.append(f"{report.done} of {report.jobs} jobs have a record; the rest is not run.")
    if report.failed:
        first = report.failed[0]
        place = ", ".join(f"{axis}={value}" for axis, value in first.cell.items())
        lines.append(
            f"{len(report.failed)} jobs failed; first {place}, seed {first.seed}: {first.error}"
        )
    if report.stale:
        what = "records of other settings, seeds, inputs or versions are left out"
        lines.append(f"{report.stale} stored {what}.")
    lines += [f"Unreadable: {problem}." for problem in report.problems]
    mixed = _mixed_inputs(report.records)
    if mixed:
        lines.append(f"Records differ in their inputs ({', '.join(mixed)}): run again.")
    return lines


def _trials(grid: Mapping[str, list[Scalar]]) -> int:
    count = 1
    for values in grid.values():
        count *= len(values)
    return count


def _mixed_inputs(records: Iterable[Record]) -> list[str]:
    """Names of inputs (a data set, an encoder) that have more than one fingerprint."""
    seen: dict[str, set[str]] = {}
    for record in records:
        for name, fingerprint in record.inputs.items():
            seen.setdefault(name, set()).add(fingerprint)
    return sorted(name for name, fingerprints in seen.items() if len(fingerprints) > 1)
