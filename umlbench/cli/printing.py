"""What commands print: tables, plans, findings, plain lines, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from umlbench.api import Ran
    from umlbench.catalogue import Item
    from umlbench.extraction import FeatureCost
    from umlbench.planning import Plan
    from umlbench.prepare import Found


PIPE_WIDTH = 10_000
WIDE = 140  # columns that the list needs for one line per item


def console_on(stderr: bool = False) -> Console:
    """A console as wide as the terminal; piped output is never folded."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH)


def say(console: Console, *lines: str) -> None:
    """Plain lines, never folded: a path or a command stays whole."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Readable JSON on stdout."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def print_items(items: Iterable[Item], console: Console) -> None:
    """One line per item; on a narrow terminal the family stands behind the title."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    wide = console.width >= WIDE
    names = ("name", "title", "family", "status") if wide else ("name", "title", "status")
    table = Table(*names, box=box.SIMPLE, show_edge=False, pad_edge=False)
    for item in items:
        title, family = escape(item.title), escape(item.family)
        middle = (title, family) if wide else (f"{title} [dim]({family})[/]",)
        table.add_row(item.shown_name if wide else item.name, *middle, item.status)
    console.print(table)


def plan_json(made: Plan) -> dict[str, Any]:
    """A plan as plain values."""
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
                "memory": part.memory,
                "problems": list(part.stored.problems),
            }
            for part in made.parts
        ],
        "features": [one.plain() for one in made.features],
        "downloads": [vars(one) for one in made.downloads],
    }


def print_plan(made: Plan) -> None:
    """Jobs and trainings by recipe, features to extract, downloads, what is missing."""
    from rich import box
    from rich.table import Table

    from umlbench.render.progress import duration

    table = Table("recipe", box=box.SIMPLE, show_edge=False, pad_edge=False)
    for name in ("jobs", "done", "to run", "trainings", "time"):
        table.add_column(name, justify="right")
    for part in made.parts:
        time = "not known yet" if part.seconds is None else f"about {duration(part.seconds)}"
        done = len(part.jobs) - len(part.todo)
        numbers = (len(part.jobs), done, len(part.todo), part.trials)
        table.add_row(part.recipe.id, *(str(n) for n in numbers), time if part.todo else "-")
    console = console_on()
    console.print(table)
    if made.headless:
        say(console, f"{made.headless} jobs are done and run again to keep their heads.")
    problems = [f"warning: {problem}" for part in made.parts for problem in part.stored.problems]
    _print_features(made, console)
    say(console, *(f"to download: {one}" for one in made.downloads))
    say(console, *(f"missing: {line}" for line in made.missing), *problems)
    sizes = {part.recipe.id: part.memory for part in made.parts if part.memory}
    say(
        console,
        *(
            f"{name}: weights, gradients and moments take up to {size / 1e9:.2f} GB of a job's "
            "device; activations come on top."
            for name, size in sizes.items()
        ),
    )
    if any(part.todo and part.seconds is not None for part in made.parts):
        say(console, "", "Times are for one worker, from earlier records of the recipe.")


def _print_features(made: Plan, console: Console) -> None:
    """What is to be extracted, where there is any; disk and time as far as they are known."""
    from rich import box
    from rich.table import Table

    from umlbench.render.progress import duration

    todo = [one for one in made.features if not one.cached]
    cached = len(made.features) - len(todo)
    if not todo:
        return
    table = Table("features to extract", "data set", box=box.SIMPLE, show_edge=False)
    for name in ("items", "width", "disk", "time"):
        table.add_column(name, justify="right")
    for one in todo:
        about = "about " if one.estimated else ""
        disk = "?" if one.bytes is None else f"{about}{one.bytes / 1e6:.1f} MB"
        time = "?" if one.seconds is None else f"about {duration(one.seconds)}"
        items = "?" if one.items is None else str(one.items)
        table.add_row(one.encoder, f"{one.dataset} {one.split}", items, _width(one), disk, time)
    console.print("", table)
    size = sum(one.bytes or 0 for one in todo) / 1e9
    least = "at least " if any(one.bytes is None for one in todo) else ""
    line = f"{len(todo)} sets of features to extract ({least}{size:.2f} GB), {cached} are cached."
    if any(one.seconds is None for one in todo):
        line += " A time is known once an encoder has run here."
    else:
        line += f" In all about {duration(sum(one.seconds or 0 for one in todo))}, on this machine."
    say(console, line)


def _width(one: FeatureCost) -> str:
    """The width of an item's row, after the number of its rows where it has several."""
    width = "?" if one.width is None else str(one.width)
    if one.rows_per_item == 1:
        return width
    return f"{'?' if one.rows_per_item is None else round(one.rows_per_item)} x {width}"


def print_found(found: Iterable[Found]) -> None:
    """A line per need, and below it what is wrong or where to get it."""
    for one in found:
        done = " (downloaded)" if one.downloaded else ""
        first, *rest = one.lines or ("",)
        typer.echo(f"{one.kind:<9} {one.name:<34} {one.state}{done}: {first}")
        for line in rest:
            typer.echo("\n".join(f"  {part.strip()}" for part in line.split("\n")))


def print_run(ran: Ran, console: Console) -> None:
    """The tables of a run on stdout; what was done and where it lies on stderr."""
    from umlbench import reporting
    from umlbench.render import console as terminal
    from umlbench.render.progress import duration

    for part in ran.plan.parts:
        terminal.show(reporting.build(part.recipe, part.store.load()), console_on())
    lines = ["", f"{len(ran.made)} jobs in {duration(ran.seconds)}"] if ran.made else [""]
    if ran.written:
        lines.append(f"written: {' '.join(map(str, ran.written))}")
    else:
        lines += [f"recorded in {part.store.path}" for part in ran.plan.parts]
        lines.append("No tables written: --set, --only and --seeds make another experiment.")
    lines += [f"heads in {folder}" for folder in ran.heads]
    if ran.failed:
        lines.append(f"{len(ran.failed)} jobs failed; this tries them again: {resume_command()}")
    if ran.plan.missing:
        lines += ["Not run, because this is missing here:", *ran.plan.missing]
    say(console, *lines)


def resume_command() -> str:
    """This command again, without --fresh (which would begin anew)."""
    import shlex

    return shlex.join(["umlbench", *(arg for arg in sys.argv[1:] if arg != "--fresh")])
