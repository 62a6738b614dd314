"""The Python interface, which is also all that the command line calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umlbench import env, planning, reporting
from umlbench import recipe as recipes
from umlbench.deviations import Checked
from umlbench.deviations import check as check_report
from umlbench.errors import MissingInput, StorageError, unknown
from umlbench.executors.local import LocalExecutor
from umlbench.jobs import Context
from umlbench.planning import Plan
from umlbench.recipe import Recipe
from umlbench.records import Record, Store
from umlbench.render import FORMATS, plot, render
from umlbench.reporting import Report
from umlbench.running import Event, execute

EXECUTORS = ("local",)


@dataclass(frozen=True)
class Ran:
    """What a run did."""

    plan: Plan
    made: tuple[Record, ...]
    written: tuple[Path, ...]  # rendered files
    seconds: float

    @property
    def failed(self) -> tuple[Record, ...]:
        """The new records without a figure."""
        return tuple(record for record in self.made if not record.ok)


def load_recipe(name: str | Path, **changes: Any) -> Recipe:
    """A recipe by name or file. `changes`: `overrides`, `only` (sequences), `seeds` (text)."""
    return recipes.load(name, **changes)


def plan(
    name: str | Path,
    *,
    results: Path | None = None,
    fresh: bool = False,
    limit: int | None = None,
    **changes: Any,
) -> Plan:
    """What `run` would do with a recipe or a suite; runs nothing."""
    bundle = recipes.bundle(name, **changes)
    return planning.make(bundle, results or env.results(), fresh=fresh, limit=limit)


def run(
    name: str | Path,
    *,
    results: Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    executor: str = "local",
    offline: bool = False,
    on_plan: Callable[[Plan], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    **changes: Any,
) -> Ran:
    """Run what is missing of a recipe or suite, store records, render its tables.

    `workers` processes share a CPU (None: one per core); on GPUs there is one per device.
    Raises `MissingInput` before any training where data or weights are missing, and `StorageError`
    where records cannot be written.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    started = time.monotonic()
    made_plan = plan(name, results=results, **changes)
    if made_plan.missing:
        raise MissingInput("\n".join(made_plan.missing), f"`umlbench plan {name}` lists all")
    if on_plan:
        on_plan(made_plan)
    devices = env.devices(device, workers)
    context = Context(device=devices[0], cache=env.cache(), offline=offline)
    listen = {"on_event": on_event} if on_event else {}
    made = execute(made_plan, LocalExecutor(devices), context, **listen)
    written = tuple(write(made_plan))
    return Ran(made_plan, tuple(made), written, time.monotonic() - started)


def write(made_plan: Plan) -> Iterator[Path]:
    """Render the tables of a plan beside its records; not those of a changed recipe."""
    for part in made_plan.parts:
        if part.recipe.modified or not part.store.path.exists():
            continue
        built = reporting.build(part.recipe, part.store.load())
        yield from write_report(built, part.store.folder)


def write_report(built: Report, folder: Path) -> list[Path]:
    """Write `report.md`, `report.csv` and the plot of one report."""
    paths = []
    try:
        for form in ("markdown", "csv"):
            path = folder / f"report.{FORMATS[form][0]}"
            path.write_text(render(built, form), encoding="utf-8")
            paths.append(path)
        paths += plot.draw(built, folder)
    except OSError as error:
        message = f"cannot write the rendered table to {folder}: {error.strerror or error}"
        raise StorageError(
            message, "the records are safe: `umlbench report` renders again"
        ) from error
    return paths


def build_reports(
    names: Sequence[str | Path], *, results: Path | None = None, **changes: Any
) -> list[Report]:
    """Reports from stored records alone; without names, of everything that has records."""
    folder = results or env.results()
    found = []
    for name in names or recorded(folder):
        for recipe in recipes.bundle(name, **changes).recipes:
            found.append(reporting.build(recipe, Store(folder, recipe.id).load()))
    return found


def recorded(results: Path) -> list[str]:
    """The built-in recipes that have records in a results folder."""
    have = {path.parent.name for path in results.glob("*/records.jsonl")}
    return [name for name in recipes.names() if name in have]


def report(
    *names: str | Path, form: str = "markdown", results: Path | None = None, **changes: Any
) -> str:
    """The report of some recipes (all that have records, without a name) in a text format."""
    built = build_reports(names, results=results, **changes)
    return "\n".join(render(one, form) for one in built)


def check(
    *names: str | Path, results: Path | None = None, against: Path | None = None
) -> list[Checked]:
    """Compare stored records with the paper, and with the records of the folder `against`."""
    return [check_report(one, against) for one in build_reports(names, results=results)]
