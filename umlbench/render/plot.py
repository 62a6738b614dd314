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
# Okabe and Ito's colours in an order of falling darkness, with dashes, so that lines stay apart for
# colour-blind readers and in grey print.
LINES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#E69F00", ":"))


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
    for line, (colour, dash) in zip(report.axis(plot.lines), LINES, strict=False):
        points = list(_line(report, plot, name, {**fixed, plot.lines: line}))
        x = [point for point, _ in points]
        mean = [value.mean for _, value in points]
        axes.plot(x, mean, color=colour, linestyle=dash, label=report.label(plot.lines, line))
        low, high = [v.low for _, v in points], [v.high for _, v in points]
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set_xlabel(plot.x.replace("_", " "))
    axes.set_ylabel(f"{metric.label} ({metric.unit})")
    if plot.panels:
        axes.set_title(f"{plot.panels.replace('_', ' ')}: {report.label(plot.panels, panel)}")


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
