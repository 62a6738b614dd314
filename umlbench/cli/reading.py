"""What was recorded: report, plot, check, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umlbench.cli.app import app, examples
from umlbench.cli.options import (
    RESULTS,
    Data,
    Device,
    Json,
    Name,
    Names,
    Offline,
    Only,
    Results,
    Set,
    complete,
)
from umlbench.cli.printing import console_on, print_json, say
from umlbench.errors import Exit


@app.command(
    epilog=examples(
        "umlbench report",
        "umlbench report figure3 --format markdown",
        "umlbench report --format csv > all.csv",
    ),
)
def report(
    names: Names = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            envvar="UMLBENCH_FORMAT",
            help="console, markdown, csv or json.",
        ),
    ] = "console",
    results: Results = RESULTS,
    write: Annotated[
        bool, typer.Option("--write", help="Write the files beside the records again.")
    ] = False,
) -> None:
    """Print stored records beside the paper's numbers."""
    from umlbench import api
    from umlbench.render import FORMATS, check_format, render
    from umlbench.render import console as terminal

    check_format(form, "console", *FORMATS)
    reports = api.build_reports(names or (), results=results)
    others = [] if names else api.foreign(results)
    if not reports and not others:
        raise api.nothing_run((), results)
    if write:
        for one in reports:
            api.write_report(one, results / one.recipe.id)
    if form == "console":
        for one in reports:
            terminal.show(one, console_on())
    else:
        typer.echo(render(reports, form), nl=False)
    if others:
        line = f"not shown: {', '.join(others)} (no built-in recipes; name their files)"
        say(console_on(stderr=True), line)


@app.command(
    epilog=examples(
        "umlbench plot figure3",
        "umlbench plot figure27 --format svg --format pdf --out /tmp",
        "umlbench plot mine.yaml",
    )
)
def plot(
    name: Name,
    forms: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT", help="png (default), svg or pdf; repeatable."),
    ] = None,
    results: Results = RESULTS,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the files (default: the records')."),
    ] = None,
) -> None:
    """Draw a figure of the paper or of a recipe from stored records.

    Printed numbers stand beside ours, hollow, where there are any. The number of a figure that
    shares its recipe with others draws its own part. Where a figure was not run, what was run of
    the same question on other data is drawn instead, and said.
    """
    from umlbench import api

    console = console_on(stderr=True)
    drawn = api.plot(
        name,
        results=results,
        formats=forms or ("png",),
        out=out,
        say=lambda line: say(console, line),
    )
    for path in drawn:
        typer.echo(path)


@app.command(
    epilog=examples(
        "umlbench check",
        "umlbench check figure3",
        "umlbench check digits --results /tmp/new --against results",
    ),
)
def check(
    names: Names = None,
    results: Results = RESULTS,
    against: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also compare with the records of this folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare records with the paper; exit 1 on a deviation.

    A number deviates beyond the table's tolerance plus our own 95% interval, a claim where our
    records reverse it. With --against, a number also deviates where it changed on the same seeds.
    """
    from umlbench import api

    checked = api.check(*(names or ()), results=results, against=against)
    if as_json:
        print_json([one.plain() for one in checked])
    else:
        typer.echo("\n".join(line for one in checked for line in one.lines()))
    if any(one.deviations for one in checked):
        raise typer.Exit(Exit.CHECK_FAILED)


@app.command(
    epilog=examples(
        "umlbench predict laptop_few_shot photos --seed 1 "
        "--only dataset=dtd,scaling=raw,shots=16,method=uml",
        "umlbench predict results/mine/heads/0123456789abcdef.safetensors photos --format csv",
    ),
)
def predict(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A recipe or a head's file.", autocompletion=complete),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Photos, also in subfolders.")],
    change: Set = None,
    only: Only = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="The seed of the head.")] = None,
    form: Annotated[
        str,
        typer.Option("--format", metavar="FORMAT", help="console, csv or json."),
    ] = "console",
    results: Results = RESULTS,
    device: Device = "auto",
    data: Data = None,
    offline: Offline = False,
) -> None:
    """Classify photos with a head that a run kept.

    `umlbench run ... --heads results` (or cache) keeps heads. Photos go through the encoder and the
    transform that the head was trained with; exit 4 where one of them is broken.
    """
    from umlbench import api
    from umlbench.render import check_format, predictions

    check_format(form, "console", *predictions.FORMATS)
    console = console_on(stderr=True)
    found = api.predict(
        name,
        folder,
        seed=seed,
        results=results,
        data=data,
        device=device,
        offline=offline,
        say=lambda line: say(console, line),
        overrides=change or (),
        only=only or (),
    )
    about = found.head.about
    figures = ", ".join(f"{name} {value:.2f}" for name, value in about.metrics.items())
    say(console, f"head: {about} ({figures})")
    if form == "console":
        console_on().print(predictions.console(found))
    else:
        typer.echo(predictions.FORMATS[form](found), nl=False)
    say(console, *(f"broken: {photo}: {what}" for photo, what in found.broken.items()))
    if found.broken:
        raise typer.Exit(Exit.MISSING_INPUT)
