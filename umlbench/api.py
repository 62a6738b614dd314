"""The Python interface, which is also all that the command line calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umlbench import env, paper, planning, reporting
from umlbench import prepare as preparing
from umlbench import recipe as recipes
from umlbench.deviations import Checked
from umlbench.deviations import check as check_report
from umlbench.errors import MissingInput, StorageError, UserError, unknown
from umlbench.executors import Executor
from umlbench.executors.local import LocalExecutor
from umlbench.executors.ranks import RanksExecutor
from umlbench.features import Entry
from umlbench.jobs import Context, silent
from umlbench.planning import Plan
from umlbench.prepare import Found
from umlbench.recipe import Recipe
from umlbench.records import Record, Store
from umlbench.render import FORMATS, check_format, plot, render
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
    data: Path | None = None,
    offline: bool = False,
    fresh: bool = False,
    limit: int | None = None,
    **changes: Any,
) -> Plan:
    """What `run` would do with a recipe or a suite; runs nothing. `data`: where data sets lie."""
    bundle = recipes.bundle(name, **changes)
    context = Context(cache=env.cache(), data=data or env.data(), offline=offline)
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

    Weights are downloaded at their pinned revision unless `offline`. `quick` neither opens photos
    nor hashes weights.
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
    on_plan: Callable[[Plan], None] | None = None,
    on_event: Callable[[Event], None] | None = None,
    say: Callable[[str], None] = silent,
    **changes: Any,
) -> Ran:
    """Run what is missing of a recipe or suite, store records, render its tables.

    Weights are downloaded and features extracted before the first training; `say` hears of both.
    `workers` processes share a CPU (None: one per core); on GPUs there is one per device. The
    executor `ranks` puts all of them to one fine-tuning after the other, `local` one job to each.
    Raises `MissingInput` before any training where data or weights are missing, and `StorageError`
    where records cannot be written.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    started = time.monotonic()
    where: dict[str, Any] = {"results": results, "data": data, "offline": offline}
    how = {**where, "fresh": fresh, "limit": limit, **changes}
    made_plan = plan(name, **how)
    if made_plan.missing:
        raise _missing(made_plan, name)
    devices = env.devices(device, workers)
    context = Context(devices[0], env.cache(), data or env.data(), offline, say)
    if made_plan.downloads:
        preparing.download(made_plan, context)
        made_plan = plan(name, **how)
    extract(made_plan, context)
    if on_plan:
        on_plan(made_plan)
    listen = {"on_event": on_event} if on_event else {}
    made = execute(made_plan, EXECUTORS[executor](devices), context, **listen)
    written = tuple(write(made_plan))
    return Ran(made_plan, tuple(made), written, time.monotonic() - started)


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
    try:
        for form in ("markdown", "csv"):
            path = folder / f"report.{FORMATS[form][0]}"
            path.write_text(render([built], form), encoding="utf-8", newline="\n")
            paths.append(path)
        paths += plot.draw(built, folder)
    except OSError as error:
        raise StorageError(
            f"cannot write the rendered table to {folder}: {error.strerror or error}",
            f"the records are safe; once there is room: umlbench report {built.recipe.id} --write",
        ) from error
    return paths


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
