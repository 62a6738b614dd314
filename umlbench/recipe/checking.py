"""What is wrong with a recipe file: its keys, its values, and the names it uses."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from umlbench import paper, protocols, selection
from umlbench.analysis import exchange_rate, relative_gain
from umlbench.errors import nearest
from umlbench.recipe.model import RecipeFile, SuiteFile, named
from umlbench.recipe.references import References
from umlbench.schema import Closed, located
from umlbench.schema.located import Loc, Located, Problem, dotted
from umlbench.schema.wording import explain


def shape(model: type[Closed], raw: Located) -> list[Problem]:
    """What pydantic finds wrong with the file's own keys."""
    try:
        model.model_validate(raw.data)
    except ValidationError as error:
        return explain(error, raw, model, also=("extends",) if model is RecipeFile else ())
    return []


def check(raw: Located, reading: Sequence[Problem]) -> list[Problem]:
    """Every problem of a recipe; `reading` is what was wrong with its YAML."""
    return _without_echoes(list(reading), shape(RecipeFile, raw), _meaning(raw))


def check_suite(raw: Located, reading: Sequence[Problem]) -> list[Problem]:
    """Every problem of a suite's own keys; whether its recipes exist is seen elsewhere."""
    return _without_echoes(list(reading), shape(SuiteFile, raw), [])


def _without_echoes(
    reading: list[Problem], shaped: list[Problem], meant: list[Problem]
) -> list[Problem]:
    """One problem per mistake.

    A misread value is no wrong type as well, the keys of a section that is no mapping are not
    missing, and of two problems of one place the protocol's is the more exact.
    """
    read, whole = {p.key for p in reading}, {p.key for p in shaped}
    meant = [p for p in meant if p.key not in read and not _inside(p.key, read | whole)]
    taken = read | {p.key for p in meant}
    shaped = [p for p in shaped if p.key not in taken and not _inside(p.key, read)]
    return reading + meant + shaped


def _inside(key: str, sections: Iterable[str]) -> bool:
    return any(key.startswith((f"{one}.", f"{one}[")) for one in sections if one)


def _meaning(raw: Located) -> list[Problem]:
    """What the protocol finds wrong: settings, axes, grid, layout and claims."""
    problems = _names(raw)
    name = raw.data.get("protocol")
    if not isinstance(name, str):
        return problems
    if name not in protocols.NAMES:
        what = f"unknown protocol '{name}'{nearest(name, protocols.NAMES)}"
        return [*problems, Problem(raw.mark(("protocol",)), "protocol", what)]
    protocol = protocols.load(name)
    values = _Values(raw, protocol.Settings)
    problems += values.alone() or values.together()
    known = {*protocol.Settings.model_fields, *values.presets}
    if any(axis not in known for axis in values.choices("axes")):
        return problems  # names that refer to a misspelt axis are not wrong themselves
    return problems + References(raw, _metrics(raw, protocol)).problems()


def _metrics(raw: Located, protocol: protocols.Protocol) -> Mapping[str, protocols.Metric]:
    """What the report may print."""
    report = raw.data.get("report")
    layout = report if isinstance(report, dict) else {}
    if layout.get("analysis"):
        return exchange_rate.METRICS
    return {**protocol.METRICS, **(relative_gain.METRICS if layout.get("baseline") else {})}


def _names(raw: Located) -> list[Problem]:
    """The names that need no protocol: the paper's item, the selection rule; and the seeds."""
    problems = []
    for key, kind, known in (
        ("paper", "table or figure", paper.names()),
        ("like", "table or figure", paper.names()),
        ("selection", "selection rule", list(selection.RULES)),
    ):
        name = raw.data.get(key)
        if isinstance(name, str) and name not in known:
            what = f"unknown {kind} '{name}'{nearest(name, known)}"
            problems.append(Problem(raw.mark((key,)), key, what))
    if raw.data.get("grid") and raw.data.get("selection") is None:
        what = f"a recipe with a grid names its rule ({', '.join(selection.RULES)})"
        problems.append(Problem(raw.mark(("grid",), key=True), "selection", what))
    seeds = raw.data.get("seeds")
    return problems + list(_repeated(raw, ("seeds",), seeds if isinstance(seeds, list) else []))


def _repeated(raw: Located, loc: Loc, values: Sequence[Any]) -> Iterator[Problem]:
    seen = set()
    for i, value in enumerate(values):
        if isinstance(value, list | dict):
            continue  # wrong in itself
        told_apart = (isinstance(value, bool), value)
        if told_apart in seen:
            at = (*loc, i)
            yield Problem(raw.mark(at), dotted(at), f"repeats {located.dump_scalar(value)}")
        seen.add(told_apart)


