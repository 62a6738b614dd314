"""Test samples of two classes in the plane of their decision boundary (figures 41 to 43)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from umlbench.jobs import Curve
from umlbench.protocols.linear_probe.measures import METRICS
from umlbench.records import Record
from umlbench.render.figures import places, style
from umlbench.reporting import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3


def make(report: Report, metrics: Sequence[str]) -> Figure | None:  # noqa: ARG001
    """A panel per cell that has a plane, at its first seed; None where no record has one."""
    found = list(places.with_curve(report, "plane_sample"))
    if not found:
        return None
    figure, all_axes = style.panels(len(found), ACROSS, (3.6, 3.2))
    for axes, (title, record, curve) in zip(all_axes, found, strict=True):
        _panel(axes, title, record, curve)
    return figure


def _panel(axes: Axes, title: str, record: Record, curve: Curve) -> None:
    """Class a, on the positive side where the head is right, and class b; the boundary between."""
    names = record.spec["settings"]["plane"]
    second = curve.values["second"]
    for side, (name, marker, face) in enumerate(
        zip(names, ("o", "^"), (style.COLOURS[0], "none"), strict=True)
    ):
        kept = [i for i, value in enumerate(second) if bool(value) == bool(side)]
        x, y = ([curve.values[key][i] for i in kept] for key in ("u1", "u2"))
        axes.scatter(
            x, y, marker=marker, facecolor=face, edgecolor=style.COLOURS[side], s=22, label=name
        )
    axes.axvline(0, color=style.DARK, label="boundary")
    accuracy = METRICS["plane_accuracy"].show(record.metrics["plane_accuracy"])
    axes.set_title(f"{title}\n{accuracy} percent on their side")
    axes.set_xlabel("along the normal (head input units)")
    axes.set_ylabel("along the rest of the\ndifference of means")
    axes.legend(fontsize=7, loc="best")
