"""Machine-readable claims, judged alike on the paper's printed numbers and on our records.

A claim that compares figures is judged on differences paired over seeds: it *holds* where the 95%
interval of the difference lies on its side of zero, is *reversed* where it lies on the other side,
and is *undecided* in between. A single number (a printed one) counts by its sign alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from umlbench.schema import Closed, Scalar
from umlbench.stats import Interval, interval

Coords = Mapping[str, Scalar]
Axes = Mapping[str, Sequence[Scalar]]
Samples = Mapping[int, float]  # figure by seed
Lookup = Callable[[str | None, Coords], Samples]  # (metric, None for the main one; coordinates)
Finding = Literal["holds", "reversed", "undecided", "not run"]


@dataclass(frozen=True)
class Verdict:
    """A claim at one point of its `for_each` axes, and the interval it rests on."""

    at: Coords
    finding: Finding
    evidence: Interval | None = None


class _Claim(Closed):
    """What every claim has: where it is made, and about which metric (None: the main one)."""

    text: str
    metric: str | None = None
    for_each: list[str] = []  # one verdict per combination of these axes
    where: dict[str, list[Scalar]] = {}  # only these values of an axis
    over: str | None = None  # the claim is about the mean over this axis

    def sides(self, axes: Axes) -> list[dict[str, Scalar]]:
        """The coordinates, beside the `for_each` and `over` axes, whose figures are compared."""
        raise NotImplementedError

    def evidence(self, figures: Sequence[float]) -> float:
        """One seed's figures (in the order of `sides`) as the number that is judged."""
        raise NotImplementedError

    def finding(self, values: Sequence[float]) -> Finding:
        """What the evidence of all seeds says: on the claim's side where it is positive."""
        found = interval(values)
        if found.low > 0:
            return "holds"
        return "reversed" if found.high < 0 else "undecided"

    def applies(self, axes: Axes) -> bool:
        """Whether every axis and value that the claim names is among `axes`."""
        named = [*self.for_each, *([self.over] if self.over else [])]
        if any(name not in axes or not self.values(name, axes) for name in named):
            return False
        sides = self.sides(axes)
        return all(v in axes.get(name, ()) for side in sides for name, v in side.items())

    def values(self, name: str, axes: Axes) -> list[Scalar]:
        """The values of an axis that the claim is about."""
        return [value for value in axes[name] if value in self.where.get(name, axes[name])]

    def points(self, axes: Axes) -> Iterator[dict[str, Scalar]]:
        """The combinations of the `for_each` axes, the last varying fastest."""
        values = [self.values(name, axes) for name in self.for_each]
        for point in itertools.product(*values):
            yield dict(zip(self.for_each, point, strict=True))

    def judge(self, axes: Axes, lookup: Lookup) -> list[Verdict]:
        """One verdict per point; a point of which a figure is missing is "not run"."""
        return [self._judge_at(at, axes, lookup) for at in self.points(axes)]

    def _judge_at(self, at: Coords, axes: Axes, lookup: Lookup) -> Verdict:
        sides = [self._read(axes, lookup, {**at, **side}) for side in self.sides(axes)]
        seeds = sorted(set.intersection(*(set(samples) for samples in sides)))
        if not seeds:
            return Verdict(at, "not run")
        values = [self.evidence([samples[seed] for samples in sides]) for seed in seeds]
        return Verdict(at, self.finding(values), interval(values))

    def _read(self, axes: Axes, lookup: Lookup, at: Coords) -> Samples:
        if self.over is None:
            return lookup(self.metric, at)
        each = [lookup(self.metric, {**at, self.over: v}) for v in self.values(self.over, axes)]
        return mean_over(each)


def mean_over(each: Sequence[Samples]) -> dict[int, float]:
    """Per seed, the mean over cells; only seeds that every cell has (else it is withheld)."""
    common = sorted(set.intersection(*(set(samples) for samples in each)))
    return {seed: math.fsum(samples[seed] for samples in each) / len(each) for seed in common}


class Ordering(_Claim):
    """The figure at `greater` is larger than the figure at `than` (for an error: is worse)."""

    kind: Literal["ordering"]
    greater: dict[str, Scalar]
    than: dict[str, Scalar]

    def sides(self, axes: Axes) -> list[dict[str, Scalar]]:  # noqa: ARG002
        """Both sides as the claim names them."""
        return [self.greater, self.than]

    def evidence(self, figures: Sequence[float]) -> float:
        """By how much the greater side is greater."""
        return figures[0] - figures[1]


class Trend(_Claim):
    """The figure at the axis's last value is above (rising) or below (falling) its first."""

    kind: Literal["trend"]
    along: str
    direction: Literal["rising", "falling"]

    def sides(self, axes: Axes) -> list[dict[str, Scalar]]:
        """The axis's first and last values."""
        values = self.values(self.along, axes) if self.along in axes else []
        return [{self.along: value} for value in (values[:1] or [None]) + (values[-1:] or [None])]

    def applies(self, axes: Axes) -> bool:
        """As for every claim, and there are two values between which something can move."""
        return super().applies(axes) and len(self.values(self.along, axes)) > 1

    def evidence(self, figures: Sequence[float]) -> float:
        """By how much the figure moves in the claimed direction."""
        rise = figures[1] - figures[0]
        return rise if self.direction == "rising" else -rise


class Bound(_Claim):
    """Every seed's figure lies within the given limits, both included."""

    kind: Literal["bound"]
    at_least: float | None = None
    at_most: float | None = None

    def sides(self, axes: Axes) -> list[dict[str, Scalar]]:  # noqa: ARG002
        """The figure itself."""
        return [{}]

    def evidence(self, figures: Sequence[float]) -> float:
        """The figure itself."""
        return figures[0]

    def finding(self, values: Sequence[float]) -> Finding:
        """A bound is exact: one seed outside it reverses it."""
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        return "holds" if all(low <= value <= high for value in values) else "reversed"


class Statement(Closed):
    """A claim in words that no rule here judges."""

    kind: Literal["statement"]
    text: str


Judged = Ordering | Bound | Trend
Claim = Annotated[Judged | Statement, Field(discriminator="kind")]
