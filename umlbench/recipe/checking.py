"""What is wrong with a recipe file: its keys, its values, and the names it uses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from umlbench import paper, protocols, selection
from umlbench.errors import nearest
from umlbench.schema import Closed
from umlbench.schema.located import Loc, Located, Problem, dotted
from umlbench.schema.wording import explain


def shape(model: type[Closed], raw: Located) -> list[Problem]:
    """What pydantic finds wrong with the file's own keys."""
    try:
        model.model_validate(raw.data)
    except ValidationError as error:
        return explain(error, raw, model)
    return []


def meaning(raw: Located) -> list[Problem]:
    """What the protocol finds wrong: settings, axes, grid, layout and claims."""
    name = raw.data.get("protocol")
    if not isinstance(name, str):
        return []
    if name not in protocols.NAMES:
        what = f"unknown protocol '{name}'{nearest(name, protocols.NAMES)}"
        return [Problem(raw.mark(("protocol",)), "protocol", what)]
    check = _Meaning(raw, protocols.load(name))
    problems = check.values() + check.names()
    return problems or check.combinations()


@dataclass
class _Meaning:
    """The checks that need the protocol's Settings and METRICS."""

    raw: Located
    protocol: protocols.Protocol

    def section(self, name: str) -> dict[str, Any]:
        found = self.raw.data.get(name)
        return found if isinstance(found, dict) else {}

    def choices(self, section: str) -> dict[str, list[Any]]:
        return {k: v for k, v in self.section(section).items() if isinstance(v, list) and v}

    def values(self) -> list[Problem]:
        """Every single value of settings, axes and grid."""
        axes, grid = self.choices("axes"), self.choices("grid")
        first = {name: values[0] for name, values in {**grid, **axes}.items()}
        base = {**self.section("settings"), **first}
        problems = self._try(
            base, {n: ("grid", n, 0) for n in grid} | {n: ("axes", n, 0) for n in axes}
        )
        for section, choices in (("grid", grid), ("axes", axes)):
            for name, values in choices.items():
                for i, value in enumerate(values[1:], start=1):
                    found = self._try({**base, name: value}, {name: (section, name, i)})
                    problems += [p for p in found if p.key.startswith(f"{section}.{name}[")]
                problems += self._repeated(section, name, values)
        for name in grid.keys() & axes.keys():
            what = "is both an axis and in the grid: keep one"
            problems.append(Problem(self.raw.mark(("grid", name), key=True), f"grid.{name}", what))
        return problems

    def _try(self, values: Mapping[str, Any], places: Mapping[str, Loc]) -> list[Problem]:
        try:
            self.protocol.Settings.model_validate(dict(values))
        except ValidationError as error:
            return explain(error, self.raw, self.protocol.Settings, ("settings",), places)
        return []

    def _repeated(self, section: str, name: str, values: list[Any]) -> list[Problem]:
        seen: list[Any] = []
        problems = []
        for i, value in enumerate(values):
            if any(value == other and type(value) is type(other) for other in seen):
                key = f"{section}.{name}[{i}]"
                problems.append(Problem(self.raw.mark((section, name, i)), key, f"repeats {value}"))
            seen.append(value)
        return problems

    def combinations(self) -> list[Problem]:
        """Every cell's settings together, for rules that join several fields."""
        axes, grid = self.choices("axes"), self.choices("grid")
        first = {name: values[0] for name, values in grid.items()}
        for point in itertools.product(*axes.values()):
            cell = dict(zip(axes, point, strict=True))
            found = self._try({**self.section("settings"), **first, **cell}, {})
            if found:
                where = ", ".join(f"{name}={value}" for name, value in cell.items())
                return [Problem(p.mark, p.key, f"{p.what} (cell {where})") for p in found]
        return []

    def names(self) -> list[Problem]:
        """Names used by seeds, selection, report and claims."""
        problems = self._seeds()
        rule = self.raw.data.get("selection")
        if isinstance(rule, str) and rule not in selection.RULES:
            problems.append(self._unknown(("selection",), "selection rule", rule, selection.RULES))
        if self.section("grid") and rule is None:
            what = "a recipe with a grid names its selection rule"
            problems.append(Problem(self.raw.mark(("grid",), key=True), "grid", what))
        return problems + self._paper() + self._layout() + self._claims()

    def _paper(self) -> list[Problem]:
        name = self.raw.data.get("paper")
        if not isinstance(name, str) or name in paper.names():
            return []
        return [self._unknown(("paper",), "table or figure", name, paper.names())]

    def _seeds(self) -> list[Problem]:
        seeds = self.raw.data.get("seeds")
        if not isinstance(seeds, list):
            return []
        return [
            Problem(self.raw.mark(("seeds", i)), f"seeds[{i}]", f"repeats seed {seed}")
            for i, seed in enumerate(seeds)
            if seed in seeds[:i]
        ]

    def _layout(self) -> list[Problem]:
        report = self.section("report")
        curves = list(report.get("points") or {}) if isinstance(report.get("points"), dict) else []
        axes = [*self.section("axes"), *curves]
        problems = []
        for key in ("rows", "columns"):
            found = report.get(key)
            for i, axis in enumerate(found if isinstance(found, list) else []):
                if axis not in axes:
                    problems.append(self._unknown(("report", key, i), "axis", axis, axes))
        metrics = report.get("metrics")
        for i, metric in enumerate(metrics if isinstance(metrics, list) else []):
            if metric not in self.protocol.METRICS:
                known = self.protocol.METRICS
                problems.append(self._unknown(("report", "metrics", i), "metric", metric, known))
        return problems + self._layout_values(report, axes)

    def _layout_values(self, report: dict[str, Any], axes: list[str]) -> list[Problem]:
        problems: list[Problem] = []
        loc: Loc
        baseline = report.get("baseline")
        for axis, value in (baseline if isinstance(baseline, dict) else {}).items():
            values = self.choices("axes").get(axis)
            if values is None:
                problems.append(self._unknown(("report", "baseline", axis), "axis", axis, axes))
            elif value not in values:
                loc = ("report", "baseline", axis)
                problems.append(self._unknown(loc, f"value of '{axis}'", value, values))
        named: dict[Loc, Any] = {("report", "average"): report.get("average")}
        plot = report.get("plot")
        if isinstance(plot, dict):
            named |= {("report", "plot", key): plot.get(key) for key in ("x", "lines", "panels")}
        for loc, axis in named.items():
            if isinstance(axis, str) and axis not in axes:
                problems.append(self._unknown(loc, "axis", axis, axes))
        return problems

    def _claims(self) -> list[Problem]:
        claims = self.raw.data.get("claims")
        problems = []
        for i, claim in enumerate(claims if isinstance(claims, list) else []):
            metric = claim.get("metric") if isinstance(claim, dict) else None
            if isinstance(metric, str) and metric not in self.protocol.METRICS:
                loc: Loc = ("claims", i, "metric")
                problems.append(self._unknown(loc, "metric", metric, self.protocol.METRICS))
        return problems

    def _unknown(self, loc: Loc, kind: str, name: object, known: Iterable[object]) -> Problem:
        what = f"unknown {kind} '{name}'{nearest(name, known)}"
        return Problem(self.raw.mark(loc), dotted(loc), what)
