"""How many words is an image worth? (section 4.4 and appendix E.4; figures 8, 9 and 16 to 31)

Test accuracy over a grid of image shots and text shots is fitted by a plane, an ordinary least
squares fit of accuracy = c + a x + b y. Along an isoline of the plane one image is exchanged for
a / b sentences, and each sentence for its mean number of words.

The paper states neither the grid nor the variant of its fit; `FITS` names the variants. With raw
counts the rate is the same everywhere. With logarithms it is that at the middle of the grid (of its
logarithms), where a doubling of the images is worth a / b doublings of the sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from umlbench.protocols import Metric
from umlbench.seeds import numpy_stream
from umlbench.stats import Interval, interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Point = tuple[float, float]  # images and sentences a class
Surface = Mapping[Point, Mapping[int, float]]  # accuracy by point and seed

RESAMPLES = 10_000
ROUNDING = 1e-9  # of the accuracy: a slope below it is none

METRICS: Mapping[str, Metric] = {
    "words_per_image": Metric("Words worth one image", "words", False, digits=0, log_axis=True),
    "texts_per_image": Metric(
        "Sentences worth one image", "sentences", False, digits=1, log_axis=True
    ),
    "r_squared": Metric("R² of the plane", "share of variance", True),
    "image_slope": Metric("Slope along images", "points a unit", True, digits=3),
    "text_slope": Metric("Slope along sentences", "points a unit", True, digits=3),
}


@dataclass(frozen=True)
class Fit:
    """A variant of the fit: which points count, and on what scale."""

    label: str
    log: bool = False
    zero: bool = True  # whether the points without text count

    def coordinates(self, points: Sequence[Point]) -> Floats:
        """(n, 2): what the plane is fitted over; a doubling is one step of a logarithm."""
        import numpy as np

        counts = np.array(points, dtype=np.float64).reshape(-1, 2)
        return np.log2(counts + self._shift) if self.log else counts

    def counts(self, coordinates: Floats) -> Floats:
        """The images and sentences at some `coordinates`."""
        return 2**coordinates - self._shift if self.log else coordinates

    def exchange(self, points: Sequence[Point]) -> float:
        """Sentences an image per unit of a / b: 1, or for logarithms that of the grid's middle."""
        if not self.log:
            return 1.0
        images, texts = 2 ** self.coordinates(points).mean(0)
        return float(texts / images)

    @property
    def _shift(self) -> Point:
        return (0.0, 1.0 if self.zero else 0.0)


FITS: Mapping[str, Fit] = {
    "raw": Fit("raw counts"),
    "raw_no_zero": Fit("raw counts, no 0", zero=False),
    "log": Fit("logarithms", log=True),
    "log_no_zero": Fit("logarithms, no 0", log=True, zero=False),
}


@dataclass(frozen=True)
class Plane:
    """accuracy = intercept + image x + text y, and the share of the variance that it explains.

    `r_squared` is NaN where the accuracy does not vary.
    """

    intercept: float
    image: float
    text: float
    r_squared: float

    def at(self, coordinates: Floats) -> Floats:
        """The plane's accuracy (n,) at `coordinates` (n, 2)."""
        return self.intercept + coordinates @ [self.image, self.text]


def plane(coordinates: Floats, accuracy: Floats) -> Plane | None:
    """Ordinary least squares over (n, 2) and (n,); None where the points do not span a plane."""
    import numpy as np

    design = np.column_stack([np.ones(len(coordinates)), coordinates])
    if np.linalg.matrix_rank(design) < 3:
        return None
    found = np.linalg.lstsq(design, accuracy, rcond=None)[0]
    found[np.abs(found) < ROUNDING * np.abs(accuracy).max()] = 0.0  # a flat direction is flat
    left = float(((accuracy - design @ found) ** 2).sum())
    spread = float(((accuracy - accuracy.mean()) ** 2).sum())
    explained = 1 - left / spread if spread > 1e-12 * len(accuracy) else math.nan
    return Plane(float(found[0]), float(found[1]), float(found[2]), explained)


