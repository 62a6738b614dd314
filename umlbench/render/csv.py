"""A report as tidy CSV: one line per number, full precision."""

from __future__ import annotations

import csv
import io

from umlbench.reporting import Report

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


def render(report: Report) -> str:
    """Columns: the axes, then `FIGURES`; an empty field where there is no number."""
    layout = report.recipe.file.report
    axes = [*layout.rows, *layout.columns]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*axes, *FIGURES])
    for entry in report.entries():
        ours, versus = entry.ours, entry.versus
        writer.writerow(
            [entry.coords.get(axis, "average") for axis in axes]
            + [
                entry.metric,
                _number(ours.mean if ours else None),
                _number(ours.half if ours else None),
                ours.n if ours else 0,
                _number(entry.paper),
                _number(entry.difference),
                _number(versus.mean if versus else None),
                _number(versus.half if versus else None),
            ]
        )
    return out.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"
