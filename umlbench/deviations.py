"""Deviations: from the paper's numbers and claims, and from an earlier folder of results."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from umlbench import reporting
from umlbench.errors import UserError
from umlbench.records import Store
from umlbench.reporting import Coords, Entry, Report
from umlbench.stats import interval

Kind = Literal["paper", "claim", "change"]


@dataclass(frozen=True)
class Deviation:
    """One number or claim that is not what it should be."""

    recipe: str
    kind: Kind
    at: dict[str, Any]
    what: str

    def __str__(self) -> str:
        place = ", ".join(f"{axis}={value}" for axis, value in self.at.items())
        return f"{self.kind}: {f'[{place}] ' if place else ''}{self.what}"


@dataclass(frozen=True)
class Checked:
    """What was compared, and what deviates."""

    recipe: str
    numbers: int  # numbers of ours set against a printed one
    claims: int  # points at which a claim could be judged
    earlier: int  # numbers set against the earlier results
    missing: int  # jobs without a record
    deviations: tuple[Deviation, ...]

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """One summary line, then one line per deviation."""
        compared = [
            _count(self.numbers, "number") + " against the paper" if self.numbers else "",
            _count(self.claims, "judged claim"),
            _count(self.earlier, "number") + " against earlier results" if self.earlier else "",
            _count(self.missing, "job") + " not run" if self.missing else "",
        ]
        found = _count(len(self.deviations), "deviation") if self.deviations else "no deviation"
        summary = f"{self.recipe}: {found} ({', '.join(filter(None, compared))})"
        return [summary, *(f"  {deviation}" for deviation in self.deviations)]


def check(ours: Report, against: Path | None = None) -> Checked:
    """Compare a report with the paper, and with the records of the folder `against`.

    - A number deviates from the paper where it differs by more than the table's tolerance plus the
      half-width of our own interval.
    - A claim deviates where our records reverse it.
    - A number has changed since `against` where the 95% interval of the difference, paired over the
      seeds of both, excludes zero (one common seed: where it differs at all).

    What was not run does not deviate; it is counted.
    """
    if against is not None and not against.is_dir():
        raise UserError(f"no folder {against} to check against", "name a folder of results")
    earlier = _earlier(ours, against) if against else None
    found: list[Deviation] = []
    counts: Counter[str] = Counter()
    for entry in ours.entries():
        found += _number(ours, entry, counts)
        if earlier is not None:
            found += _change(ours, earlier, entry, counts)
    for text, verdicts in ours.verdicts:
        for verdict in verdicts:
            counts["claim"] += verdict.finding != "not run"
            if verdict.finding == "reversed":
                found.append(_deviation(ours, "claim", verdict.at, f"reversed: {text}"))
    return Checked(
        recipe=ours.recipe.id,
        numbers=counts["paper"],
        claims=counts["claim"],
        earlier=counts["change"],
        missing=ours.jobs - ours.done,
        deviations=tuple(found),
    )


def _earlier(ours: Report, folder: Path) -> Report:
    return reporting.build(ours.recipe, Store(folder, ours.recipe.id).load())


def _number(ours: Report, entry: Entry, counts: Counter[str]) -> list[Deviation]:
    tolerance = ours.printed.tolerance if ours.printed else None
    if entry.ours is None or entry.paper is None or entry.difference is None or tolerance is None:
        return []
    counts["paper"] += 1
    allowed = tolerance + (entry.ours.half or 0.0)
    # 1e-9: decimal numbers on the limit are within it, whatever their binary form.
    if abs(entry.difference) <= allowed + 1e-9:
        return []
    metric = ours.metrics[entry.metric]
    what = (
        f"ours {metric.show(entry.ours.mean)}, paper {metric.show(entry.paper)}: "
        f"{metric.show(entry.difference, signed=True)}, allowed ±{metric.show(allowed)}"
    )
    return [_deviation(ours, "paper", entry.coords, what)]


def _change(ours: Report, earlier: Report, entry: Entry, counts: Counter[str]) -> list[Deviation]:
    """A number that is not what it was on the same seeds."""
    now, before = (report.samples_of(entry.coords, entry.metric) for report in (ours, earlier))
    common = [seed for seed in now if seed in before]
    if not common:
        return []
    counts["change"] += 1
    moved = interval([now[seed] - before[seed] for seed in common])
    # Records keep 7 significant digits: anything below that is the same number.
    rounding = 1e-6 * max(abs(before[seed]) for seed in common)
    if moved.low <= 0 <= moved.high or abs(moved.mean) <= rounding:
        return []
    metric, n = ours.metrics[entry.metric], len(common)
    was, is_now = (sum(side[seed] for seed in common) / n for side in (before, now))
    better = (moved.mean > 0) == metric.higher_is_better
    what = (
        f"{'better' if better else 'worse'} than before: was {metric.show(was)}, now "
        f"{metric.show(is_now)} ({metric.show(moved.mean, signed=True)}, {_count(n, 'seed')})"
    )
    return [_deviation(ours, "change", entry.coords, what)]


def _deviation(ours: Report, kind: Kind, at: Coords, what: str) -> Deviation:
    return Deviation(ours.recipe.id, kind, dict(at), what)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
