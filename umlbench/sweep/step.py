"""One training step of a stack of K trials: closed-form gradients and AdamW, both in place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from umlbench.sweep.schedule import Schedule, learning_rate
from umlbench.sweep.trial import Trial


class Parameters(NamedTuple):
    """Views of stacked parameters: head (K, C, T), scales (K, M), each P (K, T, D_m) or None."""

    head: Tensor
    scales: Tensor
    projections: tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Batch:
    """One batch of every modality, stacked; the R = sum of B_m rows have the target first."""

    x: tuple[Tensor, ...]  # (K, B_m, D_m) each; D_m = T without a projection
    labels: Tensor  # (K, R, 1)
    weights: Tensor  # (K, R, 1): loss weight / B_m
    modality: Tensor  # (R,): the modality of a row

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Views of `rows` (K, R, ...), one per modality."""
        return torch.split(rows, [x.shape[1] for x in self.x], 1)


def folding_pays(batch_size: int, classes: int, width: int, projected_width: int) -> bool:
    """Whether x (W P)^T takes fewer multiplications than (x P^T) W^T, backward pass included."""
    fold = 3 * classes * width * projected_width + 2 * batch_size * classes * projected_width
    chain = 2 * batch_size * width * projected_width + 3 * batch_size * classes * width
    return fold < chain


def gradients(
    parameters: Parameters, batch: Batch, out: Parameters, fold: Collection[int]
) -> Tensor:
    """Writes d(sum of weighted losses)/d(parameters) to `out`; returns the logits (K, R, C).

    The loss of trial k is the sum over rows of `weights` times cross-entropy. The modalities in
    `fold` have x (W P)^T where others have (x P^T) W^T, which changes nothing but rounding.
    """
    raw, inputs = _unscaled(parameters, batch, fold)
    scale = parameters.scales.index_select(1, batch.modality).unsqueeze(2)
    logits = raw * scale
    error = _softmax_minus_one_hot(logits, batch.labels).mul_(batch.weights)
    _scale_gradient(error, raw, batch, out.scales)
    _weight_gradients(error.mul_(scale), inputs, parameters, batch, out, fold)
    return logits


def _unscaled(
    parameters: Parameters, batch: Batch, fold: Collection[int]
) -> tuple[Tensor, Tensor | None]:
    """Logits before their scale, and what went into the head W itself (None: all is folded)."""
    head, _, projections = parameters
    raw, inputs = {}, {}
    for m, (x, projection) in enumerate(zip(batch.x, projections, strict=True)):
        if m not in fold:
            inputs[m] = x if projection is None else torch.bmm(x, projection.mT)
        elif projection is None:
            raise ValueError(f"nothing to fold: modality {m} has no projection")
        else:
            raw[m] = torch.bmm(x, torch.bmm(head, projection).mT)
    if not inputs:
        return _rows(tuple(raw.values())), None
    shared = _rows(tuple(inputs.values()))
    logits = torch.bmm(shared, head.mT)
    if not raw:
        return logits, shared
    sizes = [x.shape[1] for x in inputs.values()]
    raw.update(zip(inputs, torch.split(logits, sizes, 1), strict=True))
    return _rows(tuple(raw[m] for m in range(len(raw)))), shared


def _rows(parts: tuple[Tensor, ...]) -> Tensor:
    """The rows of `parts` (K, B_m, ...) one after the other; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _softmax_minus_one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    """Gradient of cross-entropy by the logits."""
    minus_one = logits.new_full((), -1.0).expand(labels.shape)
    return logits.softmax(-1).scatter_add_(2, labels, minus_one)


def _scale_gradient(error: Tensor, raw: Tensor, batch: Batch, out: Tensor) -> None:
    """d loss / d scale of every modality (K, M)."""
    for modality, part in enumerate(batch.split((error * raw).sum(2))):
        torch.sum(part, 1, out=out[:, modality])


def _weight_gradients(
    error: Tensor,
    inputs: Tensor | None,
    parameters: Parameters,
    batch: Batch,
    out: Parameters,
    fold: Collection[int],
) -> None:
    """Gradients by W and every P; `inputs` holds what went into the head itself."""
    head, _, projections = parameters
    errors = batch.split(error)
    factors = []  # the gradient by W is the sum of their products
    for m, (projection, gradient) in enumerate(zip(projections, out.projections, strict=True)):
        if projection is None or gradient is None:
            continue
        if m in fold:
            folded = torch.bmm(errors[m].mT, batch.x[m])
            torch.bmm(head.mT, folded, out=gradient)
            factors.append((folded, projection.mT))
        else:
            torch.bmm(torch.bmm(errors[m], head).mT, batch.x[m], out=gradient)
    if inputs is not None:
        others = tuple(part for m, part in enumerate(errors) if m not in fold)
        factors.append((_rows(others).mT if fold else error.mT, inputs))
    for n, (left, right) in enumerate(factors):
        out.head.baddbmm_(left, right, beta=min(n, 1))  # 0: what `out` held does not matter


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
    head, scales, projections = parameters
    parts = [head, scales if trial.learnable_scale else None, *projections]
    return [part[position] for part in parts if part is not None]


def _map(parameters: Parameters, change: Callable[[Tensor], Tensor]) -> Parameters:
    head, scales, projections = parameters
    changed = tuple(None if part is None else change(part) for part in projections)
    return Parameters(change(head), change(scales), changed)


def _like(parameters: Parameters) -> Parameters:
    """Zeros of the same shapes."""
    return _map(parameters, torch.zeros_like)
