"""Heat maps of prototypes against the mean text vectors of their classes (figure 47)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from umlbench.protocols.linear_probe.measures import METRICS
from umlbench.render.figures import places, style
from umlbench.reporting import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from umlbench.jobs import Curve

ACROSS = 3


def make(report: Report, metrics: Sequence[str]) -> Figure | None:  # noqa: ARG001
    """A panel per cell that has text, at its first seed; None where no record has a heat map."""
    found = list(places.with_curve(report, "prototype"))
    if not found:
        return None
    figure, all_axes = style.panels(len(found), ACROSS, (4.2, 3.9))
    for axes, (title, record, curve) in zip(all_axes, found, strict=True):
        rank1 = METRICS["prototype_rank1"].show(record.metrics["prototype_rank1"])
        _panel(axes, f"{title}\n{rank1} percent of all classes rank 1", curve)
    return figure


def _panel(axes: Axes, title: str, curve: Curve) -> None:
    """Rows are prototypes, columns texts, in one order: the diagonal is a class with its own."""
    names = [str(name) for name in curve.points]
    rows = list(zip(*(curve.values[name] for name in names), strict=True))
    image = axes.imshow(rows, interpolation="nearest", aspect="equal")
    axes.grid(visible=False)
    style.colour_bar(axes, image, "inner product")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.set_title(title)
    axes.set_xlabel("mean text vector of class")
    axes.set_ylabel("prototype of class")
