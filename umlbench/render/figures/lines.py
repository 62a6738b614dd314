"""A report's `plot`: a panel per metric and value of some axes, a line per value of another."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from umlbench.recipe import Plot
from umlbench.render.figures import places, style
from umlbench.reporting import Entry, Report
from umlbench.schema import Scalar
from umlbench.stats import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS, MOST = 3, 4  # panels in a row
MANY = 20  # points that are drawn without markers
WRAP = 30  # characters of a label along an axis
SIDE = 0.12  # between neighbours at one value of an axis that has no numbers
PAPER: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "white", "markersize": 6.5}
STAR: dict[str, Any] = {**PAPER, "marker": "*", "color": style.DARK, "markersize": 8.0}


def make(report: Report, metrics: Sequence[str]) -> Figure | None:
    """The figure, of the metrics asked for (none: all printed ones); None without a plot."""
    plot = report.recipe.file.report.plot
    if plot is None or not report.records:
        return None
    shown = [name for name in report.metrics if not metrics or name in metrics]
    each = [(metric, at) for metric in shown for at in report.product(plot.panel_axes)]
    figure, all_axes = style.panels(len(each), _across(report, plot), (3.6, 2.8))
    for axes, (metric, at) in zip(all_axes, each, strict=True):
        _panel(report, plot, axes, metric, at)
    style.legend(figure)
    return figure


def _across(report: Report, plot: Plot) -> int:
    """Panels in a row: the values of the last axis of panels, where they fit."""
    values = len(report.axis(plot.panel_axes[-1])) if plot.panel_axes else 1
    return values if 1 < values <= MOST else ACROSS


@dataclass(frozen=True)
class _Line:
    """One value of the axis of lines: what is drawn at each place along x."""

    label: str
    look: Mapping[str, Any]
    xs: Sequence[Any]
    entries: Sequence[Entry]
    beside: float  # how far its points stand beside the places of x

    @property
    def ours(self) -> list[tuple[float, Interval]]:
        """Places and intervals of ours."""
        pairs = zip(self.xs, self.entries, strict=True)
        return [(x + self.beside, entry.ours) for x, entry in pairs if entry.ours]

    @property
    def paper(self) -> list[tuple[float, float]]:
        """Places and printed numbers."""
        pairs = zip(self.xs, self.entries, strict=True)
        return [(x, entry.paper) for x, entry in pairs if entry.paper is not None]


def _panel(report: Report, plot: Plot, axes: Axes, name: str, at: Mapping[str, Scalar]) -> None:
    metric, xs = report.metrics[name], _xs(report, plot.x)
    lines = list(_lines(report, plot, name, at))
    for line in lines:
        _ours(axes, line, joined=_numeric(xs))
    _paper(axes, lines)
    _ticks(report, plot.x, axes, xs)
    if metric.log_axis and all(v.low > 0 for line in lines for _, v in line.ours):
        style.logarithmic(axes)
    if metric.unit == "percent":  # of a whole: an interval may pass its ends, the axis does not
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -3.0), min(high, 103.0))
    axes.set_xlabel(places.axis_name(plot.x))
    label = "\n".join(textwrap.wrap(metric.label, WRAP))
    axes.set_ylabel(f"{label}\n({metric.unit})")
    axes.set_title(places.worded(report, at))


def _lines(report: Report, plot: Plot, name: str, at: Mapping[str, Scalar]) -> Iterator[_Line]:
    xs, values = _xs(report, plot.x), report.axis(plot.lines)
    for number, value in enumerate(values):
        entries = [report.entry({**at, plot.lines: value, plot.x: x}, name) for x in xs]
        label, look = places.worded(report, {plot.lines: value}), style.look(number)
        if _numeric(xs):
            yield _Line(label, look, xs, entries, 0.0)
        else:
            beside = (number - (len(values) - 1) / 2) * SIDE
            yield _Line(label, look, range(len(xs)), entries, beside)


def _ours(axes: Axes, line: _Line, *, joined: bool) -> None:
    """Means with their intervals: a band along an axis of numbers, else a bar each.

    An interval without an upper end has the sign of infinity at its point instead.
    """
    x, mean = [x for x, _ in line.ours], [value.mean for _, value in line.ours]
    low = [value.low if isfinite(value.low) else value.mean for _, value in line.ours]
    high = [value.high if isfinite(value.high) else value.mean for _, value in line.ours]
    colour = line.look["color"]
    for at, value in line.ours:
        if not isfinite(value.high):
            axes.annotate("∞", (at, value.mean), (0, 4), textcoords="offset points", color=colour)
    if joined:
        many = {"marker": ""} if len(x) > MANY else {}
        axes.plot(x, mean, label=line.label, **{**line.look, **many})
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    elif x:
        axes.vlines(x, low, high, color=colour)
        axes.plot(x, mean, label=line.label, **{**line.look, "linestyle": "none"})


def _paper(axes: Axes, lines: Sequence[_Line]) -> None:
    """The paper's numbers, hollow beside each line of ours; one star where all lines share them."""
    shared = lines[0].paper
    if len(lines) > 1 and shared and all(line.paper == shared for line in lines):
        axes.plot([x for x, _ in shared], [value for _, value in shared], label="paper", **STAR)
        return
    for line in lines:
        if line.paper:
            x, values = [x + line.beside for x, _ in line.paper], [v for _, v in line.paper]
            axes.plot(x, values, label=f"{line.label}, paper", **{**line.look, **PAPER})


def _ticks(report: Report, axis: str, axes: Axes, xs: list[Any]) -> None:
    """One tick per value; numbers that double (1, 2, 4, 8, 16 shots) on a logarithmic axis."""
    if axis not in report.recipe.axes and _numeric(xs):
        return  # the points of a curve
    labels = [report.label(axis, x) for x in xs]
    if not _numeric(xs):
        axes.set_xticks(range(len(xs)), labels, rotation=30, ha="right")
        return
    if min(xs) > 0 and max(xs) >= 8 * min(xs):
        axes.set_xscale("log", base=2)
    axes.set_xticks(xs, labels)
    axes.minorticks_off()


def _numeric(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _xs(report: Report, axis: str) -> list[Any]:
    """Every value of an axis, or every stored point of a curve (not only the printed ones)."""
    if axis in report.recipe.axes:
        return list(report.recipe.axes[axis])
    printed = report.axis(axis)
    return sorted(_points(report, axis)) if _numeric(printed) else printed


def _points(report: Report, axis: str) -> set[Any]:
    return {p for r in report.records for c in r.curves if c.axis == axis for p in c.points}
