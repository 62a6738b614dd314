"""How much better than a baseline, as a share of it: the percentages of Tables 25, 26 and figure 7.

The gain of figures a over figures b is 100 (mean a / mean b - 1), as the paper computes it from its
means. Over seeds it is a ratio of paired means, whose 95% t-interval rests on the residuals
a - (mean a / mean b) b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev

from umlbench.protocols import Metric
from umlbench.stats import Interval, t_quantile

NAME = "relative_gain"
METRICS: Mapping[str, Metric] = {
    NAME: Metric("Relative gain", "percent of the baseline", True, digits=1)
}


def gain(figure: float, baseline: float) -> float | None:
    """Percent by which one number exceeds another; None over zero."""
    return 100 * (figure / baseline - 1) if baseline else None


def over_seeds(figures: Sequence[float], baseline: Sequence[float]) -> Interval | None:
    """The gain of the mean of `figures` over that of `baseline`, paired; None over a mean of zero.

    Both have one value a seed, at least one, in the same order of seeds.
    """
    n, mean = len(figures), fmean(baseline)
    if not mean:
        return None
    ratio = fmean(figures) / mean
    if n < 2:
        return Interval(100 * (ratio - 1), None, n)
    residuals = [a - ratio * b for a, b in zip(figures, baseline, strict=True)]
    half = t_quantile(n - 1) * stdev(residuals) / (abs(mean) * sqrt(n))
    return Interval(100 * (ratio - 1), 100 * half, n)
