"""Recipe: how one table or figure is measured, as a YAML file with a closed schema.

A recipe names a protocol and gives its settings. `axes` vary settings from cell to cell of the
table, `grid` varies them from trial to trial inside a job, `seeds` repeats every cell. Everything
else is how the report is laid out and what is claimed. All errors of a file are found at once, each
with its position.

`model` is the schema, `changes` applies `extends` and the command line's overrides, `checking`
finds what is wrong with keys and values, `references` with the report and the claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from umlbench.errors import UserError, nearest, unknown
from umlbench.paper import canonical
from umlbench.paper import names as paper_names
from umlbench.recipe.changes import (
    cells_given,
    is_built_in,
    narrow,
    override,
    read,
    seed_list,
    seeds_given,
    settings_given,
)
from umlbench.recipe.checking import check, check_suite
from umlbench.recipe.model import (
    Bundle,
    Layout,
    Plot,
    Recipe,
    RecipeFile,
    SuiteFile,
    check_id,
)
from umlbench.resources import folder
from umlbench.schema.located import Located, Mark, Problem, ProblemsError, dump_scalar

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
    "like",
    "load",
    "names",
]

_ITEM = re.compile(r"(t|tab|table|f|fig|figure)[\s._-]*[0-9]+$", re.IGNORECASE)
_ID_LINE = re.compile(r"^id:.*$", re.MULTILINE)


def names() -> list[str]:
    """The built-in recipes and suites; a file whose name starts with _ is only a base of others."""
    stems = [path.stem for path in folder("recipes").glob("*.yaml")]
    return sorted(stem for stem in stems if not stem.startswith("_"))


def find(name: str | Path) -> Path:
    """The file of a built-in recipe (`table17`, `Figure 39`) or of a path ending in .yaml.

    Raises `UserError` for a name that is neither; whether a path exists is seen on reading it.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")) or "/" in text or isinstance(name, Path):
        return Path(text)
    if text in names():
        return folder("recipes") / f"{text}.yaml"
    try:
        item = canonical(text)
    except UserError:
        if _ITEM.match(text.strip()):
            raise
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


def like(item: str) -> list[Recipe]:
    """The built-in recipes that ask what an item of the paper asks, of other data or encoders."""
    found = [recipe for name in names() for recipe in bundle(name).recipes if recipe.id == name]
    return [recipe for recipe in found if recipe.file.like == item]


def errors(name: str | Path) -> list[str]:
    """Every error of a recipe file or name, one line each; empty where it is right."""
    try:
        bundle(name)
    except ProblemsError as error:
        return [str(problem) for problem in error.problems]
    except UserError as error:
        return [f"{error.message} ({error.hint})" if error.hint else error.message]
    return []


def copy(name: str, target: Path, *, force: bool = False) -> None:
    """Copy a recipe to `target` under the id of its new name, to be edited.

    Its records then have a folder of their own; the paper's numbers stay beside them. Raises
    `UserError` where `target` is no name for a recipe, exists already or cannot be written.
    """
    if target.suffix not in (".yaml", ".yml"):
        raise UserError(f"{target} does not end in .yaml", f"write {target.with_suffix('.yaml')}")
    try:
        check_id(target.stem)
    except ValueError as error:
        message = f"'{target.stem}' cannot be a recipe's id: it {error}"
        raise UserError(message, "choose another file name") from None
    if target.exists() and not force:
        raise UserError(f"{target} exists already", "choose another name, or --force replaces it")
    source = find(name)
    recipe = read(source, []).data  # raises where there is nothing to copy
    mine = f"id: {dump_scalar(target.stem)}"
    if recipe.keys().isdisjoint({"paper", "runs"}) and recipe.get("id") in paper_names():
        mine += f"\npaper: {recipe['id']}"
    text = source.read_text(encoding="utf-8")
    try:
        target.write_text(_ID_LINE.sub(lambda _: mine, text, count=1), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}") from error


def bundle(
    name: str | Path,
    *,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    only: Sequence[str] | Mapping[str, Any] = (),
    seeds: str | int | Iterable[int] | None = None,
) -> Bundle:
    """A recipe or suite by name or file, with `--set`, `--only` and `--seeds` applied.

    They are given as on the command line, or as values: `overrides={"alpha": 0.5}`,
    `only={"shots": [1, 2]}`, `seeds=range(1, 4)`. Raises `ProblemsError` with every problem of the
    file, `UserError` for an unknown name.
    """
    path, problems = find(name), list[Problem]()
    raw = read(path, problems)
    seeds, overrides, only = seeds_given(seeds), settings_given(overrides), cells_given(only)
    if "runs" in raw.data and "protocol" not in raw.data:
        if overrides or only:
            hint = "run its recipes one by one; `umlbench show` names them"
            raise UserError(f"'{path.stem}' is a suite: --set and --only need one recipe", hint)
        return _suite(raw, problems, seeds)
    recipe = _recipe(raw, path, problems, overrides, only, seeds)
    return Bundle(recipe.id, recipe.file.title, (recipe,))


def _suite(raw: Located, problems: list[Problem], seeds: str | None) -> Bundle:
    problems = check_suite(raw, problems)
    runs = raw.data.get("runs")
    for i, run in enumerate(runs if isinstance(runs, list) else ()):
        what = _not_to_run(run) or (f"repeats '{run}'" if run in runs[:i] else "")
        if isinstance(run, str) and what:
            problems.append(Problem(raw.mark(("runs", i)), f"runs[{i}]", what))
    if problems:
        raise ProblemsError(problems)
    file = SuiteFile.model_validate(raw.data)
    recipes = tuple(load(run, seeds=seeds) for run in file.runs)
    return Bundle(file.id, file.title, recipes)


def _not_to_run(name: object) -> str:
    """Why a suite cannot run the recipe called `name`; an empty string where it can."""
    if name not in names():
        return f"unknown recipe '{name}'{nearest(name, names())}"
    if "runs" in read(folder("recipes") / f"{name}.yaml", []).data:
        return f"'{name}' is a suite: name its recipes"
    return ""


def _recipe(
    raw: Located,
    path: Path,
    problems: list[Problem],
    overrides: Sequence[str],
    only: Sequence[str],
    seeds: str | None,
) -> Recipe:
    for change in overrides:
        try:
            override(raw, change)
        except ProblemsError as error:
            problems += error.problems
    if seeds is not None:
        raw.put(("seeds",), seed_list(seeds), Mark(f"--seeds {seeds}"))
    problems = check(raw, problems)
    built_in = is_built_in(path)
    if built_in and isinstance(raw.data.get("id"), str) and raw.data["id"] != path.stem:
        what = f"the id of a built-in recipe is its file's name, '{path.stem}'"
        problems.append(Problem(raw.mark(("id",)), "id", what))
    if problems:
        raise ProblemsError(problems)
    file = RecipeFile.model_validate(raw.data)
    modified = bool(overrides or only or seeds is not None)
    recipe = Recipe(file, path.stem if built_in else str(path), modified)
    return replace(recipe, file=narrow(file, only)) if only else recipe
