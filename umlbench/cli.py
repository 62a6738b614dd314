"""The command line: parse, call one function, print. Nothing heavy is imported above a body."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from umlbench.errors import Exit, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from umlbench.api import Ran
    from umlbench.catalogue import Item
    from umlbench.extraction import FeatureCost
    from umlbench.planning import Plan
    from umlbench.prepare import Found


def _examples(*commands: str) -> str:
    """The last lines of a help page, one command each (\\b keeps the lines apart)."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


app = typer.Typer(
    name="umlbench",
    help="Every table and figure of the UML paper (arXiv 2510.08492), re-made and compared.",
    epilog=_examples("umlbench list", "umlbench run quickstart", "umlbench report figure3"),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _group(name: str, help_text: str, *examples: str) -> typer.Typer:
    """A command with commands of its own, such as `umlbench cache ls`."""
    group = typer.Typer(
        help=help_text, epilog=_examples(*examples), no_args_is_help=True, rich_markup_mode=None
    )
    app.add_typer(group, name=name)
    return group


cache_app = _group(
    "cache",
    "The feature cache on disk: ls, verify, prune, path.",
    "umlbench cache ls",
    "umlbench cache prune --dry-run",
)
bench_app = _group(
    "bench",
    "Measurements of speed on this machine: sweep, trunk, extraction.",
    "umlbench bench sweep --quick --results /tmp/bench",
)
features_app = _group(
    "features",
    "Features made elsewhere: import.",
    "umlbench features import dtd.npz --dataset dtd --split train --name mine",
)


def _complete(incomplete: str) -> list[str]:
    from umlbench import recipe

    return [name for name in recipe.names() if name.startswith(incomplete)]


# Options that several commands share.
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A table, figure or suite, or a recipe file.", autocompletion=_complete
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="Tables, figures or suites (default: all run).",
        autocompletion=_complete,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's value; repeatable."),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="AXIS=VALUE[,...]", help="Keep these cells; repeatable."),
]
Seeds = Annotated[
    str | None,
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
    int | None,
    typer.Option(
        metavar="N", min=1, envvar="UMLBENCH_LIMIT", help="Only the first N jobs of each recipe."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", envvar="UMLBENCH_DATA", help="Folder of data sets and weights."
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", envvar="UMLBENCH_OFFLINE", help="Never open a socket.")
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        envvar="UMLBENCH_DEVICE",
        help="auto, cpu, cuda (all of them) or cuda:N.",
    ),
]
Heads = Annotated[
    str | None,
    typer.Option(
        "--heads",
        metavar="results|cache",
        envvar="UMLBENCH_HEADS",
        help="Keep each job's selected head there (for predict); makes those that lack.",
    ),
]
RESULTS = Path("results")
PIPE_WIDTH = 10_000
WIDE = 140  # columns that the list needs for one line per item


@app.command(name="list", epilog=_examples("umlbench list", "umlbench list --json"))
def list_(results: Results = RESULTS, as_json: Json = False) -> None:
    """Every table and figure: title, family, what has been run."""
    from umlbench import catalogue

    items = catalogue.items(results)
    if as_json:
        return _print_json([item.plain() for item in items])
    return _print_items(items, _console())


@app.command(epilog=_examples("umlbench show table17", "umlbench show figure39 --json"))
def show(name: Name, as_json: Json = False) -> None:
    """A resolved recipe and the paper's numbers and claims."""
    from umlbench import catalogue

    shown = catalogue.describe(name)
    if as_json:
        return _print_json(shown.plain())
    return _console().print(shown.text(), highlight=False, markup=False)


@app.command(epilog=_examples("umlbench plan digits --only method=uml,shots=1,2"))
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
        return _print_json(_plan_json(made))
    return _print_plan(made)


