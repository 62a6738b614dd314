"""The printed table of a report, shared by console and markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from umlbench.analysis import relative_gain
from umlbench.claims import Finding, Verdict
from umlbench.protocols import Metric
from umlbench.reporting import Coords, Entry, Report
from umlbench.schema import Scalar
from umlbench.stats import Interval

FINDINGS: tuple[Finding, ...] = ("holds", "undecided", "reversed", "not run")
NOT_RUN, WITHHELD, NO_FIGURE = "not run", "–", "–"


@dataclass(frozen=True)
class Cell:
    """A text as it is printed; each format escapes it and has its own way to stress it."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Header and rows; the first `labels` columns are row labels."""

    header: list[str]
    rows: list[list[Cell]]
    labels: int


@dataclass(frozen=True)
class _Columns:
    """What stands across the page: the figures, then their differences to the baseline."""

    figures: Sequence[tuple[Coords, str]]  # (coordinates beside the row's, metric)
    differences: Sequence[tuple[Coords, str]]


def table(report: Report) -> Table:
    """One line per row, or one per row and kind of number where a row has several kinds."""
    layout = report.recipe.file.report
    figures = [(column, metric) for column in report.columns() for metric in layout.metrics]
    figures = [
        (column, metric) for column, metric in figures if _has_figure(report, column, metric)
    ]
    differences = [
        (c, m) for c, m in figures if _versus_column(report, c) and m != relative_gain.NAME
    ]
    columns = _Columns(figures, differences)
    kinds = [""] if _has_kinds(report) else []
    header = [_axis_name(axis) for axis in layout.rows] + kinds
    header += [_heading(report, *column) for column in columns.figures]
    header += [
        f"{_heading(report, *column)} − {_baseline_name(report)}" for column in columns.differences
    ]
    rows = [line for row in report.product(layout.rows) for line in _lines(report, row, columns)]
    return Table(header, rows, len(layout.rows) + len(kinds))


def _lines(report: Report, row: Coords, columns: _Columns) -> Iterator[list[Cell]]:
    entries = [report.entry({**row, **column}, metric) for column, metric in columns.figures]
    versus = [report.entry({**row, **column}, metric) for column, metric in columns.differences]
    labels = [Cell(report.label(axis, value)) for axis, value in row.items()]

    def line(kind: str, text: Callable[[Entry, Metric], Cell], *after: Cell) -> list[Cell]:
        kinds = [Cell(kind)] if _has_kinds(report) else []
        cells = [text(entry, report.metrics[entry.metric]) for entry in entries]
        return [*labels, *kinds, *cells, *(after or [Cell("")] * len(versus))]

    differences = [versus_baseline(entry, report.metrics[entry.metric]) for entry in versus]
    yield line("ours", ours, *differences)
    if any(entry.paper is not None for entry in entries):
        yield line("paper", _paper)
        yield line("ours − paper", _difference)
    if _baseline_in_rows(report) and any(entry.versus for entry in entries):
        yield line(f"ours − {_baseline_name(report)}", versus_baseline)


def ours(entry: Entry, metric: Metric) -> Cell:
    """`63.51 ± 1.20`, with (n/N) where seeds are missing; a cell without records is not run."""
    have, all_cells = entry.cells
    if entry.ours is not None:
        text = spread(entry.ours, metric)
        some = entry.ours.n < entry.seeds
        return Cell(f"{text} ({entry.ours.n}/{entry.seeds})" if some else text)
    if all_cells > 1:
        return Cell(f"{WITHHELD} ({have}/{all_cells})")
    return Cell(
        NO_FIGURE if entry.ran else NOT_RUN
    )  # a metric that this cell has not, or no record


def spread(value: Interval, metric: Metric, signed: bool = False) -> str:
    """A mean and the half-width of its interval, or its ends where they have none."""
    mean = metric.show(value.mean, signed)
    if value.bounds:
        return f"{mean} [{', '.join(metric.show(end, signed) for end in value.bounds)}]"
    return mean if value.half is None else f"{mean} ± {metric.show(value.half)}"