@dataclass(frozen=True)
class Rate:
    """The exchange rate of one surface under one fit, and what stands in its way.

    `words` is the mean number of words a sentence, None where it is not known.
    """

    surface: Surface
    fit: Fit
    words: float | None = None

    @cached_property
    def cells(self) -> list[Point]:
        """The points that count for this fit."""
        return sorted(point for point in self.surface if self.fit.zero or point[1] > 0)

    @cached_property
    def points(self) -> list[Point]:
        """Those of them that have a figure."""
        return [point for point in self.cells if self.surface[point]]

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that every point has."""
        each = [set(self.surface[point]) for point in self.points]
        return sorted(set.intersection(*each)) if each else []

    @cached_property
    def planes(self) -> dict[int, Plane]:
        """A plane for each seed alone; empty where the points do not span one."""
        import numpy as np

        coordinates = self.fit.coordinates(self.points)
        found = {
            seed: plane(coordinates, np.array([self.surface[p][seed] for p in self.points]))
            for seed in self.seeds
        }
        return {seed: one for seed, one in found.items() if one is not None}

    @cached_property
    def mean(self) -> Plane | None:
        """The plane through the mean over seeds, whose slopes are the means of the seeds'."""
        import numpy as np

        if not self.planes:
            return None
        means = [np.mean([self.surface[p][s] for s in self.seeds]) for p in self.points]
        return plane(self.fit.coordinates(self.points), np.array(means))

    def by_seed(self, metric: str) -> dict[int, float]:
        """One of `METRICS` for each seed alone; a rate only where every seed has one."""
        found = {seed: self._value(metric, one) for seed, one in self.planes.items()}
        kept = {seed: value for seed, value in found.items() if value is not None}
        return kept if len(kept) == len(found) else {}

    def summary(self, metric: str) -> Interval | None:
        """One of `METRICS` of all seeds: a rate with the ends of its bootstrap interval.

        R² is that of the plane through the mean over seeds; a slope has its 95% t-interval.
        """
        if self.mean is None:
            return None
        if metric in ("image_slope", "text_slope"):
            return interval(list(self.by_seed(metric).values()))
        value = self._value(metric, self.mean)
        if value is None:
            return None
        bounds = None if metric == "r_squared" else self._bounds(metric)
        return Interval(value, None, len(self.seeds), bounds)

    def problems(self, seeds: int) -> list[str]:
        """What a reader of the rate must know; `seeds` is how many there should be."""
        found: list[str] = []
        if not self.points:
            return found  # not run: the table says so
        lacking = len(self.cells) - len(self.points)
        if lacking:
            found.append(f"{lacking} of {len(self.cells)} cells are missing")
        if len(self.seeds) < seeds:
            found.append(f"{len(self.seeds)} of {seeds} seeds have every cell that was run")
        if self.mean is None:
            what = "no plane without two numbers of images and of sentences"
            return [*found, what] if self.seeds else found
        if self.mean.text <= 0:
            found.append("no rate, since accuracy does not rise with text")
        elif any(one.text <= 0 for one in self.planes.values()):
            falling = [str(seed) for seed, one in self.planes.items() if one.text <= 0]
            found.append(f"accuracy does not rise with text at seed {', '.join(falling)} alone")
        if self.mean.image <= 0:
            found.append("accuracy does not rise with images")
        return found

    def _value(self, metric: str, one: Plane) -> float | None:
        own = {"image_slope": one.image, "text_slope": one.text, "r_squared": one.r_squared}
        value = own[metric] if metric in own else self._rate(metric, one.image, one.text)
        return None if value is None or math.isnan(value) else value

    def _rate(self, metric: str, image: float, text: float) -> float | None:
        factor = self._factor(metric)
        return None if text <= 0 or factor is None else factor * image / text

    def _factor(self, metric: str) -> float | None:
        """Sentences or words an image per unit of a / b."""
        exchange = self.fit.exchange(self.points)
        if metric == "texts_per_image":
            return exchange
        return None if self.words is None else exchange * self.words

    def _bounds(self, metric: str) -> tuple[float, float] | None:
        """The 2.5% and 97.5% quantiles over seeds drawn with replacement; one seed has none."""
        import numpy as np

        if len(self.planes) < 2:
            return None
        slopes = np.array([(one.image, one.text) for one in self.planes.values()])
        stream = numpy_stream("bootstrap", 0, seeds=len(slopes))
        drawn = slopes[stream.integers(len(slopes), size=(RESAMPLES, len(slopes)))].mean(1)
        # Where text does not help, no number of words is worth an image.
        rates = np.full(RESAMPLES, np.inf)
        np.divide(drawn[:, 0], drawn[:, 1], out=rates, where=drawn[:, 1] > 0)
        low = np.quantile(rates, 0.025, method="lower")
        high = np.quantile(rates, 0.975, method="higher")
        factor = self._factor(metric) or 0.0
        return float(low) * factor, float(high) * factor
