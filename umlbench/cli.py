"""The command line: parse, call one function, print. Nothing heavy is imported above a body."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

import typer

from umlbench.errors import Exit, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from umlbench.planning import Plan

app = typer.Typer(
    name="umlbench",
    help="Reproduce every table and figure of the UML paper (arXiv 2510.08492), and compare.",
    epilog="Start with: umlbench list | umlbench run quickstart | umlbench report",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cache_app = typer.Typer(help="The feature cache on disk.", no_args_is_help=True)
app.add_typer(cache_app, name="cache", epilog="Example: umlbench cache ls")


def _complete(incomplete: str) -> list[str]:
    from umlbench import recipe

    return [name for name in recipe.names() if name.startswith(incomplete)]


# Options that several commands share. typer reads Optional at run time on Python 3.10.
Name = Annotated[
    str,
    typer.Argument(help="A table, figure or suite, or a recipe file.", autocompletion=_complete),
]
Names = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(help="Tables, figures or suites (default: all run).", autocompletion=_complete),
]
Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's value; repeatable."),
]
Only = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--only", metavar="AXIS=VALUE[,...]", help="Keep these cells; repeatable."),
]
Seeds = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(metavar="1,2,3|1-5", envvar="UMLBENCH_SEEDS", help="Seeds instead of its own."),
]
Results = Annotated[
    Path,
    typer.Option(metavar="DIR", envvar="UMLBENCH_RESULTS", help="Folder of records and tables."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Fresh = Annotated[
    bool, typer.Option("--fresh", envvar="UMLBENCH_FRESH", help="Run again what is done.")
]
Limit = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, envvar="UMLBENCH_LIMIT", help="Only the first N jobs of each recipe."),
]
RESULTS = Path("results")


@app.command(name="list", epilog="Example: umlbench list --json | jq '.[] | select(.jobs > 0)'")
def list_(results: Results = RESULTS, as_json: Json = False) -> None:
    """Every table and figure of the paper: title, family, what has been run."""
    from umlbench import catalogue

    items = catalogue.items(results)
    if as_json:
        return _print_json([item.plain() for item in items])
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table("name", "title", "family", "status", box=box.SIMPLE, pad_edge=False)
    for item in items:
        table.add_row(item.shown_name, escape(item.title), item.family, item.status)
    return _console().print(table)


@app.command(epilog="Examples: umlbench show table17 | umlbench show figure39 --json")
def show(name: Name, as_json: Json = False) -> None:
    """The resolved recipe, the paper's numbers, the claims and notes of one item."""
    from umlbench import catalogue

    shown = catalogue.describe(name)
    if as_json:
        return _print_json(shown.plain())
    return _console().print(shown.text(), highlight=False, markup=False)


