"""Recipe: how one table or figure is measured, as a YAML file with a closed schema.

A recipe names a protocol and gives its settings. `axes` vary settings from cell to cell of the
table, `grid` varies them from trial to trial inside a job, `seeds` repeats every cell. Everything
else is how the report is laid out and what is claimed. All errors of a file are found at once, each
with its position.

`model` is the schema, `located` reads YAML with positions, `changes` applies `extends` and the
command line's overrides, `checking` finds what is wrong, `wording` says it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from umlbench.errors import UserError, nearest, unknown
from umlbench.paper import canonical
from umlbench.paper import names as paper_names
from umlbench.recipe.changes import narrow, override, read, seed_list
from umlbench.recipe.checking import meaning, shape
from umlbench.recipe.model import Bundle, Layout, Plot, Recipe, RecipeFile, SuiteFile
from umlbench.resources import folder
from umlbench.schema.located import Located, Mark, Problem, ProblemsError

__all__ = [
    "Bundle",
    "Layout",
    "Plot",
    "ProblemsError",
    "Recipe",
    "bundle",
    "copy",
    "errors",
    "find",
    "load",
    "names",
]


def names() -> list[str]:
    """The built-in recipes and suites, by name."""
    return sorted(path.stem for path in folder("recipes").glob("*.yaml"))


def find(name: str | Path) -> Path:
    """The file of a built-in recipe (`table17`, `Figure 39`) or of a path ending in .yaml."""
    text = str(name)
    if text.endswith((".yaml", ".yml")) or "/" in text:
        return Path(text)
    if text in names():
        return folder("recipes") / f"{text}.yaml"
    try:
        item = canonical(text)
    except UserError:
        raise unknown("recipe", text, names()) from None
    if item not in names():
        hint = f"recipes so far: {', '.join(names())}; `umlbench list` shows what is planned"
        raise UserError(f"{item} of the paper has no recipe yet", hint)
    return folder("recipes") / f"{item}.yaml"


def load(name: str | Path, **changes: Any) -> Recipe:
    """One recipe by name or file; `changes` as for `bundle`."""
    loaded = bundle(name, **changes)
    if len(loaded.recipes) != 1:
        parts = ", ".join(recipe.id for recipe in loaded.recipes)
        raise UserError(f"'{loaded.id}' is a suite of several recipes", f"name one of: {parts}")
    return loaded.recipes[0]


def errors(name: str | Path) -> list[str]:
    """Every error of a recipe file or name, one line each; empty where it is right."""
    try:
        bundle(name)
    except UserError as error:
        return str(error).split("\n")
    return []


def copy(name: str, target: Path, *, force: bool = False) -> None:
    """Copy a built-in recipe to `target` under the id of its new name, to be edited.

    Its records then have a folder of their own; the paper's numbers stay beside them.
    """
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"{target} does not end in .yaml", f"write {target.with_suffix('.yaml')}")
    if target.exists() and not force:
        raise UserError(f"{target} exists already", "choose another name, or --force replaces it")
    source = find(name)
    text, mine = source.read_text(encoding="utf-8"), f"id: {target.stem}"
    if source.stem in paper_names() and "\npaper:" not in text:
        mine += f"\npaper: {source.stem}"
    try:
        target.write_text(re.sub(r"^id: .*$", mine, text, count=1, flags=re.M), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from error


def bundle(
    name: str | Path,
    *,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    seeds: str | None = None,
) -> Bundle:
    """A recipe or suite by name or file, with `--set`, `--only` and `--seeds` applied.

    Raises `ProblemsError` with every problem of the file, `UserError` for an unknown name.
    """
    path = find(name)
    raw = read(path)
    if "runs" in raw.data:
        return _suite(raw, path, overrides, only, seeds)
    recipe = _recipe(raw, path, overrides, only, seeds)
    return Bundle(recipe.id, recipe.file.title, (recipe,))


def _suite(
    raw: Located, path: Path, overrides: Sequence[str], only: Sequence[str], seeds: str | None
) -> Bundle:
    problems = shape(SuiteFile, raw)
    runs = raw.data.get("runs")
    for i, run in enumerate(runs if isinstance(runs, list) else ()):
        if not problems and run not in names():
            what = f"unknown recipe '{run}'{nearest(run, names())}"
            problems.append(Problem(raw.mark(("runs", i)), f"runs[{i}]", what))
    if problems:
        raise ProblemsError(problems)
    if overrides or only:
        hint = f"run one of: {', '.join(runs)}" if runs else ""
        raise UserError(f"'{path.stem}' is a suite: --set and --only need one recipe", hint)
    file = SuiteFile.model_validate(raw.data)
    recipes = tuple(load(run, seeds=seeds) for run in file.runs)
    return Bundle(file.id, file.title, recipes)


def _recipe(
    raw: Located, path: Path, overrides: Sequence[str], only: Sequence[str], seeds: str | None
) -> Recipe:
    for change in overrides:
        override(raw, change)
    if seeds is not None:
        raw.put(("seeds",), seed_list(seeds), Mark(f"--seeds {seeds}"))
    problems = shape(RecipeFile, raw) + meaning(raw)
    if not problems and path.parent == folder("recipes") and raw.data["id"] != path.stem:
        what = f"the id of a built-in recipe is its file's name, '{path.stem}'"
        problems.append(Problem(raw.mark(("id",)), "id", what))
    if problems:
        raise ProblemsError(problems)
    file = RecipeFile.model_validate(raw.data)
    source = path.stem if path.parent == folder("recipes") else str(path)
    recipe = Recipe(file, source, bool(overrides or only or seeds))
    return replace(recipe, file=narrow(file, only)) if only else recipe
