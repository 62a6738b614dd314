"""What there is: list, show, validate, copy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from umlbench.cli.app import app, examples
from umlbench.cli.options import RESULTS, Json, Name, Results
from umlbench.cli.printing import console_on, print_items, print_json
from umlbench.errors import Exit


@app.command(name="list", epilog=examples("umlbench list", "umlbench list --json"))
def list_(results: Results = RESULTS, as_json: Json = False) -> None:
    """Every table and figure: title, family, what has been run."""
    from umlbench import catalogue

    items = catalogue.items(results)
    if as_json:
        return print_json([item.plain() for item in items])
    return print_items(items, console_on())


@app.command(epilog=examples("umlbench show table17", "umlbench show figure39 --json"))
def show(name: Name, as_json: Json = False) -> None:
    """A resolved recipe and the paper's numbers and claims."""
    from umlbench import catalogue

    shown = catalogue.describe(name)
    if as_json:
        return print_json(shown.plain())
    return console_on().print(shown.text(), highlight=False, markup=False)


@app.command(epilog=examples("umlbench validate mine.yaml recipes/*.yaml"))
def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Recipe files or names.")],
    as_json: Json = False,
) -> None:
    """Every error of recipes, as file:line:column: key: what."""
    from umlbench import recipe

    errors = {str(file): recipe.errors(file) for file in files}
    if as_json:
        print_json(errors)
    else:
        for file, lines in errors.items():
            typer.echo("\n".join(lines) if lines else f"{file}: ok")
    if any(errors.values()):
        raise typer.Exit(Exit.USAGE)


@app.command(epilog=examples("umlbench copy digits mine.yaml && umlbench run mine.yaml"))
def copy(
    name: Name,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The new recipe file (.yaml).")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a built-in recipe into a file of yours, to edit."""
    from umlbench import recipe

    recipe.copy(name, target, force=force)
    console_on().print(f"{target} written; edit it, then: umlbench run {target}", highlight=False)
