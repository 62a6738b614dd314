"""What is missing, and making it: plan, prepare, run."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from umlbench.cli.app import app, examples
from umlbench.cli.options import (
    RESULTS,
    Data,
    Device,
    Fresh,
    Heads,
    Json,
    Limit,
    Name,
    Offline,
    Only,
    Results,
    Seeds,
    Set,
)
from umlbench.cli.printing import (
    console_on,
    plan_json,
    print_found,
    print_json,
    print_plan,
    print_run,
    resume_command,
    say,
)
from umlbench.errors import Exit


@app.command(epilog=examples("umlbench plan digits --only method=uml,shots=1,2"))
def plan(
    name: Name,
    change: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: Results = RESULTS,
    data: Data = None,
    offline: Offline = False,
    fresh: Fresh = False,
    limit: Limit = None,
    heads: Heads = None,
    as_json: Json = False,
) -> None:
    """What a run would do and how long it takes; runs nothing.

    Jobs in all, done and to run, their trainings (grid points), features to extract and the disk
    they take, downloads, and missing data or weights.
    """
    from umlbench import api

    made = api.plan(
        name,
        results=results,
        data=data,
        offline=offline,
        fresh=fresh,
        limit=limit,
        heads=heads,
        overrides=change or (),
        only=only or (),
        seeds=seeds,
    )
    if as_json:
        return print_json(plan_json(made))
    return print_plan(made)


@app.command(epilog=examples("umlbench prepare digits", "umlbench prepare digits --quick --json"))
def prepare(
    name: Name,
    change: Set = None,
    only: Only = None,
    data: Data = None,
    offline: Offline = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not open photos, do not hash weights.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Download weights, look through data; exit 4 if any lacks.

    Every data set, text corpus and weight of a recipe is present, missing (where to get it, size,
    licence) or broken (which file). Photos are never downloaded.
    """
    from umlbench import api

    console = console_on(stderr=True)
    found = api.prepare(
        name,
        data=data,
        offline=offline,
        quick=quick,
        say=lambda line: say(console, line),
        overrides=change or (),
        only=only or (),
    )
    if as_json:
        print_json([one.plain() for one in found])
    else:
        print_found(found)
    if any(one.state != "present" for one in found):
        raise typer.Exit(Exit.MISSING_INPUT)


@app.command(
    epilog=examples(
        "umlbench run quickstart",
        "umlbench run digits --only shots=1,2 --seeds 1-10 --results /tmp/mine",
        "umlbench run figure3 --set learning_rate=3.0e-4",
    ),
)
def run(
    name: Name,
    change: Set = None,
    only: Only = None,
    seeds: Seeds = None,
    results: Results = RESULTS,
    device: Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            envvar="UMLBENCH_WORKERS",
            help="Processes on a CPU (default: one per core).",
        ),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            envvar="UMLBENCH_EXECUTOR",
            help="local, or ranks: all devices at one fine-tuning.",
        ),
    ] = "local",
    data: Data = None,
    offline: Offline = False,
    fresh: Fresh = False,
    limit: Limit = None,
    heads: Heads = None,
) -> None:
    """Run what is missing, then print ours beside the paper's.

    One record is stored per job as it ends; an interrupted or repeated run goes on from there.
    """
    from umlbench import api
    from umlbench.render.progress import PlanProgress

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clusters stop jobs this way
    console = console_on(stderr=True)
    try:
        with PlanProgress(console) as progress:
            ran = api.run(
                name,
                results=results,
                device=device,
                workers=workers,
                executor=executor,
                data=data,
                offline=offline,
                fresh=fresh,
                limit=limit,
                heads=heads,
                overrides=change or (),
                only=only or (),
                seeds=seeds,
                on_plan=progress.on_plan,
                on_event=progress.on_event,
                say=progress.say,
            )
    except KeyboardInterrupt:
        say(console, "\nInterrupted; what has ended is recorded. Resume with:", resume_command())
        raise typer.Exit(Exit.INTERRUPTED) from None
    print_run(ran, console)
    if ran.failed:
        raise typer.Exit(Exit.JOBS_FAILED)
    if ran.plan.missing:
        raise typer.Exit(Exit.MISSING_INPUT)
