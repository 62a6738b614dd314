"""The figures of a report that an analysis makes of many cells at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

from umlbench.analysis.exchange_rate import FITS, RESAMPLES, Point, Rate
from umlbench.recipe.model import Analysis
from umlbench.schema import Scalar

if TYPE_CHECKING:
    from umlbench.reporting import Coords, Report

PLACES = 4  # how many a note names


class ExchangeRates:
    """The exchange rate at every place of a report, from its records of accuracy."""

    def __init__(self, report: Report, analysis: Analysis) -> None:
        self.report = report
        self.analysis = analysis
        self._rates: dict[tuple[Scalar, ...], Rate] = {}

    def rate(self, coords: Coords) -> Rate:
        """The rate at a place of the report: every axis, and the fit."""
        place = tuple(coords[axis] for axis in self.report.recipe.axes)
        if place not in self._rates:
            self._rates[place] = self._rate(coords)
        return self._rates[place]

    def _rate(self, coords: Coords) -> Rate:
        fixed = {axis: value for axis, value in coords.items() if axis != "fit"}
        accuracy = self._surface(fixed, self.analysis.of)
        words = self._surface(fixed, "text_words")
        known = [value for samples in words.values() for value in samples.values()]
        fit = FITS[str(coords["fit"])]
        return Rate(accuracy, fit, fmean(known) if known else None)

    def _surface(self, fixed: Coords, metric: str) -> dict[Point, Mapping[int, float]]:
        axes, names = self.report.recipe.file.axes, (self.analysis.images, self.analysis.texts)
        return {
            (float(images), float(texts)): self.report.measured(
                metric, {**fixed, names[0]: images, names[1]: texts}
            )
            for images in axes[names[0]]
            for texts in axes[names[1]]
            if isinstance(images, int | float) and isinstance(texts, int | float)
        }

    def notes(self) -> list[str]:
        """How the figures are made, and what stands in their way, place by place."""
        lines = [
            "Plane: ordinary least squares through the mean over seeds; in brackets the 95% "
            f"bootstrap interval over seeds ({RESAMPLES} resamples; with three seeds or fewer it "
            "is the range of the seeds' own rates). Words: the mean number, between spaces, of all "
            "sentences of the corpus."
        ]
        return lines + [f"{what}: {places}." for what, places in self._problems.items()]

    @cached_property
    def _problems(self) -> dict[str, str]:
        """Each problem and the places that have it."""
        found: dict[str, list[str]] = {}
        report = self.report
        for coords in report.product(list(report.recipe.axes)):
            for what in self.rate(coords).problems(len(report.recipe.file.seeds)):
                place = ", ".join(report.label(axis, value) for axis, value in coords.items())
                found.setdefault(what[0].upper() + what[1:], []).append(place)
        return {what: _few(places) for what, places in found.items()}


def _few(places: list[str]) -> str:
    rest = len(places) - PLACES
    return "; ".join(places[:PLACES]) + (f"; and at {rest} more" if rest > 0 else "")