@app.command(epilog=_examples("umlbench prepare digits", "umlbench prepare digits --quick --json"))
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

    console = _console(stderr=True)
    found = api.prepare(
        name,
        data=data,
        offline=offline,
        quick=quick,
        say=lambda line: _say(console, line),
        overrides=change or (),
        only=only or (),
    )
    if as_json:
        _print_json([one.plain() for one in found])
    else:
        _print_found(found)
    if any(one.state != "present" for one in found):
        raise typer.Exit(Exit.MISSING_INPUT)


@app.command(
    epilog=_examples(
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
    console = _console(stderr=True)
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
        _say(console, "\nInterrupted; what has ended is recorded. Resume with:", _resume_command())
        raise typer.Exit(Exit.INTERRUPTED) from None
    _print_run(ran, console)
    if ran.failed:
        raise typer.Exit(Exit.JOBS_FAILED)
    if ran.plan.missing:
        raise typer.Exit(Exit.MISSING_INPUT)


@app.command(
    epilog=_examples(
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
            terminal.show(one, _console())
    else:
        typer.echo(render(reports, form), nl=False)
    if others:
        line = f"not shown: {', '.join(others)} (no built-in recipes; name their files)"
        _say(_console(stderr=True), line)


@app.command(
    epilog=_examples(
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

    console = _console(stderr=True)
    drawn = api.plot(
        name,
        results=results,
        formats=forms or ("png",),
        out=out,
        say=lambda line: _say(console, line),
    )
    for path in drawn:
        typer.echo(path)


@app.command(
    epilog=_examples(
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
        _print_json([one.plain() for one in checked])
    else:
        typer.echo("\n".join(line for one in checked for line in one.lines()))
    if any(one.deviations for one in checked):
        raise typer.Exit(Exit.CHECK_FAILED)


@app.command(
    epilog=_examples(
        "umlbench predict laptop_few_shot photos --seed 1 "
        "--only dataset=dtd,scaling=raw,shots=16,method=uml",
        "umlbench predict results/mine/heads/0123456789abcdef.safetensors photos --format csv",
    ),
)
def predict(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A recipe or a head's file.", autocompletion=_complete),
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
    console = _console(stderr=True)
    found = api.predict(
        name,
        folder,
        seed=seed,
        results=results,
        data=data,
        device=device,
        offline=offline,
        say=lambda line: _say(console, line),
        overrides=change or (),
        only=only or (),
    )
    about = found.head.about
    figures = ", ".join(f"{name} {value:.2f}" for name, value in about.metrics.items())
    _say(console, f"head: {about} ({figures})")
    if form == "console":
        _console().print(predictions.console(found))
    else:
        typer.echo(predictions.FORMATS[form](found), nl=False)
    _say(console, *(f"broken: {photo}: {what}" for photo, what in found.broken.items()))
    if found.broken:
        raise typer.Exit(Exit.MISSING_INPUT)


@app.command(epilog=_examples("umlbench validate mine.yaml recipes/*.yaml"))
def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Recipe files or names.")],
    as_json: Json = False,
) -> None:
    """Every error of recipes, as file:line:column: key: what."""
    from umlbench import recipe

    errors = {str(file): recipe.errors(file) for file in files}
    if as_json:
        _print_json(errors)
    else:
        for file, lines in errors.items():
            typer.echo("\n".join(lines) if lines else f"{file}: ok")
    if any(errors.values()):
        raise typer.Exit(Exit.USAGE)


@app.command(epilog=_examples("umlbench copy digits mine.yaml && umlbench run mine.yaml"))
def copy(
    name: Name,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The new recipe file (.yaml).")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a built-in recipe into a file of yours, to edit."""
    from umlbench import recipe

    recipe.copy(name, target, force=force)
    _console().print(f"{target} written; edit it, then: umlbench run {target}", highlight=False)


@app.command(epilog=_examples("umlbench doctor --json"))
def doctor(results: Results = RESULTS, as_json: Json = False) -> None:
    """Versions, devices, folders and tokens present."""
    from umlbench import env

    facts = env.doctor(results)
    if as_json:
        return _print_json(facts)
    for name, value in facts.items():
        typer.echo(f"{name:<18} {value}")
    return None


@bench_app.command(
    name="sweep",
    epilog=_examples(
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

    console = _console(stderr=True)
    measured = sweep.measure(
        classes=classes or (37, 397, 1000),
        trials=trials or (1, 12, 96),
        device=device,
        quick=quick,
        say=lambda line: _say(console, line),
    )
    written = measured.write(results / "bench")
    _say(_console(), measured.to_markdown())
    _say(console, "written: " + " ".join(str(path) for path in written))


@bench_app.command(
    name="trunk",
    epilog=_examples(
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

    console = _console(stderr=True)
    measured = trunk.measure(
        threads=threads or (1,),
        repeats=3 if quick else 5,
        turn=trunk.TURN / 4 if quick else trunk.TURN,
        device=device,
        say=lambda line: _say(console, line),
    )
    written = measured.write(results / "bench")
    _say(_console(), measured.to_markdown())
    _say(console, "written: " + " ".join(str(path) for path in written))


@bench_app.command(
    name="extraction",
    epilog=_examples(
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

    console = _console(stderr=True)
    context = Context(device, env.cache(), data or env.data(), offline)
    found, photos = extraction.subject(encoder, dataset, items, context)
    measured = extraction.measure(
        found, photos, threads=threads or (1,), say=lambda line: _say(console, line)
    )
    written = measured.write(results / "bench")
    _say(_console(), measured.to_markdown())
    _say(console, "written: " + " ".join(str(path) for path in written))


@cache_app.command(name="path", epilog=_examples("du -sh $(umlbench cache path)"))
def cache_path() -> None:
    """Where the feature cache lies (UMLBENCH_CACHE)."""
    from umlbench import env

    typer.echo(env.cache())


@cache_app.command(name="ls", epilog=_examples("umlbench cache ls --json"))
def cache_ls(as_json: Json = False) -> None:
    """Every entry: encoder, data set, rows, width, size, state."""
    from umlbench import env, features

    found = features.entries(env.cache())
    if as_json:
        return _print_json([entry.plain() for entry in found])
    from rich import box
    from rich.table import Table

    names = ("encoder", "dataset", "split", "key", "items", "tokens", "width", "dtype")
    table = Table(*names, "MB", "state", box=box.SIMPLE, pad_edge=False)
    for e in found:
        shape = (str(n or "-") for n in (e.items, e.tokens, e.width, e.dtype))
        table.add_row(
            e.encoder, e.dataset, e.split, e.key[:12], *shape, f"{e.bytes / 1e6:.1f}", e.state
        )
    return _console().print(table)


@cache_app.command(name="verify", epilog=_examples("umlbench cache verify || umlbench cache prune"))
def cache_verify() -> None:
    """Read every entry again; exit 1 where a file is damaged or missing."""
    from umlbench import env, features

    problems = features.verify(env.cache())
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(Exit.CHECK_FAILED)
    typer.echo(f"{len(features.entries(env.cache()))} entries, no damage")


@cache_app.command(
    name="prune",
    epilog=_examples("umlbench cache prune --dry-run", "umlbench cache prune --days 90"),
)
def cache_prune(
    days: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="Also remove entries made more than this many days ago."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every entry.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say it, remove nothing.")] = False,
) -> None:
    """Remove unfinished and damaged entries."""
    from datetime import timedelta

    from umlbench import env, features

    older = None if days is None else timedelta(days=days)
    removed = features.prune(env.cache(), older_than=older, everything=everything, dry_run=dry_run)
    word = "would remove" if dry_run else "removed"
    for entry in removed.entries:
        typer.echo(f"{word} {entry.encoder}/{entry.dataset}-{entry.split}/{entry.key}")
    typer.echo(f"{word} {len(removed.entries)} entries, {removed.bytes / 1e6:.1f} MB")


@features_app.command(
    name="import",
    epilog=_examples(
        "umlbench features import dtd-train.npz --dataset dtd --split train --name mine",
        "umlbench features import dtd-val.npz --dataset dtd --split val --name mine",
    ),
)
def features_import(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An npz, safetensors or pt file.")],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Whose samples the rows are.")],
    split: Annotated[str, typer.Option(metavar="NAME", help="train, val or test.")],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What recipes call them: encoder: imported:NAME.")
    ],
    data: Data = None,
) -> None:
    """Features made elsewhere join the cache, checked against the split's ids and labels.

    The file holds arrays features (n, width), labels (n,) and, where it can hold text, ids (n,).
    Recipes then say encoder: imported:NAME.
    """
    from umlbench import api

    entry = api.import_features(file, dataset=dataset, split=split, name=name, data=data)
    typer.echo(
        f"{entry.items} rows of {entry.width} joined the cache; "
        f"in a recipe: encoder: imported:{name}"
    )


# --- printing ---------------------------------------------------------------------------------


def _console(stderr: bool = False) -> Console:
    """A console as wide as the terminal; piped output is never folded."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH)


def _print_items(items: Iterable[Item], console: Console) -> None:
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


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


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
                "memory": part.memory,
                "problems": list(part.stored.problems),
            }
            for part in made.parts
        ],
        "features": [one.plain() for one in made.features],
        "downloads": [vars(one) for one in made.downloads],
    }


def _print_plan(made: Plan) -> None:
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
    console = _console()
    console.print(table)
    if made.headless:
        _say(console, f"{made.headless} jobs are done and run again to keep their heads.")
    problems = [f"warning: {problem}" for part in made.parts for problem in part.stored.problems]
    _print_features(made, console)
    _say(console, *(f"to download: {one}" for one in made.downloads))
    _say(console, *(f"missing: {line}" for line in made.missing), *problems)
    sizes = {part.recipe.id: part.memory for part in made.parts if part.memory}
    _say(
        console,
        *(
            f"{name}: weights, gradients and moments take up to {size / 1e9:.2f} GB of a job's "
            "device; activations come on top."
            for name, size in sizes.items()
        ),
    )
    if any(part.todo and part.seconds is not None for part in made.parts):
        _say(console, "", "Times are for one worker, from earlier records of the recipe.")


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
    _say(console, line)


def _width(one: FeatureCost) -> str:
    """The width of an item's row, after the number of its rows where it has several."""
    width = "?" if one.width is None else str(one.width)
    if one.rows_per_item == 1:
        return width
    return f"{'?' if one.rows_per_item is None else round(one.rows_per_item)} x {width}"


def _print_found(found: Iterable[Found]) -> None:
    """A line per need, and below it what is wrong or where to get it."""
    for one in found:
        done = " (downloaded)" if one.downloaded else ""
        first, *rest = one.lines or ("",)
        typer.echo(f"{one.kind:<9} {one.name:<34} {one.state}{done}: {first}")
        for line in rest:
            typer.echo("\n".join(f"  {part.strip()}" for part in line.split("\n")))


def _print_run(ran: Ran, console: Console) -> None:
    """The tables of a run on stdout; what was done and where it lies on stderr."""
    from umlbench import reporting
    from umlbench.render import console as terminal
    from umlbench.render.progress import duration

    for part in ran.plan.parts:
        terminal.show(reporting.build(part.recipe, part.store.load()), _console())
    lines = ["", f"{len(ran.made)} jobs in {duration(ran.seconds)}"] if ran.made else [""]
    if ran.written:
        lines.append(f"written: {' '.join(map(str, ran.written))}")
    else:
        lines += [f"recorded in {part.store.path}" for part in ran.plan.parts]
        lines.append("No tables written: --set, --only and --seeds make another experiment.")
    lines += [f"heads in {folder}" for folder in ran.heads]
    if ran.failed:
        lines.append(f"{len(ran.failed)} jobs failed; this tries them again: {_resume_command()}")
    if ran.plan.missing:
        lines += ["Not run, because this is missing here:", *ran.plan.missing]
    _say(console, *lines)


def _say(console: Console, *lines: str) -> None:
    """Plain lines, never folded: a path or a command stays whole."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


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
