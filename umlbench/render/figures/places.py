"""Where a panel is: its values in words, and the records that left a curve there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from umlbench.jobs import Curve
from umlbench.records import Record
from umlbench.reporting import Report
from umlbench.schema import Scalar

UNITS = {"shots": "samples a class", "text_shots": "sentences a class"}


def axis_name(axis: str) -> str:
    """What stands along an axis, with its unit where it counts something."""
    name = axis.replace("_", " ")
    return f"{name} ({UNITS[axis]})" if axis in UNITS else name


def worded(report: Report, at: Mapping[str, Scalar]) -> str:
    """A place's values; one in words says what it is, a number is named."""
    return ", ".join(_one(report, axis, value) for axis, value in at.items())


def _one(report: Report, axis: str, value: Scalar) -> str:
    label = report.label(axis, value)
    number = isinstance(value, int | float)
    return f"{axis.replace('_', ' ')} {label}" if number and " " not in label else label


def with_curve(report: Report, axis: str) -> Iterator[tuple[str, Record, Curve]]:
    """Place, record and curve of every cell whose first seed left a curve along `axis`."""
    for values, seeds in report.figures.items():
        seed, record = min(seeds.items())
        cell = dict(zip(report.recipe.file.axes, values, strict=True))
        for curve in record.curves:
            if curve.axis == axis:
                yield f"{worded(report, cell)}, seed {seed}", record, curve
