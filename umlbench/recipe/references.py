"""Whether the report and the claims of a recipe name axes, values and metrics that it has.

A report looks figures up by all axes, so each must be placed once: a row or a column of the table,
and in a claim `for_each`, `over` or a side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from umlbench.claims import Bound, Claim, Judged, Ordering, Statement, Trend
from umlbench.errors import nearest
from umlbench.recipe.model import Layout, Plot
from umlbench.schema import located
from umlbench.schema.located import Key, Loc, Located, Problem, dotted

_CLAIM: TypeAdapter[Judged | Statement] = TypeAdapter(Claim)


@dataclass(frozen=True)
class References:
    """The checks of `report` and `claims`; what has a wrong type is left to the schema."""

    raw: Located
    metrics: Iterable[str]

    def problems(self) -> list[Problem]:
        """Every problem, in the order of the file's sections."""
        if not self.axes:
            return []  # nothing to compare with
        return [*self._report(), *self._claims()]

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The axes of the cells that place a number, with their values."""
        over = [name for _, name in self._analysed()]
        return {name: v for name, v in self._lists(("axes",)).items() if name not in over}

    @property
    def curves(self) -> dict[str, list[Any]]:
        """The other axes: a curve's inside a job with its printed points, an analysis' fits."""
        fits = self._get(("report", "analysis", "fits"))
        own = {"fit": fits} if isinstance(fits, list) else {}
        return {**self._lists(("report", "points")), **own}

    def _analysed(self) -> list[tuple[Loc, str]]:
        """The axes that an analysis runs over."""
        keys = ("images", "texts")
        return [place for key in keys for place in self._names("report", "analysis", key)]

    # --- the report ---------------------------------------------------------------------------

    def _report(self) -> Iterator[Problem]:
        for loc, name in self._names("report", "metrics"):
            if name not in self.metrics:
                yield self._unknown(loc, "metric", name, self.metrics)
        yield from self._repeats(self._names("report", "metrics"))
        for name in self.axes.keys() & self.curves.keys():
            yield self._at(("report", "points", name), "is an axis already", key=True)
        yield from self._analysis()
        columns = self._names("report", "columns")
        yield from self._placed(("report", "rows"), [*self._names("report", "rows"), *columns])
        yield from self._baseline()
        for loc, axis in self._names("report", "average"):
            if axis not in [name for _, name in columns]:
                known = [name for _, name in columns if name in self.axes]
                yield self._at(loc, f"'{axis}' is not one of the columns{nearest(axis, known)}")
            elif axis not in self.axes:
                yield self._at(loc, f"'{axis}' is a curve's axis: it has no average")
        for axis in self._mapping(("report", "labels")):
            if axis not in self._known:
                yield self._unknown(("report", "labels", axis), "axis", axis, self._known, key=True)
        if isinstance(self._get(("report", "plot")), dict):
            places = [
                p for key in ("x", "lines", "panels") for p in self._names("report", "plot", key)
            ]
            yield from self._placed(("report", "plot"), places)

    def _analysis(self) -> Iterator[Problem]:
        cells = self._lists(("axes",))
        for loc, name in self._analysed():
            if name not in cells:
                yield self._unknown(loc, "axis", name, cells)
        yield from self._repeats([*self._analysed(), *self._names("report", "analysis", "fits")])

    def _baseline(self) -> Iterator[Problem]:
        for axis, value in self._mapping(("report", "baseline")).items():
            loc: Loc = ("report", "baseline", axis)
            if axis not in self.axes:
                yield self._unknown(loc, "axis", axis, self.axes, key=True)
            else:
                yield from self._value(loc, axis, value)

    def _placed(self, whole: Loc, places: list[tuple[Loc, str]]) -> Iterator[Problem]:
        """Unknown, repeated and forgotten axes of a table or a plot."""
        strangers = [(loc, axis) for loc, axis in places if axis not in self._known]
        for loc, axis in strangers:
            yield self._unknown(loc, "axis", axis, self._known)
        yield from self._repeats(places)
        used = {axis for _, axis in places}
        wanted = self._known if whole == ("report", "rows") else self.axes
        missing = [axis for axis in wanted if axis not in used]
        if missing and places and not strangers and not self._misspelt(whole):
            where = "rows nor columns" if whole == ("report", "rows") else "x, lines nor panels"
            yield self._at(whole, f"'{missing[0]}' is in neither {where}", key=True)

    def _misspelt(self, whole: Loc) -> bool:
        """Whether a key of the table or plot is unknown: its axes are not forgotten then."""
        section, model = (
            (("report", "plot"), Plot) if whole[-1] == "plot" else (("report",), Layout)
        )
        return any(key not in model.model_fields for key in self._mapping(section))

    # --- the claims ---------------------------------------------------------------------------

    def _claims(self) -> Iterator[Problem]:
        claims = self._get(("claims",))
        for i, raw in enumerate(claims if isinstance(claims, list) else []):
            for loc, metric in self._names("claims", i, "metric"):
                if metric not in self.metrics:
                    yield self._unknown(loc, "metric", metric, self.metrics)
            try:
                claim = _CLAIM.validate_python(raw, strict=True)
            except ValidationError:
                continue  # the schema says it
            if not isinstance(claim, Statement):
                found = list(self._claim_names(("claims", i), claim))
                yield from found or self._claim_sense(("claims", i), claim)

    def _claim_names(self, at: Loc, claim: Judged) -> Iterator[Problem]:
        """Axes and values that do not exist."""
        fields = [key for key in ("for_each", "over", "along") if hasattr(claim, key)]
        for loc, axis in [place for key in fields for place in self._names(*at, key)]:
            if axis not in self._known:
                yield self._unknown(loc, "axis", axis, self._known)
        sides = [key for key in ("greater", "than", "where") if hasattr(claim, key)]
        for key in sides:
            for axis, value in getattr(claim, key).items():
                loc = (*at, key, axis)
                if axis not in self._known:
                    yield self._unknown(loc, "axis", axis, self._known, key=True)
                    continue
                for j, one in enumerate(value if key == "where" else [value]):
                    yield from self._value((*loc, j) if key == "where" else loc, axis, one)
                if value == []:
                    yield self._at(loc, "must not be empty")

    def _claim_sense(self, at: Loc, claim: Judged) -> Iterator[Problem]:
        """Axes that are placed twice or not at all, and claims that say nothing."""
        if isinstance(claim, Ordering) and claim.greater == claim.than:
            yield self._at((*at, "than"), "is the same cell as greater")
        if isinstance(claim, Bound):
            yield from self._limits(at, claim)
        if isinstance(claim, Trend) and self._is_short(claim):
            yield self._at((*at, "along"), f"a trend needs two values of '{claim.along}'")
        spread = [*claim.for_each, *([claim.over] if claim.over else [])]
        varied = [*spread, *([claim.along] if isinstance(claim, Trend) else [])]
        for axis in claim.where:
            if axis not in varied:
                what = "has no effect: the claim does not run over this axis"
                yield self._at((*at, "where", axis), what, key=True)
        keys = ("greater", "than") if isinstance(claim, Ordering) else ("for_each",)
        for key, side in zip(keys, claim.sides({**self.axes, **self.curves}), strict=False):
            placed = [*spread, *side]
            twice = [axis for axis in dict.fromkeys(placed) if placed.count(axis) > 1]
            if twice:
                yield self._at((*at, key), f"the claim places axis '{twice[0]}' twice")
            missing = [axis for axis in self.axes if axis not in placed]
            if missing:
                what = f"the claim says nothing about axis '{missing[0]}': add it to for_each"
                yield self._at((*at, key), what)

    def _is_short(self, claim: Trend) -> bool:
        values = claim.values(claim.along, {**self.axes, **self.curves})
        return len(values) < 2 and self._fixed(claim.along)

    def _limits(self, at: Loc, claim: Bound) -> Iterator[Problem]:
        low, high = claim.at_least, claim.at_most
        if low is None and high is None:
            yield self._at(at, "a bound needs at_least, at_most or both")
        elif low is not None and high is not None and low > high:
            yield self._at((*at, "at_least"), f"is above at_most ({high})")

    # --- reading the raw data -------------------------------------------------------------------

    @property
    def _known(self) -> list[str]:
        return [*self.axes, *self.curves]

    def _get(self, loc: Loc) -> Any:
        node = self.raw.data
        for part in loc:
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                return None
        return node

    def _mapping(self, loc: Loc) -> Mapping[str, Any]:
        found = self._get(loc)
        return found if isinstance(found, dict) else {}

    def _lists(self, loc: Loc) -> dict[str, list[Any]]:
        return {
            name: values if isinstance(values, list) else []
            for name, values in self._mapping(loc).items()
        }

    def _names(self, *loc: Key) -> list[tuple[Loc, str]]:
        """The text at `loc`, or each text of the list there, with its place."""
        found = self._get(loc)
        if isinstance(found, str):
            return [(loc, found)]
        items = enumerate(found if isinstance(found, list) else [])
        return [((*loc, i), item) for i, item in items if isinstance(item, str)]

    def _fixed(self, axis: str) -> bool:
        """Whether the axis is as in the file: `--set` may take away what the report names."""
        return bool(self.raw.mark(("axes", axis)).line)

    def _value(self, loc: Loc, axis: str, value: Any) -> Iterator[Problem]:
        values = {**self.axes, **self.curves}[axis]
        known = [located.dump_scalar(one) for one in values]
        same = any(
            one == value and isinstance(one, bool) == isinstance(value, bool) for one in values
        )
        if not same and self._fixed(axis) and not isinstance(value, list | dict):
            name = located.dump_scalar(value)
            yield self._unknown(loc, f"value of '{axis}':", name, known)

    def _repeats(self, places: list[tuple[Loc, str]]) -> Iterator[Problem]:
        seen = set()
        for loc, name in places:
            if name in seen:
                yield self._at(loc, f"repeats '{name}'")
            seen.add(name)

    def _unknown(
        self, loc: Loc, kind: str, name: object, known: Iterable[str], *, key: bool = False
    ) -> Problem:
        return self._at(loc, f"unknown {kind} '{name}'{nearest(name, known)}", key=key)

    def _at(self, loc: Loc, what: str, *, key: bool = False) -> Problem:
        return Problem(self.raw.mark(loc, key=key), dotted(loc), what)
