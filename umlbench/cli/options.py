"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RESULTS = Path("results")


def complete(incomplete: str) -> list[str]:
    """The built-in recipes that begin like this, for the shell."""
    from umlbench import recipe

    return [name for name in recipe.names() if name.startswith(incomplete)]


# Options that several commands share.
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A table, figure or suite, or a recipe file.", autocompletion=complete
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME",
        help="Tables, figures or suites (default: all run).",
        autocompletion=complete,
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
