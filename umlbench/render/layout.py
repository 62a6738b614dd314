"""The printed table of a report as plain strings, shared by console and markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from umlbench.claims import Finding, Verdict
from umlbench.protocols import Metric
from umlbench.reporting import Coords, Entry, Report
from umlbench.schema import Scalar
from umlbench.stats import Interval

FINDINGS: tuple[Finding, ...] = ("holds", "undecided", "reversed", "not run")
NOT_RUN, WITHHELD, NO_FIGURE = "not run", "–", "–"


@dataclass(frozen=True)
class Table:
    """Header and rows of strings; the first `labels` columns are row labels."""

    header: list[str]
    rows: list[list[str]]
    labels: int


def table(report: Report) -> Table:
    """One line per row, or one per row and kind of number where the paper has numbers."""
    layout = report.recipe.file.report
    columns = [(column, metric) for column in report.columns() for metric in layout.metrics]
    differences = [(c, m) for c, m in columns if _versus_column(report, c)]
    rows = [
        line
        for row in report.product(layout.rows)
        for line in _lines(report, row, columns, differences)
    ]
    kinds = [""] if _has_kinds(report) else []
    header = [_axis_name(axis) for axis in layout.rows] + kinds
    header += [_heading(report, column, metric) for column, metric in columns]
    header += [_difference_heading(report, column) for column, _ in differences]
    return Table(header, rows, len(layout.rows) + len(kinds))


def _lines(
    report: Report,
    row: Coords,
    columns: Sequence[tuple[Coords, str]],
    differences: Sequence[tuple[Coords, str]],
) -> Iterable[list[str]]:
    entries = [report.entry({**row, **column}, metric) for column, metric in columns]
    labels = [report.label(axis, value) for axis, value in row.items()]
    versus = [report.entry({**row, **column}, metric) for column, metric in differences]
    if not _has_kinds(report):
        yield labels + _map(report, entries, ours) + _map(report, versus, versus_baseline)
        return
    blank = [""] * len(versus)
    yield [*labels, "ours", *_map(report, entries, ours), *_map(report, versus, versus_baseline)]
    if any(entry.paper is not None for entry in entries):
        yield [*labels, "paper", *_map(report, entries, _paper), *blank]
        yield [*labels, "ours − paper", *_map(report, entries, _difference), *blank]
    if _baseline_in_rows(report) and any(entry.versus for entry in entries):
        name = _baseline_name(report)
        yield [*labels, f"ours − {name}", *_map(report, entries, versus_baseline), *blank]


def _map(report: Report, entries: list[Entry], text: Callable[[Entry, Metric], str]) -> list[str]:
    return [text(entry, report.metrics[entry.metric]) for entry in entries]


def ours(entry: Entry, metric: Metric) -> str:
    """`63.51 ± 1.20`, with (n/N) where seeds are missing; a cell without records is not run."""
    have, all_cells = entry.cells
    if entry.ours is None and entry.ran and all_cells == 1:
        return NO_FIGURE  # a metric that this cell has not
    if entry.ours is None:
        return NOT_RUN if all_cells == 1 else f"{WITHHELD} ({have}/{all_cells})"
    text = spread(entry.ours, metric)
    return text if entry.ours.n == entry.seeds else f"{text} ({entry.ours.n}/{entry.seeds})"


def spread(value: Interval, metric: Metric, signed: bool = False) -> str:
    """A mean and the half-width of its interval."""
    mean = metric.show(value.mean, signed)
    return mean if value.half is None else f"{mean} ± {metric.show(value.half)}"


def versus_baseline(entry: Entry, metric: Metric) -> str:
    """The paired difference; bold where its interval excludes zero."""
    if entry.versus is None:
        return ""
    text = spread(entry.versus, metric, signed=True)
    sure = entry.versus.half is not None and (entry.versus.low > 0 or entry.versus.high < 0)
    return f"**{text}**" if sure else text


def _paper(entry: Entry, metric: Metric) -> str:
    return "" if entry.paper is None else metric.show(entry.paper)


def _difference(entry: Entry, metric: Metric) -> str:
    return "" if entry.difference is None else metric.show(entry.difference, signed=True)


def _has_kinds(report: Report) -> bool:
    printed = report.printed is not None and bool(report.printed.rows)
    return printed or _baseline_in_rows(report)


def _baseline_in_rows(report: Report) -> bool:
    layout = report.recipe.file.report
    return any(axis in layout.rows for axis in layout.baseline or {})


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


def _difference_heading(report: Report, column: Coords) -> str:
    return f"{_heading(report, column, '')} − {_baseline_name(report)}"


def verdict_lines(report: Report) -> list[str]:
    """Each claim with where it holds, is undecided, is reversed or was not run."""
    lines = []
    for text, verdicts in report.verdicts:
        found = {f: [v for v in verdicts if v.finding == f] for f in FINDINGS}
        counts = [f"{f} {_places(report, found[f], verdicts)}" for f in FINDINGS if found[f]]
        lines.append(f"{text}: {'; '.join(counts)}.")
    return lines


def _places(report: Report, verdicts: list[Verdict], everything: list[Verdict]) -> str:
    """`at step 100 to 500 (projection scale 0.5)`; runs of a numeric last axis are joined."""
    if len(verdicts) == len(everything):
        return "everywhere" if len(everything) > 1 else "here"
    places: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        *outer, _ = verdict.at.items()
        key = ", ".join(f"{_axis_name(a)} {report.label(a, v)}" for a, v in outer)
        places.setdefault(key, []).append(verdict)
    texts = []
    for outer_text, members in places.items():
        axis = list(members[0].at)[-1]
        order = list(dict.fromkeys(v.at[axis] for v in everything))
        inner = _runs(report, axis, [order.index(v.at[axis]) for v in members], order)
        texts.append(f"at {_axis_name(axis)} {inner}" + (f" ({outer_text})" if outer_text else ""))
    return f"{' and '.join(texts)}"


def _runs(report: Report, axis: str, indices: list[int], order: list[Scalar]) -> str:
    """Neighbouring values as `first to last`."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    names = [report.label(axis, value) for value in order]
    numeric = all(isinstance(value, int | float) for value in order)
    parts = []
    for run in runs:
        if numeric and len(run) > 2:
            parts.append(f"{names[run[0]]} to {names[run[-1]]}")
        else:
            parts += [names[i] for i in run]
    return ", ".join(parts)
