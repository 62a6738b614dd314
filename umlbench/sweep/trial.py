"""What goes into a sweep and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from umlbench.errors import UserError
from umlbench.sweep.order import Order

Engine = Literal["fused", "stacked"]
TrainedBy = Literal["fused", "stacked", "autograd"]  # the last where a backbone learns


@dataclass(frozen=True, eq=False)
class Samples:
    """Features x (N, width) and labels y (N,). Compared by identity: share one, not copies."""

    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != self.x.shape[:1]:
            raise UserError(
                f"features of shape {tuple(self.x.shape)} with labels of shape "
                f"{tuple(self.y.shape)}",
                "features must be (N, width) and labels (N,)",
            )

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Stream:
    """A modality in training: its samples, the order they come in, the weight of its loss.

    `projection` (T, D) is its way into the head (C, T) at the start; None where D is T already.
    """

    samples: Samples
    order: Order
    weight: float = 1.0
    projection: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int | None]:
        """Batch size B and the width D that is projected, None without a projection."""
        projected = None if self.projection is None else self.projection.shape[1]
        return self.order.batch_size, projected


@dataclass(frozen=True, eq=False)
class Trial:
    """One training. The trials of one call share C, T and the target's projection's shape.

    `head` (C, T) holds the weights at the start. Every modality has its own logit scale, which
    starts at `scale` and is trained where `learnable_scale` says so. `val` and `test` are of the
    target's modality. The learning rate's cosine spans `cosine_iterations`, by default the
    schedule's `max_iterations`.
    """

    target: Stream
    auxiliary: tuple[Stream, ...]
    val: Samples
    test: Samples
    head: Tensor
    learning_rate: float
    weight_decay: float
    learnable_scale: bool = False
    scale: float = 1.0
    cosine_iterations: int | None = None

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The target and the auxiliary modalities, in the order of losses and scales."""
        return (self.target, *self.auxiliary)

    @property
    def sizes(self) -> tuple[int, int]:
        """Rows of the validation and of the test set."""
        return len(self.val), len(self.test)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch size of every modality."""
        return tuple(stream.order.batch_size for stream in self.streams)


@dataclass(frozen=True, eq=False)
class Weights:
    """A trial's parameters: head (C, T), and per modality a scale (M,) and a projection or None.

    The projections (T, D_m) come in the order of the trial's streams: the target's first.
    """

    head: Tensor
    scales: Tensor
    projections: tuple[Tensor | None, ...]


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What a trial left. Accuracies are fractions; lists have one entry per evaluation.

    `test_accuracy` belongs to the weights of `best_iteration`, the earliest evaluation with the
    most correct validation samples. `stop_iteration` is None where patience did not end the trial.
    """

    best_iteration: int
    val_correct: tuple[int, ...]
    val_size: int
    test_correct: int
    test_size: int
    iterations: int
    stop_iteration: int | None
    engine: TrainedBy
    losses: Tensor | None = None  # (iterations, M), before each step, without the loss weights
    val_loss: tuple[float, ...] | None = None  # mean of the means over batches, as the paper's code
    best: Weights | None = None
    last: Weights | None = None

    @property
    def val_accuracy(self) -> tuple[float, ...]:
        """Validation accuracy at every evaluation."""
        return tuple(correct / self.val_size for correct in self.val_correct)

    @property
    def best_val_accuracy(self) -> float:
        """Validation accuracy at `best_iteration`."""
        return max(self.val_correct) / self.val_size

    @property
    def test_accuracy(self) -> float:
        """Test accuracy of the best weights."""
        return self.test_correct / self.test_size


def check(trials: Sequence[Trial]) -> None:
    """Raises UserError at the first trial that cannot be trained with the others."""
    for number, trial in enumerate(trials):
        shapes = _shapes(trial)
        if shapes != _shapes(trials[0]):
            raise UserError(
                f"trial {number} has weights of shape {shapes}, trial 0 {_shapes(trials[0])}",
                "trials of one call share their shapes: split the call",
            )
        if trial.learning_rate <= 0 or trial.weight_decay < 0:
            raise UserError(
                f"trial {number}: learning rate {trial.learning_rate}, "
                f"weight decay {trial.weight_decay}",
                "the rate must be above 0, the decay 0 or more",
            )
        _check_samples(number, trial)


def _shapes(trial: Trial) -> tuple[tuple[int, ...], ...]:
    parts = [trial.head, trial.target.projection]
    return tuple(tuple(part.shape) for part in parts if part is not None)


def _check_samples(number: int, trial: Trial) -> None:
    """Widths and labels of every modality against the weights of its trial."""
    classes, width = trial.head.shape
    streams = {"target": trial.target}
    streams |= {f"auxiliary {m}": stream for m, stream in enumerate(trial.auxiliary)}
    widths = {n: _input_width(f"trial {number}: {n}", s, width) for n, s in streams.items()}
    sets = {name: stream.samples for name, stream in streams.items()}
    for name, samples in (sets | {"val": trial.val, "test": trial.test}).items():
        expected = widths.get(name, widths["target"])
        if samples.x.shape[1] != expected or not len(samples):
            raise UserError(
                f"trial {number}: {name} features are {tuple(samples.x.shape)}",
                f"at least one row and a width of {expected} are needed",
            )
        if int(samples.y.min()) < 0 or int(samples.y.max()) >= classes:
            raise UserError(
                f"trial {number}: {name} labels span {int(samples.y.min())} to "
                f"{int(samples.y.max())}",
                f"the head has classes 0 to {classes - 1}",
            )


def _input_width(name: str, stream: Stream, width: int) -> int:
    """The width that a modality's features must have, the head's being `width`."""
    if stream.projection is None:
        return width
    if stream.projection.shape[0] != width:
        raise UserError(
            f"{name} projection to {stream.projection.shape[0]}, head of width {width}",
            "a projection is (T, D) and the head (C, T)",
        )
    return stream.projection.shape[1]
