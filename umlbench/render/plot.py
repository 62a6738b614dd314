"""The figure of a report: one panel per value of an axis, one line per value of another.

matplotlib with fixed metadata and hash salt, so that the files are byte-stable for one version.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench.recipe import Plot
from umlbench.reporting import Coords, Report
from umlbench.schema import Scalar
from umlbench.stats import Interval, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "umlbench",
    "savefig.dpi": 150,
}
# Okabe and Ito's colours in an order of falling darkness, and dashes, so that lines stay apart for
# colour-blind readers and in grey print. Four dashes and five colours make twenty different lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
DASHES = ("-", "--", "-.", ":")


def draw(report: Report, folder: Path) -> list[Path]:
    """Write `<id>.png` and `<id>.svg` into `folder`; nothing for a recipe without a plot."""
    plot = report.recipe.file.report.plot
    if plot is None or not report.records:
        return []
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        panels = report.axis(plot.panels) if plot.panels else [None]
        figure = Figure(figsize=(3.6 * len(panels) + 0.4, 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        for index, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), index)
            _panel(report, plot, axes, panel)
        figure.axes[0].legend()
        paths = [folder / f"{report.recipe.id}.{ending}" for ending in ("png", "svg")]
        figure.savefig(paths[0], metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    return paths


def _panel(report: Report, plot: Plot, axes: Axes, panel: Scalar) -> None:
    name = report.recipe.file.report.metrics[0]
    metric = report.metrics[name]
    fixed: dict[str, Scalar] = {plot.panels: panel} if plot.panels else {}
    measured = plot.x in report.recipe.file.axes  # single cells, not the points of a curve
    for number, line in enumerate(report.axis(plot.lines)):
        points = list(_line(report, plot, name, {**fixed, plot.lines: line}))
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        x, values = [x for x, _ in points], [value for _, value in points]
        label = report.label(plot.lines, line)
        mean, marker = [v.mean for v in values], "o" if measured else ""
        axes.plot(x, mean, label=label, color=colour, linestyle=dash, marker=marker, markersize=3.5)
        low, high = [v.low for v in values], [v.high for v in values]
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    if measured:
        _ticks(axes, _xs(report, plot.x), [report.label(plot.x, x) for x in _xs(report, plot.x)])
    axes.set_xlabel(plot.x.replace("_", " "))
    axes.set_ylabel(f"{metric.label} ({metric.unit})")
    if plot.panels:
        axes.set_title(_title(plot.panels, report.label(plot.panels, panel)))


def _ticks(axes: Axes, values: list[Any], labels: list[str]) -> None:
    """One tick per value; numbers that double (1, 2, 4, 8, 16 shots) on a logarithmic axis."""
    numbers = [value for value in values if isinstance(value, int | float) and value > 0]
    if len(numbers) == len(values) and max(numbers) >= 8 * min(numbers):
        axes.set_xscale("log", base=2)
    axes.set_xticks(values, labels)
    axes.minorticks_off()


def _title(axis: str, label: str) -> str:
    """A label in words says what it is; a bare value does not."""
    return label if " " in label else f"{axis.replace('_', ' ')}: {label}"


def _line(
    report: Report, plot: Plot, metric: str, coords: Coords
) -> Iterator[tuple[Any, Interval]]:
    for x in _xs(report, plot.x):
        samples = report.samples(metric, {**coords, plot.x: x})
        if samples:
            yield x, interval(list(samples.values()))


def _xs(report: Report, axis: str) -> list[Any]:
    """Every value of an axis, or every stored point of a curve (not only the printed ones)."""
    if axis in report.recipe.file.axes:
        return list(report.recipe.file.axes[axis])
    return sorted({p for r in report.records for c in r.curves if c.axis == axis for p in c.points})
