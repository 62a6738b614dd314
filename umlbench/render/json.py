"""Reports as JSON: every number with its coordinates, the claims' verdicts, the notes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from umlbench.reporting import Report
from umlbench.stats import Interval


def render(reports: Sequence[Report]) -> str:
    """A list with one object per report; figures have 7 significant digits as in the records."""
    return json.dumps([plain(report) for report in reports], indent=1, ensure_ascii=False) + "\n"


def plain(report: Report) -> dict[str, Any]:
    """The report as plain JSON values."""
    return {
        "id": report.recipe.id,
        "title": report.recipe.file.title,
        "command": f"umlbench run {report.recipe.source}",
        "jobs": {"done": report.done, "all": report.jobs, "failed": len(report.failed)},
        "units": {name: metric.unit for name, metric in report.metrics.items()},
        "entries": [
            {
                "at": dict(entry.coords),
                "metric": entry.metric,
                "ours": _interval(entry.ours),
                "paper": entry.paper,
                "difference": _round(entry.difference),
                "versus_baseline": _interval(entry.versus),
            }
            for entry in report.entries()
        ],
        "claims": [
            {
                "text": text,
                "verdicts": [
                    {"at": dict(v.at), "finding": v.finding, "evidence": _interval(v.evidence)}
                    for v in verdicts
                ],
            }
            for text, verdicts in report.verdicts
        ],
        "notes": report.notes(),
    }


def _interval(value: Interval | None) -> dict[str, Any] | None:
    if value is None:
        return None
    plain = {"mean": _round(value.mean), "ci95": _round(value.half), "seeds": value.n}
    return plain | {"bounds": [_round(end) for end in value.bounds]} if value.bounds else plain


def _round(value: float | None) -> float | None:
    """Seven digits; null for no number, and for an interval's end that there is not."""
    return None if value is None or math.isinf(value) else float(f"{value:.7g}")
