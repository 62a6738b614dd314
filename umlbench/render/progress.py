"""Progress of a whole plan: a live bar in a terminal, one plain line per job elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from umlbench.planning import Plan
from umlbench.running import Event


class PlanProgress:
    """Counts the jobs of a plan as they end and estimates when the last one will."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.todo = self.ended = self.failed = 0
        self.started = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, console=console, transient=True, disable=not self.live)

    @property
    def live(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self.console.is_terminal

    def on_plan(self, plan: Plan) -> None:
        """The jobs are known; the first starts now."""
        self.todo, self.started = plan.todo, time.monotonic()
        done = plan.jobs - plan.todo
        known = f", {done} are done" if done else ""
        again = f", {plan.headless} of them again to keep their heads" if plan.headless else ""
        self.say(f"{plan.id}: {plan.todo} of {plan.jobs} jobs to run{again}{known}")
        if plan.missing:
            self.say(
                "Cells whose data or weights are missing here are left out; the end names them."
            )
        if plan.todo:
            self.bar.start()
            self.task = self.bar.add_task(plan.id, total=plan.todo, note="")

    def __enter__(self) -> PlanProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def on_event(self, event: Event) -> None:
        """A job ended."""
        self.ended += 1
        record = event.record
        self.failed += not record.ok
        place = " ".join(f"{axis}={value}" for axis, value in record.cell.items())
        name = f"{record.recipe} {place} seed={record.seed}"
        failures = f", {self.failed} failed" if self.failed else ""
        self.bar.update(self.task, completed=self.ended, note=f"{self.eta()} left{failures}")
        if not record.ok:
            self.say(f"FAILED {name}: {record.error}")
        elif not self.live:
            self.say(f"[{self.ended}/{self.todo}] {name}: {_figure(event)} ({self.eta()} left)")

    def say(self, line: str) -> None:
        """One line above the bar."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def eta(self) -> str:
        """Time left at this plan's own rate so far (`1m20s`)."""
        rate = (time.monotonic() - self.started) / max(self.ended, 1)
        return duration(rate * (self.todo - self.ended))


def duration(seconds: float) -> str:
    """`45s`, `1m20s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _figure(event: Event) -> str:
    first, figures = event.part.recipe.file.report.metrics[0], event.record.metrics
    metric = first if first in figures else "accuracy"  # a report may print what records lack
    value = figures.get(metric)
    if value is None:
        return "done"
    shown = event.part.recipe.protocol.METRICS[metric]
    return f"{shown.label} {shown.show(value)}"
