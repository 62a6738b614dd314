"""The Python interface, which is also all that the command line calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umlbench import env, paper, planning, protocols, reporting
from umlbench import prepare as preparing
from umlbench import recipe as recipes
from umlbench.deviations import Checked
from umlbench.deviations import check as check_report
from umlbench.errors import MissingInput, StorageError, UserError, unknown
from umlbench.executors import Executor
from umlbench.executors.local import LocalExecutor
from umlbench.executors.ranks import RanksExecutor
from umlbench.features import Entry
from umlbench.heads import PLACES, Place, Shelf, StoredHead
from umlbench.heads import find as find_head
from umlbench.heads import load as load_head
from umlbench.jobs import Context, silent
from umlbench.planning import Plan
from umlbench.prediction import Predictions
from umlbench.prediction import predict as predict_photos
from umlbench.prepare import Found
from umlbench.recipe import Recipe
from umlbench.records import Record, Store
from umlbench.render import FORMATS, check_format, figures, render
from umlbench.reporting import Report
from umlbench.running import Event, execute, extract

EXECUTORS: dict[str, Callable[[tuple[str, ...]], Executor]] = {
    "local": LocalExecutor,
    "ranks": RanksExecutor,
}


@dataclass(frozen=True)
class Ran:
    """What a run did."""

    plan: Plan
    made: tuple[Record, ...]
    written: tuple[Path, ...]  # rendered files
    seconds: float
    heads: tuple[Path, ...] = ()  # folders of stored heads

    @property
    def failed(self) -> tuple[Record, ...]:
        """The new records without a figure."""
        return tuple(record for record in self.made if not record.ok)


def load_recipe(name: str | Path, **changes: Any) -> Recipe:
    """A recipe by name or file. `changes`: `overrides`, `only` and `seeds` (`recipe.bundle`)."""
    return recipes.load(name, **changes)


def plan(
    name: str | Path,
    *,
    results: Path | None = None,
    data: Path | None = None,
    offline: bool = False,
    fresh: bool = False,
    limit: int | None = None,
    heads: str | None = None,
    **changes: Any,
) -> Plan:
    """What `run` would do with a recipe or a suite; runs nothing. `data`: where data sets lie."""
    bundle, kept = recipes.bundle(name, **changes), _place(heads)
    context = Context(cache=env.cache(), data=data or env.data(), offline=offline, heads=kept)
    return planning.make(bundle, results or env.results(), context, fresh=fresh, limit=limit)


def prepare(
    name: str | Path,
    *,
    data: Path | None = None,
    offline: bool = False,
    quick: bool = False,
    say: Callable[[str], None] = silent,
    **changes: Any,
) -> list[Found]:
    """Every data set, corpus and weight of a recipe or suite: present, missing or broken.

    Weights are downloaded at their pinned revision unless `offline`. `quick` opens neither photos
    nor sequences, and hashes no weights.
    """
    bundle = recipes.bundle(name, **changes)
    context = Context("cpu", env.cache(), data or env.data(), offline, say)
    return preparing.prepare(bundle, context, deep=not quick)


def run(
    name: str | Path,
    *,
    results: Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    executor: str = "local",
    data: Path | None = None,
    offline: bool = False,
    fresh: bool = False,
    limit: int | None = None,
    heads: str | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    say: Callable[[str], None] = silent,
    **changes: Any,
) -> Ran:
    """Run what is missing of a recipe or suite, store records, render its tables.

    Weights are downloaded and features extracted before the first training; `say` hears of both.
    `workers` processes share a CPU (None: one per core); on GPUs there is one per device. The
    executor `ranks` puts all of them to one fine-tuning after the other, `local` one job to each.
    `heads` keeps each job's selected head in that place; a job that is done without it runs again.
    Cells whose data or weights are missing are left out (`Ran.plan.missing` names what they lack).
    Raises `MissingInput` before any training where that leaves nothing to run or a data set is
    broken, and `StorageError` where records cannot be written.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    started = time.monotonic()
    where: dict[str, Any] = {"results": results, "data": data, "offline": offline}
    how = {**where, "fresh": fresh, "limit": limit, "heads": heads, **changes}
    made_plan = _runnable(name, how)
    devices = env.devices(device, workers)
    context = Context(devices[0], env.cache(), data or env.data(), offline, say, _place(heads))
    if made_plan.downloads:
        preparing.download(made_plan, context)
        made_plan = _runnable(name, how)
    extract(made_plan, context)
    if on_plan:
        on_plan(made_plan)
    listen = {"on_event": on_event} if on_event else {}
    made = execute(made_plan, EXECUTORS[executor](devices), context, **listen)
    written = tuple(write(made_plan))
    seconds = time.monotonic() - started
    return Ran(made_plan, tuple(made), written, seconds, tuple(_kept(made_plan, context)))


