"""What there is: every item of the paper and every recipe, with what has been run of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from umlbench import paper, reporting
from umlbench import recipe as recipes
from umlbench.errors import unknown
from umlbench.paper import PaperTable
from umlbench.recipe import Bundle, Recipe
from umlbench.records import Store


@dataclass(frozen=True)
class Item:
    """One line of `umlbench list`."""

    name: str
    title: str
    family: str
    numbers: tuple[int, ...]  # figures that share the item; empty where there is one
    recipe: bool
    jobs: int = 0
    done: int = 0
    content: str = "measured"

    @property
    def status(self) -> str:
        """What can be read or run of it now."""
        if not self.recipe:
            reference = self.content in ("statistics", "settings", "examples")
            return "reference" if reference else "no recipe yet"
        if not self.done:
            return "not run"
        return "done" if self.done == self.jobs else f"{self.done}/{self.jobs} jobs"

    @property
    def shown_name(self) -> str:
        """`figure8 (also 9, 16 to 31)`."""
        others = self.numbers[1:]
        return f"{self.name} (also {_ranges(others)})" if others else self.name

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "title": self.title,
            "family": self.family,
            "numbers": list(self.numbers),
            "content": self.content,
            "recipe": self.recipe,
            "status": self.status,
            "jobs": self.jobs,
            "done": self.done,
        }


def items(results: Path) -> list[Item]:
    """The paper's tables and figures in order, then our own recipes and suites."""
    built = recipes.names()
    listed = [_of_paper(paper.load(name), name in built, results) for name in paper.names()]
    own = [name for name in built if name not in paper.names()]
    return listed + [_of_recipe(name, results) for name in own]


def _of_paper(table: PaperTable, has_recipe: bool, results: Path) -> Item:
    done, jobs = _progress(recipes.bundle(table.id), results) if has_recipe else (0, 0)
    return Item(
        name=table.id,
        title=table.title,
        family=table.family,
        numbers=tuple(table.numbers),
        recipe=has_recipe,
        jobs=jobs,
        done=done,
        content=table.content,
    )


def _of_recipe(name: str, results: Path) -> Item:
    bundle = recipes.bundle(name)
    done, jobs = _progress(bundle, results)
    single = len(bundle.recipes) == 1
    family = bundle.recipes[0].file.protocol if single else "suite"
    return Item(
        name=name,
        title=bundle.title,
        family=family.replace("_", " "),
        numbers=(),
        recipe=True,
        jobs=jobs,
        done=done,
    )


def _progress(bundle: Bundle, results: Path) -> tuple[int, int]:
    """Jobs with a figure, and all of them."""
    reports = [reporting.build(one, Store(results, one.id).load()) for one in bundle.recipes]
    return sum(report.done for report in reports), sum(report.jobs for report in reports)


def _ranges(numbers: tuple[int, ...]) -> str:
    """`9, 16 to 31` for 9, 16, 17, ..., 31."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


@dataclass(frozen=True)
class Description:
    """What `umlbench show` prints."""

    recipes: tuple[Recipe, ...]
    table: PaperTable | None

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "recipes": [recipe.file.model_dump(mode="json") for recipe in self.recipes],
            "paper": self.table.model_dump(mode="json") if self.table else None,
        }

    def text(self) -> str:
        """YAML of the resolved recipes, then the paper's side."""
        parts = [f"# recipe {recipe.id}, resolved\n{recipe.to_yaml()}" for recipe in self.recipes]
        if self.table:
            dumped = self.table.model_dump(mode="json", exclude_defaults=True)
            parts.append(f"# the paper's {self.table.id}\n{_yaml(dumped)}")
        return "\n".join(parts)


def describe(name: str) -> Description:
    """The recipe and the paper's numbers behind a name; either may be missing, not both."""
    if name.endswith((".yaml", ".yml")) or name in recipes.names():
        bundle = recipes.bundle(name)
        table = paper.load(bundle.id) if bundle.id in paper.names() else None
        return Description(bundle.recipes, table)
    if not re.match(r"(t|f)[a-z]*[\s._-]*[0-9]+$", name.strip().lower()):
        raise unknown("table, figure or recipe", name, [*paper.names(), *recipes.names()])
    table = paper.load(name)
    known = table.id in recipes.names()
    return Description(recipes.bundle(table.id).recipes if known else (), table)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
