"""Reports as tidy CSV: one line per number, 7 significant digits, one header for all."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from umlbench.reporting import Entry, Report
from umlbench.stats import Interval

FIGURES = (
    "metric",
    "ours",
    "ci95",
    "seeds",
    "paper",
    "difference",
    "versus_baseline",
    "versus_ci95",
)


def render(reports: Sequence[Report]) -> str:
    """Columns: recipe, every axis of the reports, then `FIGURES`; no number: an empty field.

    `ci95` is the half-width of the 95% interval (half its length where the mean is not in its
    middle); an axis that an average runs over is "average".
    """
    axes = list(dict.fromkeys(axis for report in reports for axis in _axes(report)))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["recipe", *axes, *FIGURES])
    for report in reports:
        own = _axes(report)
        for entry in report.entries():
            place = [entry.coords.get(axis, "average") if axis in own else "" for axis in axes]
            writer.writerow([report.recipe.id, *place, *_figures(entry)])
    return out.getvalue()


def _axes(report: Report) -> list[str]:
    layout = report.recipe.file.report
    return [*layout.rows, *layout.columns]


def _figures(entry: Entry) -> list[str]:
    seeds = str(entry.ours.n if entry.ours else 0)
    paper = [_number(entry.paper), _number(entry.difference)]
    return [entry.metric, *_interval(entry.ours), seeds, *paper, *_interval(entry.versus)]


def _interval(value: Interval | None) -> list[str]:
    if value is None:
        return ["", ""]
    half = (value.high - value.low) / 2 if value.bounds else value.half
    return [_number(value.mean), _number(half)]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"
