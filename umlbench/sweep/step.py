"""One training step of a stack of K trials: closed-form gradients and AdamW, both in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


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


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of every row: logits (..., C) and labels (..., 1) to (...)."""
    return -logits.log_softmax(-1).gather(-1, labels).squeeze(-1)


@dataclass(frozen=True)
class Rates:
    """Per trial, for a run of iterations: what AdamW multiplies by, each (iterations, K).

    p <- p * decay - m / (sqrt(v) * slope + offset) is AdamW's update with its learning rate and
    both bias corrections folded into two factors, so that it takes one pass less. Fixed scales
    have neither gradient nor decay.
    """

    decay: Tensor
    scale_decay: Tensor
    slope: Tensor
    offset: Tensor
    learnable: Tensor  # (K, 1): 1 where a trial's scales are trained, else 0

    @classmethod
    def of(cls, steps: Tensor, rates: Tensor, decay: Tensor, learnable: Tensor) -> Rates:
        """From step counts (n,) from 1 on, learning rates (n, K), decays (K,), flags (K,)."""
        first = (1 - BETA1**steps).unsqueeze(1) / rates
        second = (1 - BETA2**steps).sqrt().unsqueeze(1)
        flags = learnable.to(rates.dtype)
        shrink = rates * decay
        return cls(
            decay=1 - shrink,
            scale_decay=1 - shrink * flags,
            slope=first / second,
            offset=EPSILON * first,
            learnable=flags.unsqueeze(1),
        )

    def to(self, like: Tensor) -> Rates:
        """The same on the device and in the precision of `like`."""
        moved = {f.name: getattr(self, f.name).to(like.device, like.dtype) for f in fields(self)}
        return Rates(**moved)


class Stack:
    """Parameters, gradients and moments of K trials, and AdamW on them."""

    def __init__(self, head: Tensor, scales: Tensor, projection: Tensor | None) -> None:
        values = Parameters(head, scales, projection)
        self._load(values, _like(values), _like(values))

    def _load(self, values: Parameters, mean: Parameters, square: Parameters) -> None:
        self.values, self._mean, self._square = values, mean, square
        self.gradient, self._scratch = _like(values), _like(values)

    def select(self, rows: Tensor) -> None:
        """Drops the trials that are not in `rows`; the others keep their state bit by bit."""
        kinds = (self.values, self._mean, self._square)
        self._load(*(_map(kind, lambda part: part.index_select(0, rows)) for kind in kinds))

    def update(self, rates: Rates, step: int) -> None:
        """AdamW at row `step` of `rates`; decoupled decay on everything, as in torch."""
        self.gradient.scales.mul_(rates.learnable)
        decay, scale_decay = rates.decay[step], rates.scale_decay[step]
        decays = Parameters(decay, scale_decay, decay)
        kinds = (self.values, self.gradient, self._mean, self._square, self._scratch, decays)
        slope, offset = rates.slope[step, :, None], rates.offset[step, :, None]
        for *parts, shrink in zip(*kinds, strict=True):
            if parts[0] is not None:
                _adamw([part.flatten(1) for part in parts], shrink[:, None], slope, offset)


def _adamw(parts: Sequence[Tensor], decay: Tensor, slope: Tensor, offset: Tensor) -> None:
    """The update of `Rates` for one kind of parameter (K, n), factors (K, 1), in seven passes."""
    values, gradient, mean, square, scratch = parts
    mean.lerp_(gradient, 1 - BETA1)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    torch.sqrt(square, out=scratch)
    torch.addcmul(offset, scratch, slope, out=scratch)
    values.mul_(decay)
    values.addcdiv_(mean, scratch, value=-1)


def _map(parameters: Parameters, change: Callable[[Tensor], Tensor]) -> Parameters:
    head, scales, projection = parameters
    return Parameters(
        change(head), change(scales), None if projection is None else change(projection)
    )


def _like(parameters: Parameters) -> Parameters:
    """Zeros of the same shapes."""
    return _map(parameters, torch.zeros_like)
