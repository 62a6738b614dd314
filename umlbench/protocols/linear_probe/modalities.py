"""A job's samples of every modality, and the sweep's trials that train on them.

There is one target and any number of auxiliary modalities, each with its own batches, loss weight
and, where its width is not the head's, projection. The probe with text is the case of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast
from typing import Protocol as Interface

from umlbench.jobs import Job
from umlbench.seeds import seed_for, torch_stream

if TYPE_CHECKING:
    from torch import Tensor

    from umlbench.sweep import Samples, Shuffled, Stream, Trial

Start = Literal["random", "zero", "means"]
Choice = int | str | None
TARGET = "target"


class Point(Interface):
    """What the settings of a grid point say of its training."""

    @property
    def starts_from(self) -> Start:
        """Where the head starts."""
        ...

    @property
    def learning_rate(self) -> float:
        """The base rate."""
        ...

    @property
    def weight_decay(self) -> float:
        """AdamW's decay."""
        ...

    @property
    def batch_size(self) -> int:
        """Rows of the target a step."""
        ...

    @property
    def learnable_scale(self) -> bool:
        """Whether logit scales are trained."""
        ...

    @property
    def scale(self) -> float:
        """Every modality's logit scale at the start."""
        ...

    def share(self, modality: str) -> tuple[int, float]:
        """Rows of an auxiliary modality a step, and the weight of its loss."""
        ...


@dataclass(frozen=True)
class Auxiliary:
    """A modality that helps: its samples by the value of the setting `choice` (None: one set).

    `unit`: its vectors count as directions in class means, as in the predecessor's code.
    """

    modality: str
    samples: Mapping[Choice, Samples]
    choice: str | None = None
    unit: bool = False

    @property
    def width(self) -> int:
        """Columns of its vectors."""
        return next(iter(self.samples.values())).x.shape[1]

    def at(self, point: Point) -> Samples:
        """The samples that one grid point trains on."""
        return self.samples[self.chosen(point)]

    def chosen(self, point: Point) -> Choice:
        """The value of `choice` there."""
        return getattr(point, self.choice) if self.choice else None


@dataclass(frozen=True)
class Modalities:
    """One job's samples: target, auxiliary modalities; the first of these may start the head."""

    job: Job
    classes: int
    width: int  # of what the head reads
    train: Samples
    val: Samples
    test: Samples
    auxiliaries: tuple[Auxiliary, ...]
    keys: Mapping[str, str]  # of the features that were read
    drawn: str  # where the few-shot rows come from

    def trials(self) -> list[Trial]:
        """One per grid point; what starts alike shares its weights."""
        settings = self.job.settings
        points = [cast(Point, settings.model_copy(update=at)) for at in self.job.trials()]
        heads: dict[object, Tensor] = {}
        for point in points:
            if (start := self._start(point)) not in heads:
                heads[start] = self._head(point)
        return [self._trial(point, heads[self._start(point)]) for point in points]

    def _trial(self, point: Point, head: Tensor) -> Trial:
        from umlbench.sweep import Trial

        return Trial(
            target=self._stream(self.train, TARGET, point.batch_size, 1.0),
            auxiliary=tuple(
                self._stream(one.at(point), one.modality, *point.share(one.modality))
                for one in self.auxiliaries
            ),
            val=self.val,
            test=self.test,
            head=head,
            learning_rate=point.learning_rate,
            weight_decay=point.weight_decay,
            learnable_scale=point.learnable_scale,
            scale=point.scale,
        )

    def _stream(self, samples: Samples, modality: str, rows: int, weight: float) -> Stream:
        from umlbench.sweep import Stream

        order = shuffled(self.job.seed, modality, len(samples), rows)
        return Stream(samples, order, weight, self.projections[modality])

    @cached_property
    def projections(self) -> dict[str, Tensor | None]:
        """By modality, its way into the head at the start (`projection`)."""
        widths = {TARGET: self.train.x.shape[1]}
        widths |= {one.modality: one.width for one in self.auxiliaries}
        seed = self.job.seed
        return {name: projection(name, seed, self.width, own) for name, own in widths.items()}

    def _start(self, point: Point) -> object:
        """What decides the head at the start, within one job."""
        means = point.starts_from == "means" and self.auxiliaries
        return point.starts_from, self.auxiliaries[0].chosen(point) if means else None

    def _head(self, point: Point) -> Tensor:
        """(C, T) at the start; means are those of what the head reads of the first auxiliary."""
        from torch.nn.functional import normalize

        from umlbench.sweep import Samples

        shape, seed = (self.classes, self.width), self.job.seed
        if point.starts_from != "means" or not self.auxiliaries:
            return first_head(point.starts_from, seed, shape)
        first = self.auxiliaries[0]
        given, way = first.at(point), self.projections[first.modality]
        x = normalize(given.x, dim=1) if first.unit else given.x
        return first_head("means", seed, shape, Samples(x if way is None else x @ way.T, given.y))


def projection(modality: str, seed: int, width: int, own: int) -> Tensor | None:
    """(`width`, `own`): a modality's way into a head of `width`, None where it is as wide itself.

    Every modality draws from a stream of its own.
    """
    from umlbench.models.head import linear_init

    if own == width:
        return None
    named = {} if modality == TARGET else {"modality": modality}
    return linear_init(width, own, torch_stream("init", seed, layer="projection", **named))


def first_head(
    start: Start, seed: int, shape: tuple[int, int], vectors: Samples | None = None
) -> Tensor:
    """The head (C, T) at the start; from the classes' means where there are `vectors` (N, T)."""
    import torch

    from umlbench.models.head import linear_init, zero_shot_weights

    if start == "zero":
        return torch.zeros(shape)
    if start == "means" and vectors is not None:
        return zero_shot_weights(vectors.x, vectors.y, shape[0])
    return linear_init(*shape, torch_stream("init", seed, layer="head"))


def shuffled(seed: int, modality: str, samples: int, rows: int) -> Shuffled:
    """The batches of one modality: the same for every method and grid point at a seed."""
    from umlbench.sweep import Shuffled

    stream = seed_for("order", seed, modality=modality, batch_size=rows)
    return Shuffled(samples, rows, stream)
