"""Means over seeds with 95% confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev


@dataclass(frozen=True)
class Interval:
    """A mean over `n` seeds and the half-width of its 95% t-interval (None for one seed).

    `bounds` are the ends of an interval of another kind, which need not lie around the mean.
    """

    mean: float
    half: float | None
    n: int
    bounds: tuple[float, float] | None = None

    @property
    def low(self) -> float:
        """Lower end; the mean itself for one seed."""
        return self.bounds[0] if self.bounds else self.mean - (self.half or 0.0)

    @property
    def high(self) -> float:
        """Upper end; the mean itself for one seed."""
        return self.bounds[1] if self.bounds else self.mean + (self.half or 0.0)


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95% t-interval of at least one value."""
    n = len(values)
    if n < 2:
        return Interval(fmean(values), None, n)
    return Interval(fmean(values), t_quantile(n - 1) * stdev(values) / sqrt(n), n)


def t_quantile(degrees: int) -> float:
    """The 97.5% quantile of Student's t (what a two-sided 95% interval needs)."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))
