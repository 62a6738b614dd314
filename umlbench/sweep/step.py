"""One training step of a stack of K trials: closed-form gradients and AdamW, both in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from umlbench.sweep.schedule import Schedule, learning_rate
from umlbench.sweep.trial import Trial


class Parameters(NamedTuple):
    """Views of stacked parameters: head (K, C, T), scales (K, M), projection (K, T, D) or None."""

    head: Tensor
    scales: Tensor
    projection: Tensor | None


@dataclass(frozen=True)
class Batch:
    """One batch of every modality, stacked; the R = sum of B_m rows have the target first."""

    target: Tensor  # (K, B, D)
    auxiliary: tuple[Tensor, ...]  # (K, B_m, T) each
    labels: Tensor  # (K, R, 1)
    weights: Tensor  # (K, R, 1): loss weight / B_m
    modality: Tensor  # (R,): the modality of a row


def folding_pays(batch_size: int, classes: int, width: int, target_width: int) -> bool:
    """Whether x (W P)^T takes fewer multiplications than (x P^T) W^T, backward pass included."""
    fold = 3 * classes * width * target_width + 2 * batch_size * classes * target_width
    chain = 2 * batch_size * width * target_width + 3 * batch_size * classes * width
    return fold < chain


def gradients(parameters: Parameters, batch: Batch, out: Parameters, fold: bool) -> Tensor:
    """Writes d(sum of weighted losses)/d(parameters) to `out`; returns the logits (K, R, C).

    The loss of trial k is the sum over rows of `weights` times cross-entropy. `fold` chooses the
    association of the two products and changes nothing but rounding.
    """
    raw, inputs = _unscaled(parameters, batch, fold)
    scale = parameters.scales.index_select(1, batch.modality).unsqueeze(2)
    logits = raw * scale
    error = _softmax_minus_one_hot(logits, batch.labels).mul_(batch.weights)
    _scale_gradient(error, raw, batch, out.scales)
    error.mul_(scale)
    if fold:
        _folded_gradient(error, inputs, batch.target, parameters, out)
    else:
        _chain_gradient(error, inputs[0], batch.target, parameters, out)
    return logits


def _unscaled(
    parameters: Parameters, batch: Batch, fold: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Logits before their scale, and what went into the head W itself (nothing, or one stack)."""
    head, _, projection = parameters
    if fold:
        if projection is None:
            raise ValueError("nothing to fold: the parameters hold no projection")
        raw = torch.bmm(batch.target, torch.bmm(head, projection).mT)
        if not batch.auxiliary:
            return raw, ()
        inputs = _rows(batch.auxiliary)
        return torch.cat((raw, torch.bmm(inputs, head.mT)), 1), (inputs,)
    shared = batch.target if projection is None else torch.bmm(batch.target, projection.mT)
    inputs = _rows((shared, *batch.auxiliary))
    return torch.bmm(inputs, head.mT), (inputs,)


def _rows(parts: tuple[Tensor, ...]) -> Tensor:
    """The rows of `parts` (K, B_m, T) one after the other; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _softmax_minus_one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of cross-entropy by the logits."""
    minus_one = logits.new_full((), -1.0).expand(labels.shape)
    return logits.softmax(-1).scatter_add_(2, labels, minus_one)


def _scale_gradient(error: Tensor, raw: Tensor, batch: Batch, out: Tensor) -> None:
    """d loss / d scale of every modality (K, M)."""
    rows = (error * raw).sum(2)
    sizes = [batch.target.shape[1], *(x.shape[1] for x in batch.auxiliary)]
    for modality, part in enumerate(torch.split(rows, sizes, 1)):
        torch.sum(part, 1, out=out[:, modality])


def _chain_gradient(
    error: Tensor, inputs: Tensor, target: Tensor, parameters: Parameters, out: Parameters
) -> None:
    """Gradient through (x P^T) W^T; `inputs` holds the head's inputs of all modalities."""
    torch.bmm(error.mT, inputs, out=out.head)
    if out.projection is not None:
        shared = torch.bmm(error[:, : target.shape[1]], parameters.head)
        torch.bmm(shared.mT, target, out=out.projection)


def _folded_gradient(
    error: Tensor,
    inputs: tuple[Tensor, ...],
    target: Tensor,
    parameters: Parameters,
    out: Parameters,
) -> None:
    """Gradient through x (W P)^T; `inputs` holds the head's inputs of the other modalities."""
    head, _, projection = parameters
    if projection is None or out.projection is None:
        raise ValueError("nothing to fold: the parameters hold no projection")
    rows = target.shape[1]
    folded = torch.bmm(error[:, :rows].mT, target)
    torch.bmm(folded, projection.mT, out=out.head)
    torch.bmm(head.mT, folded, out=out.projection)
    for other in inputs:
        out.head.baddbmm_(error[:, rows:].mT, other)


class Group(NamedTuple):
    """What AdamW takes in one call: all tensors of the trials that share rate and decay."""

    values: list[Tensor]
    gradients: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]


class Stack:
    """Parameters, gradients and moments of K trials, and AdamW on them."""

    def __init__(self, values: Parameters, trials: Sequence[Trial]) -> None:
        self._steps = values.head.new_zeros((), dtype=torch.float32)
        self._load(values, _like(values), _like(values), trials)

    def _load(
        self, values: Parameters, mean: Parameters, square: Parameters, trials: Sequence[Trial]
    ) -> None:
        self.values, self.gradient = values, _like(values)
        self._mean, self._square, self._trials = mean, square, trials
        self._groups: dict[tuple[float, float, int | None], Group] = {}
        for k, trial in enumerate(trials):
            key = (trial.learning_rate, trial.weight_decay, trial.cosine_iterations)
            group = self._groups.setdefault(key, Group([], [], [], []))
            for tensors, kind in zip(group, (values, self.gradient, mean, square), strict=True):
                tensors.extend(_trained(kind, k, trial))

    def select(self, positions: Sequence[int]) -> None:
        """Drops the trials not at `positions`; the others keep their state bit by bit."""
        rows = torch.tensor(positions, device=self.values.head.device)
        values, mean, square = (
            _map(kind, lambda part: part.index_select(0, rows))
            for kind in (self.values, self._mean, self._square)
        )
        self._load(values, mean, square, [self._trials[p] for p in positions])

    def update(self, iteration: int, schedule: Schedule) -> None:
        """AdamW with the rate of `iteration`; decoupled decay on everything that is trained.

        The operator is the one behind `torch.optim.AdamW(fused=True)`: one pass over memory. The
        optimizer's own bookkeeping would cost more than the arithmetic of a small head.
        """
        self._steps.add_(1)
        for (base, decay, cosine), group in self._groups.items():
            torch._fused_adamw_(
                *group,
                [],
                [self._steps] * len(group.values),
                lr=learning_rate(iteration, base, schedule, cosine),
                beta1=0.9,
                beta2=0.999,
                weight_decay=decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )


def _trained(parameters: Parameters, position: int, trial: Trial) -> list[Tensor]:
    """The tensors of one trial that AdamW changes: a fixed scale has no gradient and no decay."""
    head, scales, projection = parameters
    parts = [head, scales if trial.learnable_scale else None, projection]
    return [part[position] for part in parts if part is not None]


def _map(parameters: Parameters, change: Callable[[Tensor], Tensor]) -> Parameters:
    head, scales, projection = parameters
    return Parameters(
        change(head), change(scales), None if projection is None else change(projection)
    )


def _like(parameters: Parameters) -> Parameters:
    """Zeros of the same shapes."""
    return _map(parameters, torch.zeros_like)