@dataclass(frozen=True)
class _Values:
    """The checks of settings, axes and grid by the protocol's own model."""

    raw: Located
    model: type[Closed]

    def section(self, name: str) -> dict[str, Any]:
        found = self.raw.data.get(name)
        return found if isinstance(found, dict) else {}

    def choices(self, section: str) -> dict[str, list[Any]]:
        return {k: v for k, v in self.section(section).items() if isinstance(v, list) and v}

    @property
    def presets(self) -> dict[str, dict[Any, dict[str, Any]]]:
        """Further settings of the cells at a value of an axis; what is no mapping is left out."""
        return {
            axis: {v: preset for v, preset in values.items() if isinstance(preset, dict)}
            for axis, values in self.section("presets").items()
            if isinstance(values, dict)
        }

    def _named(self, cell: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a cell; a value that is no scalar, wrong in itself, has no preset."""
        told = {k: v for k, v in cell.items() if not isinstance(v, list | dict)}
        whole = named(told, self.presets, self.model.model_fields)
        return whole | {k: v for k, v in cell.items() if k not in told}

    def alone(self) -> list[Problem]:
        """Every single value, and names that stand twice."""
        axes, grid = self.choices("axes"), self.choices("grid")
        base = {**self.section("settings"), **_first(grid), **self._named(_first(axes))}
        places: dict[str, Loc] = {}
        for section, choices in (("grid", grid), ("axes", axes)):
            places |= {name: (section, name, 0) for name in choices}
        places |= self._preset_places(_first(axes))
        problems = self._try(base, places, {*base, *self.model.model_fields})
        for section, choices in (("grid", grid), ("axes", axes)):
            for name, values in choices.items():
                problems += self._others(section, name, values, base)
                problems += _repeated(self.raw, (section, name), values)
        problems += self._twice("axes", "settings") + self._twice("grid", "axes", "settings")
        return problems + list(self._presets(axes, base))

    def _preset_places(self, cell: Mapping[str, Any]) -> dict[str, Loc]:
        return {
            name: ("presets", axis, value, name)
            for axis, value in cell.items()
            if not isinstance(value, list | dict)
            for name in self.presets.get(axis, {}).get(value, {})
        }

    def _presets(self, axes: Mapping[str, list[Any]], base: Mapping[str, Any]) -> Iterator[Problem]:
        """Presets of what is no axis or no value of it, wrong ones, and those that are missing."""
        for axis, values in self.presets.items():
            if axis not in axes:
                what = f"'{axis}' is no axis{nearest(axis, axes)}"
                yield Problem(self.raw.mark(("presets", axis), key=True), f"presets.{axis}", what)
                continue
            for value, preset in values.items():
                yield from self._preset(axes, axis, value, preset, base)
            if axis not in self.model.model_fields:
                for i, value in enumerate(axes[axis]):
                    if isinstance(value, list | dict) or value not in values:
                        what = f"presets.{axis} does not say what it stands for"
                        loc: Loc = ("axes", axis, i)
                        yield Problem(self.raw.mark(loc), dotted(loc), what)

    def _preset(
        self,
        axes: Mapping[str, list[Any]],
        axis: str,
        value: Any,
        preset: Mapping[str, Any],
        base: Mapping[str, Any],
    ) -> Iterator[Problem]:
        at: Loc = ("presets", axis, value)
        mark = self.raw.mark(at, key=True)
        # An axis that a later file or --set has narrowed keeps the presets of its other values.
        values = self.raw.mark(("axes", axis))
        current = mark.source in (values.source, self.raw.mark(()).source)
        if value not in axes[axis] and values.line and current:
            what = f"is no value of the axis{nearest(value, axes[axis])}"
            yield Problem(mark, dotted(at), what)
        for name, setting in preset.items():
            loc: Loc = (*at, name)
            if name in axes:
                mark = self.raw.mark(loc, key=True)
                yield Problem(mark, dotted(loc), "is also an axis: keep one")
            else:
                yield from self._try({**base, name: setting}, {name: loc}, {name})

    def _others(
        self, section: str, name: str, values: Sequence[Any], base: Mapping[str, Any]
    ) -> Iterator[Problem]:
        """The values after the first; an unknown name is said once, at its key."""
        if name in self.model.model_fields:
            for i, value in enumerate(values[1:], start=1):
                yield from self._try({**base, name: value}, {name: (section, name, i)}, {name})

    def _twice(self, section: str, *others: str) -> list[Problem]:
        words = {"axes": "an axis", "grid": "in the grid", "settings": "a setting"}
        return [
            Problem(
                self.raw.mark((section, name), key=True),
                f"{section}.{name}",
                f"is also {words[other]}: keep one",
            )
            for other in others
            for name in self.section(section)
            if name in self.section(other)
        ]

    def _try(
        self,
        values: Mapping[str, Any],
        places: Mapping[str, Loc],
        fields: Collection[str] | None = None,
    ) -> list[Problem]:
        """The problems of one set of values: those of some fields, or with joint rules (None)."""
        try:
            self.model.model_validate(dict(values))
        except ValidationError as error:
            found = error.errors()
            if fields is not None:
                found = [d for d in found if d["loc"] and d["loc"][0] in fields]
            return explain(found, self.raw, self.model, ("settings",), places)
        return []

    def together(self) -> list[Problem]:
        """Every cell with the first trial, and every trial in the first cell: joint rules."""
        axes, grid = self.choices("axes"), self.choices("grid")
        found: dict[str, Problem] = {}  # a rule that names a field is told once per value
        for kind, section, varied, fixed in (
            ("cell", "axes", axes, _first(grid)),
            ("trial", "grid", grid, _first(axes)),
        ):
            constant = {**self.section("settings"), **self._named(fixed)}
            for indices in itertools.product(*(range(len(values)) for values in varied.values())):
                at = dict(zip(varied, indices, strict=True))
                point = {name: varied[name][i] for name, i in at.items()}
                places: dict[str, Loc] = {name: (section, name, i) for name, i in at.items()}
                places |= self._preset_places(point)
                for problem in self._try({**constant, **self._named(point)}, places):
                    if problem.key == "settings":  # no field to point at: name the cell, once
                        return [*found.values(), _told(problem, kind, point)]
                    found.setdefault(problem.key, problem)
        return list(found.values())


def _first(choices: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {name: values[0] for name, values in choices.items()}


def _told(problem: Problem, kind: str, point: Mapping[str, Any]) -> Problem:
    where = ", ".join(f"{name}={located.dump_scalar(value)}" for name, value in point.items())
    what = f"{problem.what} ({kind} {where})" if where else problem.what
    return Problem(problem.mark, problem.key, what)
