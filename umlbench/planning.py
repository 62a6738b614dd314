"""Plan: which jobs a recipe means, which are done, which are missing, and what they will cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from umlbench import extraction, protocols
from umlbench.encoders.weights import Download, MissingWeights, is_offline
from umlbench.errors import MissingInput
from umlbench.extraction import FeatureCost
from umlbench.jobs import Context, Job
from umlbench.needs import Need, Reads
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
    downloads: tuple[Download, ...] = ()  # weights that a run fetches before it begins
    features: tuple[FeatureCost, ...] = ()  # of the missing jobs
    reads: Reads = field(default_factory=Reads)  # what the missing jobs read
    memory: int | None = None  # bytes that the largest missing job takes of its device, where known

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

    @property
    def downloads(self) -> tuple[Download, ...]:
        """Every download, once."""
        return tuple(dict.fromkeys(one for part in self.parts for one in part.downloads))

    @property
    def features(self) -> tuple[FeatureCost, ...]:
        """Every set of features that a run reads, once."""
        return tuple(dict.fromkeys(one for part in self.parts for one in part.features))


def make(
    bundle: Bundle,
    results: Path,
    context: Context,
    *,
    fresh: bool = False,
    limit: int | None = None,
) -> Plan:
    """The plan of a recipe or suite against the records in `results`, on the data of `context`.

    Opens no socket: `Context.offline` says only whether weights that the hub has are missing or to
    be downloaded.
    `fresh` plans every job again; `limit` keeps the first jobs of each recipe.
    """
    parts = tuple(_part(recipe, results, context, fresh, limit) for recipe in bundle.recipes)
    return Plan(bundle.id, parts)


def _part(recipe: Recipe, results: Path, context: Context, fresh: bool, limit: int | None) -> Part:
    store = Store(results, recipe.id)
    stored = store.load()
    inputs, missing, downloads = _inputs(recipe, context)
    # Cells that differ in nothing the protocol reads are one job (unimodal under two text types).
    unique: dict[str, Job] = {}
    for job in recipe.jobs(inputs):
        unique.setdefault(job.id, job)
    jobs = tuple(unique.values())[:limit]
    done = set() if fresh else stored.done()
    todo = tuple(job for job in jobs if job.id not in done)
    reads = together(protocols.reads(recipe.protocol, job.settings) for job in todo)
    here = replace(context, offline=True)
    features = tuple(extraction.costs(reads.features, here))
    timed = _seconds_per_job(stored)
    sizes = [protocols.memory(recipe.protocol, job.settings, here) for job in todo]
    memory = max((size for size in sizes if size is not None), default=None)
    return Part(
        recipe, store, stored, jobs, todo, missing, timed, downloads, features, reads, memory
    )


def together(many: Iterable[Reads]) -> Reads:
    """All of them as one, each need and each set of features once."""
    all_of = list(dict.fromkeys(many))
    needs = dict.fromkeys(need for one in all_of for need in one.needs)
    features = dict.fromkeys(encoded for one in all_of for encoded in one.features)
    return Reads(tuple(needs), tuple(features))


def _inputs(
    recipe: Recipe, context: Context
) -> tuple[dict[str, dict[str, str]], tuple[str, ...], tuple[Download, ...]]:
    """Fingerprints by settings (JSON) of each cell, what is missing, and what can be fetched."""
    look = _Look(replace(context, offline=True))
    found: dict[str, dict[str, str]] = {}
    for cell in recipe.cells():
        settings = recipe.settings(cell)
        key = settings.model_dump_json()
        lacking = [look(need) for need in protocols.reads(recipe.protocol, settings).needs]
        if key in found or any(lacking):
            continue
        try:
            found[key] = recipe.protocol.inputs(settings, look.context)
        except MissingInput as error:
            look.missing[str(error)] = None
    fetch = {} if is_offline(context.offline) else look.downloads
    lines = [line for line in look.missing if line not in fetch]
    return found, tuple(lines), tuple(dict.fromkeys(fetch.values()))


class _Look:
    """Looks for each need once, and remembers what it did not find."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.missing: dict[str, None] = {}
        self.downloads: dict[str, Download] = {}  # by the line that says it is missing
        self._lacking: dict[Need, bool] = {}

    def __call__(self, need: Need) -> bool:
        """Whether it is missing."""
        if need not in self._lacking:
            self._lacking[need] = self._is_missing(need)
        return self._lacking[need]

    def _is_missing(self, need: Need) -> bool:
        try:
            need.find(self.context)
        except MissingInput as error:
            self.missing[str(error)] = None
            if isinstance(error, MissingWeights) and error.download:
                self.downloads[str(error)] = error.download
            return True
        return False


def _seconds_per_job(stored: Stored) -> float | None:
    seconds = [sum(record.seconds.values()) for record in stored.records if record.ok]
    return fmean(seconds) if seconds else None
