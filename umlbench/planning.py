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
from umlbench.heads import Shelf
from umlbench.jobs import Context, Job
from umlbench.needs import DatasetNeed, Need, Reads
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
    headless: int = 0  # jobs of `todo` that have a figure and run again for their heads
    blocked: frozenset[str] = frozenset()  # ids of `todo` that lack what no download brings
    broken: tuple[str, ...] = ()  # of `missing`: what is here, but not as it must be
    memory: int | None = None  # bytes that the largest missing job takes of its device, where known

    @property
    def trials(self) -> int:
        """Trainings still to do (grid points of every missing job)."""
        return sum(len(job.trials()) for job in self.todo)

    @property
    def seconds(self) -> float | None:
        """The time the missing jobs will take on one worker, from earlier records."""
        return None if self.seconds_per_job is None else self.seconds_per_job * len(self.todo)

    def runnable(self) -> Part:
        """The same without the blocked jobs, and without what only they read."""
        jobs, todo = (
            tuple(job for job in some if job.id not in self.blocked)
            for some in (self.jobs, self.todo)
        )
        return replace(self, jobs=jobs, todo=todo, reads=_reads(self.recipe, todo))


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
    def headless(self) -> int:
        """The jobs that have a record and run again because their heads shall be kept."""
        return sum(part.headless for part in self.parts)

    @property
    def missing(self) -> tuple[str, ...]:
        """Every missing input, once."""
        return tuple(dict.fromkeys(line for part in self.parts for line in part.missing))

    @property
    def broken(self) -> bool:
        """Whether data is here that is not as it must be."""
        return any(part.broken for part in self.parts)

    def runnable(self) -> Plan:
        """The same without the jobs whose data or weights are not here and cannot be fetched."""
        return replace(self, parts=tuple(part.runnable() for part in self.parts))

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
    `fresh` plans every job again; `limit` keeps the first jobs of each recipe. With `Context.heads`
    a job is done only when its head is stored there too.
    """
    parts = tuple(_part(recipe, results, context, fresh, limit) for recipe in bundle.recipes)
    return Plan(bundle.id, parts)


def _part(recipe: Recipe, results: Path, context: Context, fresh: bool, limit: int | None) -> Part:
    store = Store(results, recipe.id)
    stored = store.load()
    inputs = _inputs(recipe, context)
    # Cells that differ in nothing the protocol reads are one job (unimodal under two text types).
    unique: dict[str, Job] = {}
    for job in recipe.jobs(inputs.found):
        unique.setdefault(job.id, job)
    jobs = tuple(unique.values())[:limit]
    done = set() if fresh else stored.done()
    headless = _without_head(recipe, store, done.intersection(unique), context)
    todo = tuple(job for job in jobs if job.id not in done - headless)
    reads, here = _reads(recipe, todo), replace(context, offline=True)
    return Part(
        recipe,
        store,
        stored,
        jobs,
        todo,
        inputs.missing,
        _seconds_per_job(stored),
        inputs.downloads,
        features=tuple(extraction.costs(reads.features, here)),
        reads=reads,
        headless=sum(job.id in headless for job in todo),
        blocked=frozenset(j.id for j in todo if j.settings.model_dump_json() in inputs.blocked),
        broken=inputs.broken,
        memory=_memory(recipe, todo, here),
    )


def _reads(recipe: Recipe, jobs: Iterable[Job]) -> Reads:
    return together(protocols.reads(recipe.protocol, job.settings) for job in jobs)


def _memory(recipe: Recipe, jobs: Iterable[Job], here: Context) -> int | None:
    """What the largest of the jobs takes of its device."""
    sizes = [protocols.memory(recipe.protocol, job.settings, here) for job in jobs]
    return max((size for size in sizes if size is not None), default=None)


def _without_head(recipe: Recipe, store: Store, done: set[str], context: Context) -> set[str]:
    """The done jobs whose heads are asked for and not stored at that place."""
    place = context.heads
    if place is None or not protocols.keeps_heads(recipe.protocol):
        return set()
    shelf = Shelf(store.folder, context.cache)
    return {job for job in done if not shelf.path(place, job).is_file()}


def together(many: Iterable[Reads]) -> Reads:
    """All of them as one, each need and each set of features once."""
    all_of = list(dict.fromkeys(many))
    needs = dict.fromkeys(need for one in all_of for need in one.needs)
    features = dict.fromkeys(encoded for one in all_of for encoded in one.features)
    return Reads(tuple(needs), tuple(features))


@dataclass(frozen=True)
class _Inputs:
    """What was found for the cells of a recipe; cells are named by their settings (JSON)."""

    found: dict[str, dict[str, str]]  # fingerprints by cell
    blocked: set[str]  # cells that lack what no download brings
    missing: tuple[str, ...]
    broken: tuple[str, ...]
    downloads: tuple[Download, ...]


def _inputs(recipe: Recipe, context: Context) -> _Inputs:
    """Looks for everything that the cells read."""
    look = _Look(replace(context, offline=True))
    found: dict[str, dict[str, str]] = {}
    lacking: dict[str, list[str]] = {}
    for cell in recipe.cells():
        settings = recipe.settings(cell)
        key = settings.model_dump_json()
        if key in found or key in lacking:
            continue
        needs = protocols.reads(recipe.protocol, settings).needs
        if faults := [line for line in map(look, needs) if line]:
            lacking[key] = faults
            continue
        try:
            found[key] = recipe.protocol.inputs(settings, look.context)
        except MissingInput as error:
            lacking[key] = [str(error)]
    fetch = {} if is_offline(context.offline) else look.downloads
    return _Inputs(
        found,
        {key for key, lines in lacking.items() if not fetch.keys() >= set(lines)},
        tuple(dict.fromkeys(x for lines in lacking.values() for x in lines if x not in fetch)),
        tuple(look.broken),
        tuple(dict.fromkeys(fetch.values())),
    )


class _Look:
    """Looks for each need once, and remembers what it did not find."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.broken: list[str] = []
        self.downloads: dict[str, Download] = {}  # by the line that says it is missing
        self._lines: dict[Need, str] = {}

    def __call__(self, need: Need) -> str:
        """The line that says it is missing; empty where it is here."""
        if need not in self._lines:
            self._lines[need] = self._find(need)
        return self._lines[need]

    def _find(self, need: Need) -> str:
        try:
            need.find(self.context)
        except MissingInput as error:
            line = str(error)
            if isinstance(error, MissingWeights) and error.download:
                self.downloads[line] = error.download
            if isinstance(need, DatasetNeed) and not need.is_absent(self.context):
                self.broken.append(line)
            return line
        return ""


def _seconds_per_job(stored: Stored) -> float | None:
    seconds = [sum(record.seconds.values()) for record in stored.records if record.ok]
    return fmean(seconds) if seconds else None