def versus_baseline(entry: Entry, metric: Metric) -> Cell:
    """The paired difference; strong where its interval excludes zero."""
    if entry.versus is None:
        return Cell("")
    text, value = spread(entry.versus, metric, signed=True), entry.versus
    return Cell(text, strong=value.half is not None and (value.low > 0 or value.high < 0))


def _paper(entry: Entry, metric: Metric) -> Cell:
    return Cell("" if entry.paper is None else metric.show(entry.paper))


def _difference(entry: Entry, metric: Metric) -> Cell:
    return Cell("" if entry.difference is None else metric.show(entry.difference, signed=True))


def _has_kinds(report: Report) -> bool:
    printed = report.printed is not None and bool(report.printed.rows)
    return printed or _baseline_in_rows(report)


def _baseline_in_rows(report: Report) -> bool:
    layout = report.recipe.file.report
    return any(axis in layout.rows for axis in layout.baseline or {})


def _has_figure(report: Report, column: Coords, metric: str) -> bool:
    """Whether a column has anything to say: the baseline has no gain over itself."""
    return (
        metric != relative_gain.NAME or _baseline_in_rows(report) or _versus_column(report, column)
    )


def _versus_column(report: Report, column: Coords) -> bool:
    baseline = report.recipe.file.report.baseline or {}
    if not baseline or _baseline_in_rows(report):
        return False
    return any(column.get(axis) != value for axis, value in baseline.items())


def _baseline_name(report: Report) -> str:
    baseline = report.recipe.file.report.baseline or {}
    return ", ".join(report.label(axis, value) for axis, value in baseline.items())


def _axis_name(axis: str) -> str:
    return axis.replace("_", " ")


def _heading(report: Report, column: Coords, metric: str) -> str:
    parts = [report.label(axis, value) for axis, value in column.items()]
    layout = report.recipe.file.report
    if layout.average in layout.columns and layout.average not in column:
        parts.append("Average")
    if len(layout.metrics) > 1 or not parts:
        parts.append(report.metrics[metric].label)
    return ", ".join(parts)


# --- claims -----------------------------------------------------------------------------------


def verdict_lines(report: Report) -> list[str]:
    """Each claim with where it holds, is undecided, is reversed or was not run."""
    lines = []
    for text, verdicts in report.verdicts:
        found = {f: [v for v in verdicts if v.finding == f] for f in FINDINGS}
        parts = [f"{f}{_places(report, found[f], verdicts)}" for f in FINDINGS if found[f]]
        lines.append(f"{text}: {'; '.join(parts)}.")
    return lines


def _places(report: Report, verdicts: list[Verdict], everything: list[Verdict]) -> str:
    """` at step 100 to 500 (projection scale 0.5)`; runs of a numeric last axis are joined."""
    if len(verdicts) == len(everything):
        return " everywhere" if len(everything) > 1 else ""
    axis = list(everything[0].at)[-1]
    order = list(dict.fromkeys(v.at[axis] for v in everything))
    members: dict[str, list[int]] = {}
    for verdict in verdicts:
        members.setdefault(_outer(report, verdict), []).append(order.index(verdict.at[axis]))
    shared: dict[str, list[str]] = {}  # what several outer places have in common is said once
    for outer, indices in members.items():
        where = f" at {_axis_name(axis)} {_runs(report, axis, indices, order)}"
        shared.setdefault(where, []).append(outer)
    whole = len({_outer(report, verdict) for verdict in everything})
    return " and".join(
        where if len(outer) == whole else f"{where} ({'; '.join(outer)})"
        for where, outer in shared.items()
    )


def _outer(report: Report, verdict: Verdict) -> str:
    """All of a verdict's place but its last axis."""
    *outer, _ = verdict.at.items()
    return ", ".join(f"{_axis_name(axis)} {report.label(axis, value)}" for axis, value in outer)


def _runs(report: Report, axis: str, indices: Sequence[int], order: Sequence[Scalar]) -> str:
    """The values at `indices` of `order`; three or more neighbouring numbers as `first to last`."""
    names = [report.label(axis, value) for value in order]
    numeric = all(isinstance(value, int | float) for value in order)
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    parts = []
    for run in runs:
        if numeric and len(run) > 2:
            parts.append(f"{names[run[0]]} to {names[run[-1]]}")
        else:
            parts += [names[i] for i in run]
    return ", ".join(parts)
