"""This machine: doctor, and bench sweep, trunk, extraction."""

from __future__ import annotations

from typing import Annotated

import typer

from umlbench.cli.app import app, examples, group
from umlbench.cli.options import RESULTS, Data, Json, Offline, Results
from umlbench.cli.printing import console_on, print_json, say

bench_app = group(
    "bench",
    "Measurements of speed on this machine: sweep, trunk, extraction.",
    "umlbench bench sweep --quick --results /tmp/bench",
)


@app.command(epilog=examples("umlbench doctor --json"))
def doctor(results: Results = RESULTS, as_json: Json = False) -> None:
    """Versions, devices, folders and tokens present."""
    from umlbench import env

    facts = env.doctor(results)
    if as_json:
        return print_json(facts)
    for name, value in facts.items():
        typer.echo(f"{name:<18} {value}")
    return None


@bench_app.command(
    name="sweep",
    epilog=examples(
        "umlbench bench sweep", "umlbench bench sweep --classes 37 --trials 12 --results /tmp/bench"
    ),
)
def bench_sweep(
    classes: Annotated[
        list[int] | None, typer.Option(metavar="C", min=2, help="Class counts; repeatable.")
    ] = None,
    trials: Annotated[
        list[int] | None, typer.Option(metavar="K", min=1, help="Trials at once; repeatable.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", envvar="UMLBENCH_DEVICE", help="cpu or cuda.")
    ] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer shapes and repeats.")] = False,
    results: Results = RESULTS,
) -> None:
    """Time per trial-iteration: our engines, the plain loop and the roofline, in one run.

    Written to RESULTS/bench with the machine's description; run it on a quiet machine.
    """
    from umlbench.bench import sweep

    console = console_on(stderr=True)
    measured = sweep.measure(
        classes=classes or (37, 397, 1000),
        trials=trials or (1, 12, 96),
        device=device,
        quick=quick,
        say=lambda line: say(console, line),
    )
    written = measured.write(results / "bench")
    say(console_on(), measured.to_markdown())
    say(console, "written: " + " ".join(str(path) for path in written))


@bench_app.command(
    name="trunk",
    epilog=examples(
        "umlbench bench trunk", "umlbench bench trunk --threads 1 --threads 2 --results /tmp/bench"
    ),
)
def bench_trunk(
    threads: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Threads of a training (1); repeatable."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", envvar="UMLBENCH_DEVICE", help="cpu or cuda.")
    ] = "cpu",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter turns.")] = False,
    results: Results = RESULTS,
) -> None:
    """Time per iteration of self-supervised training: ours and the plain loop, in one run.

    Written to RESULTS/bench with the machine's description; run it on a quiet machine.
    """
    from umlbench.bench import trunk

    console = console_on(stderr=True)
    measured = trunk.measure(
        threads=threads or (1,),
        repeats=3 if quick else 5,
        turn=trunk.TURN / 4 if quick else trunk.TURN,
        device=device,
        say=lambda line: say(console, line),
    )
    written = measured.write(results / "bench")
    say(console_on(), measured.to_markdown())
    say(console, "written: " + " ".join(str(path) for path in written))


@bench_app.command(
    name="extraction",
    epilog=examples(
        "umlbench bench extraction",
        "umlbench bench extraction --encoder vit_small_patch14_dinov2.lvd142m --device cuda",
    ),
)
def bench_extraction(
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="An image encoder of timm or open_clip.")
    ] = "mobilenetv2_100",
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Whose test photos.")] = "dtd",
    items: Annotated[int, typer.Option(metavar="N", min=1, help="How many of them at most.")] = 512,
    threads: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=1, help="Threads of the encoder (1); repeatable."),
    ] = None,
    data: Data = None,
    offline: Offline = False,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", envvar="UMLBENCH_DEVICE", help="cpu or cuda.")
    ] = "cpu",
    results: Results = RESULTS,
) -> None:
    """Photos a second from files to features, and of the bare encoder, in one run.

    Written to RESULTS/bench with the machine's description; run it on a quiet machine.
    """
    from umlbench import env
    from umlbench.bench import extraction
    from umlbench.jobs import Context

    console = console_on(stderr=True)
    context = Context(device, env.cache(), data or env.data(), offline)
    found, photos = extraction.subject(encoder, dataset, items, context)
    measured = extraction.measure(
        found, photos, threads=threads or (1,), say=lambda line: say(console, line)
    )
    written = measured.write(results / "bench")
    say(console_on(), measured.to_markdown())
    say(console, "written: " + " ".join(str(path) for path in written))
