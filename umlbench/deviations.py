"""Deviations: from the paper's numbers and claims, and from an earlier folder of results."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from umlbench import reporting
from umlbench.records import Store
from umlbench.reporting import Coords, Report

Kind = Literal["paper", "claim", "regression"]


@dataclass(frozen=True)
class Deviation:
    """One number or claim that is not what it should be."""

    recipe: str
    kind: Kind
    at: dict[str, Any]
    what: str

    def __str__(self) -> str:
        place = ", ".join(f"{axis}={value}" for axis, value in self.at.items())
        return f"{self.recipe} [{place}]: {self.what}" if place else f"{self.recipe}: {self.what}"


@dataclass(frozen=True)
class Checked:
    """What was compared, and what deviates."""

    recipe: str
    numbers: int  # cells of ours set against a printed number
    claims: int  # points at which a claim could be judged
    regressions: int  # cells set against the earlier results
    missing: int  # cells without a record
    deviations: tuple[Deviation, ...]

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """One summary line, then one line per deviation."""
        counts = [
            f"{self.numbers} numbers against the paper",
            f"{self.claims} judged claims",
            f"{self.regressions} cells against earlier results" if self.regressions else "",
            f"{self.missing} cells not run" if self.missing else "",
        ]
        verdict = f"{len(self.deviations)} deviations" if self.deviations else "no deviation"
        summary = f"{self.recipe}: {verdict} ({', '.join(filter(None, counts))})"
        return [summary, *(f"  {deviation.kind}: {deviation}" for deviation in self.deviations)]


def check(ours: Report, against: Path | None = None) -> Checked:
    """Compare a report with the paper, and with the records of the folder `against`.

    A number deviates where it differs from the printed one by more than the table's tolerance plus
    our own interval; a claim where our records reverse it. What was not run does not deviate.
    """
    earlier = None
    if against is not None:
        earlier = reporting.build(ours.recipe, Store(against, ours.recipe.id).load())
    found: list[Deviation] = []
    counts = {"paper": 0, "claim": 0, "regression": 0, "missing": 0}
    for entry in ours.entries():
        counts["missing"] += entry.ours is None
        found += _number(ours, entry, counts)
        if earlier is not None:
            found += _regression(ours, earlier, entry, counts)
    for text, verdicts in ours.verdicts:
        for verdict in verdicts:
            counts["claim"] += verdict.finding != "not run"
            if verdict.finding == "reversed":
                found.append(_deviation(ours, "claim", verdict.at, f"reversed: {text}"))
    return Checked(
        recipe=ours.recipe.id,
        numbers=counts["paper"],
        claims=counts["claim"],
        regressions=counts["regression"],
        missing=counts["missing"],
        deviations=tuple(found),
    )


def _number(ours: Report, entry: reporting.Entry, counts: dict[str, int]) -> list[Deviation]:
    tolerance = ours.printed.tolerance if ours.printed else None
    if entry.ours is None or entry.paper is None or entry.difference is None or tolerance is None:
        return []
    counts["paper"] += 1
    allowed = tolerance + (entry.ours.half or 0.0)
    if abs(entry.difference) <= allowed:
        return []
    metric = ours.metrics[entry.metric]
    what = (
        f"ours {metric.show(entry.ours.mean)}, paper {metric.show(entry.paper)}: "
        f"{metric.show(entry.difference, signed=True)}, allowed ±{metric.show(allowed)}"
    )
    return [_deviation(ours, "paper", entry.coords, what)]


def _regression(
    ours: Report, earlier: Report, entry: reporting.Entry, counts: dict[str, int]
) -> list[Deviation]:
    """A cell that moved by more than both runs' intervals allow."""
    before = earlier.entry(entry.coords, entry.metric).ours
    if entry.ours is None or before is None:
        return []
    counts["regression"] += 1
    allowed = (entry.ours.half or 0.0) + (before.half or 0.0)
    moved = entry.ours.mean - before.mean
    # Records keep 7 significant digits: anything below that is the same number.
    if abs(moved) <= max(allowed, 1e-6 * abs(before.mean)):
        return []
    metric = ours.metrics[entry.metric]
    what = f"was {metric.show(before.mean)}, now {metric.show(entry.ours.mean)}"
    return [_deviation(ours, "regression", entry.coords, what)]


def _deviation(ours: Report, kind: Kind, at: Coords, what: str) -> Deviation:
    return Deviation(ours.recipe.id, kind, dict(at), what)
