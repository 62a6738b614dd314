"""Features on disk: cache ls, verify, prune, path; features import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umlbench.cli.app import examples, group
from umlbench.cli.options import Data, Json
from umlbench.cli.printing import console_on, print_json
from umlbench.errors import Exit

cache_app = group(
    "cache",
    "The feature cache on disk: ls, verify, prune, path.",
    "umlbench cache ls",
    "umlbench cache prune --dry-run",
)
features_app = group(
    "features",
    "Features made elsewhere: import.",
    "umlbench features import dtd.npz --dataset dtd --split train --name mine",
)


@cache_app.command(name="path", epilog=examples("du -sh $(umlbench cache path)"))
def cache_path() -> None:
    """Where the feature cache lies (UMLBENCH_CACHE)."""
    from umlbench import env

    typer.echo(env.cache())


@cache_app.command(name="ls", epilog=examples("umlbench cache ls --json"))
def cache_ls(as_json: Json = False) -> None:
    """Every entry: encoder, data set, rows, width, size, state."""
    from umlbench import env, features

    found = features.entries(env.cache())
    if as_json:
        return print_json([entry.plain() for entry in found])
    from rich import box
    from rich.table import Table

    names = ("encoder", "dataset", "split", "key", "items", "tokens", "width", "dtype")
    table = Table(*names, "MB", "state", box=box.SIMPLE, pad_edge=False)
    for e in found:
        shape = (str(n or "-") for n in (e.items, e.tokens, e.width, e.dtype))
        table.add_row(
            e.encoder, e.dataset, e.split, e.key[:12], *shape, f"{e.bytes / 1e6:.1f}", e.state
        )
    return console_on().print(table)


@cache_app.command(name="verify", epilog=examples("umlbench cache verify || umlbench cache prune"))
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
    epilog=examples("umlbench cache prune --dry-run", "umlbench cache prune --days 90"),
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
    epilog=examples(
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
