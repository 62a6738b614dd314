"""Plan: which jobs a recipe means, which are done, which are missing, and what they will cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from umlbench.errors import MissingInput
from umlbench.jobs import Context, Job
from umlbench.recipe import Bundle, Recipe
from umlbench.records import Store, Stored


@dataclass(frozen=True)
class Part:
    """One recipe of a plan."""

    recipe: Recipe
    store: Store
    stored: Stored
    jobs: tuple[Job, ...]
    todo: tuple[Job, ...]
    missing: tuple[str, ...]  # data and weights that are not on this machine, one line each
    seconds_per_job: float | None  # from earlier records of this recipe, None without any

    @property
    def trials(self) -> int:
        """Trainings still to do (grid points of every missing job)."""
        return sum(len(job.trials()) for job in self.todo)

    @property
    def seconds(self) -> float | None:
        """The time the missing jobs will take on one worker, from earlier records."""
        return None if self.seconds_per_job is None else self.seconds_per_job * len(self.todo)


@dataclass(frozen=True)
class Plan:
    """What a command would do; making it runs nothing."""

    id: str
    parts: tuple[Part, ...]

    @property
    def jobs(self) -> int:
        """All jobs, done or not."""
        return sum(len(part.jobs) for part in self.parts)

    @property
    def todo(self) -> int:
        """The jobs without a record."""
        return sum(len(part.todo) for part in self.parts)

    @property
    def missing(self) -> tuple[str, ...]:
        """Every missing input, once."""
        return tuple(dict.fromkeys(line for part in self.parts for line in part.missing))


def make(
    bundle: Bundle,
    results: Path,
    context: Context,
    *,
    fresh: bool = False,
    limit: int | None = None,
) -> Plan:
    """The plan of a recipe or suite against the records in `results`, on the data of `context`.

    `fresh` plans every job again; `limit` keeps the first jobs of each recipe.
    """
    parts = tuple(_part(recipe, results, context, fresh, limit) for recipe in bundle.recipes)
    return Plan(bundle.id, parts)


def _part(recipe: Recipe, results: Path, context: Context, fresh: bool, limit: int | None) -> Part:
    store = Store(results, recipe.id)
    stored = store.load()
    inputs, missing = _inputs(recipe, context)
    jobs = tuple(recipe.jobs(inputs))[:limit]
    done = set() if fresh else stored.done()
    # Cells that differ in nothing the protocol reads are one job (unimodal under two text types).
    todo = tuple({job.id: job for job in reversed(jobs) if job.id not in done}.values())[::-1]
    return Part(recipe, store, stored, jobs, todo, missing, _seconds_per_job(stored))


def _inputs(recipe: Recipe, context: Context) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """Fingerprints by settings (JSON) of each cell, and what is missing."""
    found: dict[str, dict[str, str]] = {}
    missing: dict[str, None] = {}
    for cell in recipe.cells():
        settings = recipe.settings(cell)
        key = settings.model_dump_json()
        if key in found:
            continue
        try:
            found[key] = recipe.protocol.inputs(settings, context)
        except MissingInput as error:
            missing[str(error)] = None
    return found, tuple(missing)


def _seconds_per_job(stored: Stored) -> float | None:
    seconds = [sum(record.seconds.values()) for record in stored.records if record.ok]
    return fmean(seconds) if seconds else None