@app.command(epilog="Example: umlbench plan table17 --only dataset=dtd,shots=1,2")
def plan(
    name: Name,
    change: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: Results = RESULTS,
    fresh: Fresh = False,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """What a run would do: jobs and trainings total, done, missing, and the time; runs nothing."""
    from umlbench import api

    made = api.plan(
        name,
        results=results,
        fresh=fresh,
        limit=limit,
        overrides=change or (),
        only=only or (),
        seeds=seeds,
    )
    if as_json:
        return _print_json(_plan_json(made))
    return _print_plan(made)


@app.command(
    epilog="Examples: umlbench run quickstart | "
    "umlbench run digits --only shots=1,2 --seeds 1-10 --results /tmp/mine | "
    "umlbench run figure3 --set learning_rate=3.0e-4",
)
def run(
    name: Name,
    change: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: Results = RESULTS,
    device: Annotated[
        str,
        typer.Option(envvar="UMLBENCH_DEVICE", help="auto, cpu, cuda (all of them) or cuda:N."),
    ] = "auto",
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            min=1, envvar="UMLBENCH_WORKERS", help="Processes on a CPU (default: one per core)."
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(envvar="UMLBENCH_EXECUTOR", help="Where jobs run: local.")
    ] = "local",
    offline: Annotated[
        bool, typer.Option("--offline", envvar="UMLBENCH_OFFLINE", help="Never open a socket.")
    ] = False,
    fresh: Fresh = False,
    limit: Limit = None,
) -> None:
    """Run what is missing, store records, then print paper | ours | difference."""
    from umlbench import api, reporting
    from umlbench.render import console as terminal
    from umlbench.render.progress import PlanProgress, duration

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clusters stop jobs this way
    progress: PlanProgress | None = None
    console = _console(stderr=True)

    def begin(made: Plan) -> None:
        nonlocal progress
        if made.todo:
            console.print(f"{made.id}: {made.todo} of {made.jobs} jobs to run", highlight=False)
        progress = PlanProgress(made, console).__enter__()

    try:
        ran = api.run(
            name,
            results=results,
            device=device,
            workers=workers,
            executor=executor,
            offline=offline,
            fresh=fresh,
            limit=limit,
            overrides=change or (),
            only=only or (),
            seeds=seeds,
            on_plan=begin,
            on_event=lambda event: progress.on_event(event) if progress else None,
        )
    except KeyboardInterrupt:
        console.print("\nInterrupted; what has ended is recorded. Resume with:", highlight=False)
        console.print(_resume_command(), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    finally:
        if progress:
            progress.__exit__(None, None, None)
    for part in ran.plan.parts:
        terminal.show(reporting.build(part.recipe, part.store.load()), _console())
    if ran.made:
        console.print(f"{len(ran.made)} jobs in {duration(ran.seconds)}", highlight=False)
    if ran.failed:
        console.print(f"{len(ran.failed)} jobs failed; the same command tries them again.")
        raise typer.Exit(Exit.JOBS_FAILED)


@app.command(
    epilog="Examples: umlbench report | umlbench report figure3 --format markdown | "
    "umlbench report --format csv > all.csv",
)
def report(
    names: Names = None,
    form: Annotated[
        str,
        typer.Option("--format", envvar="UMLBENCH_FORMAT", help="console, markdown, csv or json."),
    ] = "console",
    results: Results = RESULTS,
    write: Annotated[
        bool, typer.Option("--write", help="Write the files beside the records again.")
    ] = False,
) -> None:
    """Render stored records beside the paper's numbers; runs nothing."""
    from umlbench import api
    from umlbench.render import console as terminal
    from umlbench.render import render

    reports = api.build_reports(names or (), results=results)
    if not reports:
        raise UserError(f"no records in {results}", "run something: umlbench run quickstart")
    for number, one in enumerate(reports):
        if write:
            api.write_report(one, results / one.recipe.id)
        if form == "console":
            terminal.show(one, _console())
        else:
            sys.stdout.write("\n" * bool(number and form == "markdown") + render(one, form))


@app.command(
    epilog="Examples: umlbench check | umlbench check figure3 | "
    "umlbench check digits --results /tmp/new --against results",
)
def check(
    names: Names = None,
    results: Results = RESULTS,
    against: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="DIR", help="Also compare with the records of this folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare records with the paper's numbers and claims; exit 1 on a deviation."""
    from umlbench import api

    checked = api.check(*(names or ()), results=results, against=against)
    if as_json:
        _print_json([one.plain() for one in checked])
    else:
        for one in checked:
            for line in one.lines():
                _console().print(line, highlight=False, markup=False, soft_wrap=True)
        if not checked:
            raise UserError(f"no records in {results}", "run something: umlbench run quickstart")
    if any(one.deviations for one in checked):
        raise typer.Exit(Exit.CHECK_FAILED)


@app.command(epilog="Example: umlbench validate mine.yaml recipes/*.yaml")
def validate(
    files: Annotated[list[str], typer.Argument(help="Recipe files or names.")],
    as_json: Json = False,
) -> None:
    """Every error of recipes at once, as file:line:column: key: what."""
    from umlbench import recipe

    errors = {str(file): recipe.errors(file) for file in files}
    if as_json:
        _print_json(errors)
    else:
        for file, lines in errors.items():
            print("\n".join(lines) if lines else f"{file}: ok")  # noqa: T201
    if any(errors.values()):
        raise typer.Exit(Exit.USAGE)


@app.command(epilog="Example: umlbench copy digits mine.yaml && umlbench run mine.yaml")
def copy(
    name: Name,
    target: Annotated[Path, typer.Argument(help="The new recipe file (.yaml).")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a built-in recipe into a file of yours, to edit and run."""
    from umlbench import recipe

    recipe.copy(name, target, force=force)
    _console().print(f"{target} written; edit it, then: umlbench run {target}", highlight=False)


@app.command(epilog="Example: umlbench doctor --json")
def doctor(results: Results = RESULTS, as_json: Json = False) -> None:
    """Versions, devices, folders and tokens present."""
    from umlbench import env

    facts = env.doctor(results)
    if as_json:
        return _print_json(facts)
    for name, value in facts.items():
        print(f"{name:<18} {value}")  # noqa: T201
    return None


@cache_app.command(name="path", epilog="Example: du -sh $(umlbench cache path)")
def cache_path() -> None:
    """Where the feature cache lies (UMLBENCH_CACHE)."""
    from umlbench import env

    print(env.cache())  # noqa: T201


@cache_app.command(name="ls", epilog="Example: umlbench cache ls --json")
def cache_ls(as_json: Json = False) -> None:
    """Every entry: encoder, data set, rows, width, size, state."""
    from umlbench import env, features

    found = features.entries(env.cache())
    if as_json:
        return _print_json([entry.plain() for entry in found])
    from rich import box
    from rich.table import Table

    names = ("encoder", "dataset", "split", "key", "rows", "width", "dtype", "MB", "state")
    table = Table(*names, box=box.SIMPLE, pad_edge=False)
    for e in found:
        shape = (str(e.items or "-"), str(e.width or "-"), e.dtype or "-")
        table.add_row(
            e.encoder, e.dataset, e.split, e.key[:12], *shape, f"{e.bytes / 1e6:.1f}", e.state
        )
    return _console().print(table)


@cache_app.command(name="verify", epilog="Example: umlbench cache verify || umlbench cache prune")
def cache_verify() -> None:
    """Read every entry again; exit 1 where a file is damaged or missing."""
    from umlbench import env, features

    problems = features.verify(env.cache())
    for problem in problems:
        print(problem)  # noqa: T201
    if problems:
        raise typer.Exit(Exit.CHECK_FAILED)
    print(f"{len(features.entries(env.cache()))} entries, no damage")  # noqa: T201


@cache_app.command(
    name="prune", epilog="Examples: umlbench cache prune --dry-run | umlbench cache prune --days 90"
)
def cache_prune(
    days: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=0, help="Also remove entries made more than this many days ago."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every entry.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say it, remove nothing.")] = False,
) -> None:
    """Remove unfinished and damaged entries (they are made again when needed)."""
    from datetime import timedelta

    from umlbench import env, features

    older = None if days is None else timedelta(days=days)
    removed = features.prune(env.cache(), older_than=older, everything=everything, dry_run=dry_run)
    word = "would remove" if dry_run else "removed"
    for entry in removed.entries:
        print(f"{word} {entry.encoder}/{entry.dataset}-{entry.split}/{entry.key}")  # noqa: T201
    print(f"{word} {len(removed.entries)} entries, {removed.bytes / 1e6:.1f} MB")  # noqa: T201


# --- printing ---------------------------------------------------------------------------------


def _console(stderr: bool = False) -> Console:
    """A console as wide as the terminal; piped output is never folded to 80 columns."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 200)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))  # noqa: T201


def _plan_json(made: Plan) -> dict[str, Any]:
    return {
        "id": made.id,
        "jobs": made.jobs,
        "todo": made.todo,
        "missing": list(made.missing),
        "parts": [
            {
                "recipe": part.recipe.id,
                "jobs": len(part.jobs),
                "todo": len(part.todo),
                "trainings": part.trials,
                "seconds": part.seconds,
                "problems": list(part.stored.problems),
            }
            for part in made.parts
        ],
    }


def _print_plan(made: Plan) -> None:
    from rich import box
    from rich.table import Table

    from umlbench.render.progress import duration

    table = Table("recipe", "jobs", "done", "to run", "trainings", "time", box=box.SIMPLE)
    for part in made.parts:
        time = "no timing yet" if part.seconds is None else f"about {duration(part.seconds)}"
        done = len(part.jobs) - len(part.todo)
        numbers = (len(part.jobs), done, len(part.todo), part.trials)
        table.add_row(part.recipe.id, *(str(n) for n in numbers), time if part.todo else "-")
    console = _console()
    console.print(table)
    console.print("Times are for one worker, from earlier records of the recipe.", highlight=False)
    for line in made.missing:
        console.print(f"missing: {line}", highlight=False, markup=False)
    for part in made.parts:
        for problem in part.stored.problems:
            console.print(f"warning: {problem}", highlight=False, markup=False)


def _resume_command() -> str:
    """This command again, without --fresh (which would begin anew)."""
    import shlex

    return shlex.join(["umlbench", *(arg for arg in sys.argv[1:] if arg != "--fresh")])


def main() -> NoReturn:
    """Run the command line; a `UserError` becomes one clear line and its exit code."""
    try:
        app()
    except UserError as error:
        for line in str(error).split("\n"):
            sys.stderr.write(f"{line}\n")
        sys.exit(error.exit_code)
    sys.exit(0)


if __name__ == "__main__":
    main()