def _place(heads: str | None) -> Place | None:
    """Where heads are kept; `UserError` for a place that is none."""
    if heads is None:
        return None
    found = next((place for place in PLACES if place == heads), None)
    if found is None:
        raise unknown("place for heads", heads, PLACES)
    return found


def _kept(made_plan: Plan, context: Context) -> Iterator[Path]:
    """The folders that hold the heads of a plan's recipes, where they are kept."""
    for part in made_plan.parts:
        if context.heads and protocols.keeps_heads(part.recipe.protocol):
            yield Shelf(part.store.folder, context.cache).folder(context.heads)


def _runnable(name: str | Path, how: Mapping[str, Any]) -> Plan:
    """The plan of what can be run here; `MissingInput` where that is nothing, or data is broken."""
    whole = plan(name, **how)
    found = whole.runnable()
    if whole.broken or (whole.missing and not found.todo):
        raise _missing(whole, name)
    return found


def _missing(made_plan: Plan, name: str | Path) -> MissingInput:
    """All that a run lacks; what it would have downloaded too."""
    lines = [*made_plan.missing, *(f"to download: {one}" for one in made_plan.downloads)]
    hint = f"`umlbench prepare {name}` downloads what it can and looks through the rest"
    return MissingInput("\n".join(lines), hint)


def import_features(
    file: Path, *, dataset: str, split: str, name: str, data: Path | None = None
) -> Entry:
    """Take features made elsewhere into the cache; recipes call them `imported:<name>`.

    Raises `MissingInput` for an absent file or data set, `UserError` for rows that do not fit.
    """
    from umlbench import data as datasets
    from umlbench import features

    found = datasets.load(dataset, data or env.data(), cache=env.cache())
    return features.import_file(
        file, root=env.cache(), dataset=found, split=split, encoder_name=name
    )


def head(
    name: str | Path, *, seed: int | None = None, results: Path | None = None, **changes: Any
) -> StoredHead:
    """A stored head: its file's (.safetensors), or that of one cell and seed of a recipe.

    `changes` (`only`, `overrides`) narrow the recipe as for `run`. Raises `MissingInput` where none
    is stored, `UserError` where several match, `StorageError` where the file is damaged.
    """
    if str(name).endswith(".safetensors"):
        if seed is not None or any(changes.values()):
            what = (
                f"{name} is the head of one cell: --only, --set and --seed choose among a recipe's"
            )
            raise UserError(what, "leave them out, or name the recipe")
        return load_head(Path(name))
    seeds = None if seed is None else str(seed)
    recipe = recipes.load(name, seeds=seeds, **changes)
    return find_head(recipe, results or env.results(), env.cache())


def predict(
    name: str | Path,
    folder: str | Path,
    *,
    seed: int | None = None,
    results: Path | None = None,
    data: Path | None = None,
    device: str = "auto",
    offline: bool = False,
    say: Callable[[str], None] = silent,
    **changes: Any,
) -> Predictions:
    """Classify the photos below `folder` with a stored head (see `head`) and its frozen encoder."""
    chosen = head(name, seed=seed, results=results, **changes)
    where = env.devices(device, 1)[0]
    context = Context(where, env.cache(), data or env.data(), offline, say)
    return predict_photos(chosen, Path(folder), context)


def write(made_plan: Plan) -> Iterator[Path]:
    """Render the tables of a plan beside its records; not those of a changed recipe."""
    for part in made_plan.parts:
        if part.recipe.modified or not part.store.path.exists():
            continue
        built = reporting.build(part.recipe, part.store.load())
        yield from write_report(built, part.store.folder)


def write_report(built: Report, folder: Path) -> list[Path]:
    """Write `report.md`, `report.csv` and the plot of one report into an existing folder.

    Raises `StorageError` where that is not possible; the records are not touched.
    """
    paths = []
    with _rendering("table", folder, f"umlbench report {built.recipe.id} --write"):
        for form in ("markdown", "csv"):
            path = folder / f"report.{FORMATS[form][0]}"
            path.write_text(render([built], form), encoding="utf-8", newline="\n")
            paths.append(path)
        paths += figures.draw(built, folder)
    return paths


