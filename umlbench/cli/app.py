"""The application: its commands' groups, and how a run of it ends."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from umlbench.errors import UserError


def examples(*commands: str) -> str:
    """The last lines of a help page, one command each (\\b keeps the lines apart)."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


app = typer.Typer(
    name="umlbench",
    help="Every table and figure of the UML paper (arXiv 2510.08492), re-made and compared.",
    epilog=examples("umlbench list", "umlbench run quickstart", "umlbench report figure3"),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def group(name: str, help_text: str, *commands: str) -> typer.Typer:
    """A command with commands of its own, such as `umlbench cache ls`."""
    made = typer.Typer(
        help=help_text, epilog=examples(*commands), no_args_is_help=True, rich_markup_mode=None
    )
    app.add_typer(made, name=name)
    return made


def main() -> NoReturn:
    """Run the command line; a `UserError` becomes one clear line and its exit code."""
    try:
        app()
    except UserError as error:
        for line in str(error).split("\n"):
            sys.stderr.write(f"{line}\n")
        sys.exit(error.exit_code)
    sys.exit(0)
