"""Accuracy over image shots and text shots, with isolines of the fitted plane (figure 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from umlbench.analysis.exchange_rate import METRICS, Plane, Rate
from umlbench.render.figures import places, style
from umlbench.render.layout import spread
from umlbench.reporting import Coords, Report

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

ACROSS = 4
LEVELS = 6


def make(report: Report, metrics: Sequence[str]) -> Figure | None:  # noqa: ARG001
    """A panel per place of the report, under its first fit; None without an exchange rate."""
    if report.derived is None or not report.records:
        return None
    names = [axis for axis in report.recipe.axes if axis != "fit"]
    fit = {"fit": report.axis("fit")[0]}
    each = [{**at, **fit} for at in report.product(names)]
    each = [at for at in each if report.derived.rate(at).points]
    figure, all_axes = style.panels(len(each), ACROSS, (3.4, 3.0))
    for axes, at in zip(all_axes, each, strict=True):
        rate = report.derived.rate(at)
        where = places.worded(report, {axis: at[axis] for axis in names})
        axes.set_title(f"{where}\n{_said(report, at)}")
        axes.set_xlabel(places.axis_name(report.derived.analysis.texts))
        axes.set_ylabel(places.axis_name(report.derived.analysis.images))
        _panel(axes, rate, report.entry(at, "words_per_image").paper)
    style.legend(figure)
    return figure


def _panel(axes: Axes, rate: Rate, words: float | None) -> None:
    """The cells, coloured by accuracy; isolines of the plane; the paper's number of `words`."""
    import numpy as np

    where = rate.fit.coordinates(rate.points)
    means = [np.mean(list(rate.surface[point].values())) for point in rate.points]
    dots = axes.scatter(where[:, 1], where[:, 0], c=means, edgecolor=style.DARK, zorder=3)
    axes.use_sticky_edges = False  # room around the outermost cells
    style.colour_bar(axes, dots, "Test accuracy (percent)")
    _ticks(axes, rate, where)
    if rate.mean is not None:
        _isolines(axes, rate.mean, where, f"isolines of the plane ({rate.fit.label})")
        _paper(axes, rate, where, words)


def _said(report: Report, at: Coords) -> str:
    """The rate in words beside the printed one."""
    entry = report.entry(at, "words_per_image")
    metric = METRICS["words_per_image"]
    ours = f"{spread(entry.ours, metric)} words" if entry.ours else "no rate"
    paper = "" if entry.paper is None else f" (paper {metric.show(entry.paper)})"
    return f"1 image: {ours}{paper}"


def _ticks(axes: Axes, rate: Rate, where: NDArray[np.float64]) -> None:
    """One tick per number of images and sentences, where there is room."""
    for along, column, set_ticks in ((1, 1, axes.set_xticks), (0, 0, axes.set_yticks)):
        ticks = {
            float(w): f"{p[column]:g}" for w, p in zip(where[:, along], rate.points, strict=True)
        }
        kept = _apart(sorted(ticks), least=0.05)
        set_ticks(kept, [ticks[tick] for tick in kept])


def _apart(ticks: list[float], least: float) -> list[float]:
    """The ticks that are not closer to the one before than a share of the axis."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick - kept[-1] >= least * (ticks[-1] - ticks[0]):
            kept.append(tick)
    return kept


def _isolines(axes: Axes, plane: Plane, where: NDArray[np.float64], label: str) -> None:
    """Lines of equal accuracy of the plane, with their accuracy."""
    import numpy as np

    images, texts = (np.linspace(where[:, i].min(), where[:, i].max(), 50) for i in (0, 1))
    grid = np.stack(np.meshgrid(images, texts, indexing="ij"), axis=-1)
    height = plane.at(grid.reshape(-1, 2)).reshape(50, 50)
    if height.max() > height.min():
        lines = axes.contour(
            texts, images, height, levels=LEVELS, colors=style.DARK, linewidths=0.8
        )
        axes.clabel(lines, fontsize=7, fmt="%g")
        axes.plot([], [], color=style.DARK, linewidth=0.8, label=label)


def _paper(axes: Axes, rate: Rate, where: NDArray[np.float64], words: float | None) -> None:
    """A line of the printed rate through the middle of the grid, where counts are raw."""
    if words is None or not rate.words or rate.fit.log:
        return
    texts = words / rate.words  # worth one image
    middle: Any = where.mean(0)
    span = [where[:, 1].min(), where[:, 1].max()]
    values = [middle[0] - (t - middle[1]) / texts for t in span]
    axes.plot(span, values, color=style.COLOURS[1], linestyle="--", label="the paper's rate")