@contextmanager
def _rendering(what: str, folder: Path, again: str) -> Iterator[None]:
    """An `OSError` inside becomes one clear line that names the command to repeat."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write the rendered {what} to {folder}: {error.strerror or error}",
            f"the records are safe; once there is room: {again}",
        ) from error


def plot(
    name: str | Path,
    *,
    results: Path | None = None,
    formats: Sequence[str] = ("png",),
    out: Path | None = None,
    say: Callable[[str], None] = silent,
) -> list[Path]:
    """Draw what stored records say of a figure of the paper or a recipe; the files written.

    `figure8` draws all that its recipe has, another number of its group what that figure shows
    (`figure27`: one data set). Where the figure's recipe was not run, records of recipes that are
    `like` it are drawn, under their own names, and `say` is told. Files go to `out`, by default
    beside the records. Raises `UserError` where nothing is recorded or there is nothing to draw,
    `StorageError` where the disk fails.
    """
    for form in formats:
        check_format(form, *figures.FORMATS)
    folder, text = results or env.results(), str(name)
    stem, part = paper.shown(text) if paper.numbered(text)[1] else ("", paper.Shown())
    paths: list[Path] = []
    for built in _drawn(name, stem, part, folder, say):
        own = built.recipe.id
        target = out or folder / own
        called = own if not stem else stem if own == paper.canonical(text) else f"{own}-{stem}"
        with _rendering("figure", target, f"umlbench plot {text}"):
            target.mkdir(parents=True, exist_ok=True)
            how: dict[str, Any] = {"kinds": part.kinds, "metrics": part.metrics}
            paths += figures.draw(built, target, formats, stem=called, **how)
    if not paths:
        what = f"{text}: there is nothing to draw, since its recipe has no plot"
        raise UserError(what, f"its table: umlbench report {text}")
    return paths


def _drawn(
    name: str | Path, stem: str, part: paper.Shown, folder: Path, say: Callable[[str], None]
) -> list[Report]:
    """The reports of what is asked for, else of the recipes that are like it and were run."""
    item = paper.canonical(str(name)) if stem else ""
    if not item or item in recipes.names():
        asked = recipes.bundle(name, only=part.only).recipes
        built = [reporting.build(recipe, Store(folder, recipe.id).load()) for recipe in asked]
        if all(one.done for one in built):
            return built
    others = [reporting.build(r, Store(folder, r.id).load()) for r in recipes.like(item)]
    others = [one for one in others if one.done]
    if not others and item and item not in recipes.names():
        raise UserError(f"{name}: nothing is recorded, since it has no recipe yet")
    if not others:
        raise nothing_run((item or name,), folder)
    for one in others:
        say(f"{item} was not run; this is {one.recipe.id}: {one.recipe.file.title}")
    return others


def build_reports(
    names: Sequence[str | Path] = (), *, results: Path | None = None, **changes: Any
) -> list[Report]:
    """Reports from stored records alone; without names, of every built-in that has records."""
    folder = results or env.results()
    found: dict[str, Recipe] = {}
    for name in names or recorded(folder):
        for recipe in recipes.bundle(name, **changes).recipes:
            found.setdefault(recipe.id, recipe)  # a suite and one of its parts: once
    return [reporting.build(r, Store(folder, r.id).load()) for r in found.values()]


def recorded(results: Path) -> list[str]:
    """The built-in recipes with records in a results folder: the paper's order, then the rest."""
    built = recipes.names()
    order = [name for name in paper.names() if name in built]
    order += [name for name in built if name not in order]
    return [name for name in order if Store(results, name).path.is_file()]


def foreign(results: Path) -> list[str]:
    """The folders of a results folder with records of no built-in recipe (a user's own)."""
    have = sorted(path.parent.name for path in results.glob("*/records.jsonl"))
    built = recipes.names()
    return [name for name in have if name not in built]


def report(
    *names: str | Path, form: str = "markdown", results: Path | None = None, **changes: Any
) -> str:
    """The reports of some recipes (without a name: all that have records) in one text format."""
    check_format(form, *FORMATS)
    return render(build_reports(names, results=results, **changes), form)


def check(
    *names: str | Path, results: Path | None = None, against: Path | None = None
) -> list[Checked]:
    """Compare stored records with the paper, and with the records of the folder `against`.

    One `Checked` per recipe. Raises `UserError` where there is no record at all to compare.
    """
    folder = results or env.results()
    reports = build_reports(names, results=folder)
    if not any(one.done for one in reports):
        raise nothing_run(names, folder)
    return [check_report(one, against) for one in reports]


def nothing_run(names: Sequence[str | Path], results: Path) -> UserError:
    """The error where no record belongs to what was asked for."""
    what = f" of {', '.join(map(str, names))}" if names else ""
    return UserError(
        f"no records{what} in {results}",
        f"run first: umlbench run {names[0] if names else 'quickstart'}",
    )
