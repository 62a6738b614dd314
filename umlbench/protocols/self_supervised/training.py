"""Training one trunk: next-step prediction in every modality, one batch of each a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from umlbench.data.sequences import Sequences
from umlbench.models.dropout import Dropout
from umlbench.models.trunk import LONGEST, SharedTrunk
from umlbench.protocols.self_supervised.settings import Settings
from umlbench.seeds import seed_for, torch_stream
from umlbench.sweep.schedule import Schedule, learning_rate


class Batch(NamedTuple):
    """Samples of one modality, zeros behind the shorter ones; their lengths where those count."""

    values: Tensor  # (B, T, D)
    lengths: Tensor | None  # (B,), None: zeros are taken for steps, as in the released code


Losses = list[dict[str, Tensor]]
"""By step: the loss, before the step, of every modality that trained in it."""


def padded(sequences: Sequences, rows: Sequence[int], settings: Settings, device: str) -> Batch:
    """A batch; with positions, no sequence is longer than they are."""
    values = torch.tensor(sequences.padded(rows))  # a copy, which lies as PyTorch's sums like it
    lengths = torch.from_numpy(sequences.lengths[rows]) if settings.mask_padding else None
    if not values.shape[1]:
        values = values.new_zeros(len(rows), 1, sequences.width)
    if settings.positions != "none":
        values = values[:, :LONGEST]
        lengths = None if lengths is None else lengths.clamp(max=LONGEST)
    return Batch(values.to(device), None if lengths is None else lengths.to(device))


def feed(
    modality: str, sequences: Sequences, settings: Settings, seed: int, device: str
) -> Iterator[Batch]:
    """Endless batches: epochs reshuffled, the short last batch kept.

    Every modality has a stream of its own, as the released code has two shuffled loaders: samples
    that are paired in the file do not meet.
    """
    stream = torch_stream("order", seed, modality=modality)
    while True:
        order = torch.randperm(len(sequences), generator=stream).tolist()
        for start in range(0, len(order), settings.batch_size):
            rows = order[start : start + settings.batch_size]
            yield padded(sequences, rows, settings, device)


def build(widths: Mapping[str, int], settings: Settings, seed: int) -> SharedTrunk:
    """A trunk on the CPU, its weights drawn from the seed.

    What `unimodal` and `uml` have in common starts equal.
    """
    trunk = SharedTrunk(
        widths,
        width=settings.width,
        layers=settings.layers,
        heads=settings.heads,
        feedforward=settings.feedforward,
        positions=settings.positions,
    )
    trunk.reset(lambda name: torch_stream("init", seed, layer=name))
    return trunk


def dropouts(settings: Settings, seed: int) -> dict[str, Dropout]:
    """A stream of masks a modality, so that company changes no mask."""
    return {
        name: Dropout(settings.dropout, seed_for("dropout", seed, modality=name))
        for name in settings.modalities
    }


def ignore(epoch: int) -> None:
    """What `train` tells by default."""


def train(
    trunk: SharedTrunk,
    feeds: Mapping[str, Iterator[Batch]],
    settings: Settings,
    per_epoch: int,
    masks: Mapping[str, Dropout],
    on_epoch: Callable[[int], None] = ignore,
) -> Losses:
    """Train in place; `on_epoch` is told how many epochs are done.

    Only the modalities that train in an epoch are computed. Ends early where a loss is no finite
    number any more.
    """
    parameters = list(trunk.parameters())
    optimizer = _optimizer(parameters, settings)
    history: Losses = []
    for step in range(settings.steps(per_epoch)):
        weights = settings.weights(step // per_epoch)
        batches = {name: next(feeds[name]) for name in weights}
        losses = {name: trunk.loss(name, *batches[name], masks[name]) for name in weights}
        torch.autograd.backward([weights[name] * loss for name, loss in losses.items()])
        _step(optimizer, parameters, _rate(step, settings, per_epoch))
        history.append({name: loss.detach() for name, loss in losses.items()})
        if (step + 1) % per_epoch == 0:
            if not all(math.isfinite(loss) for loss in history[-1].values()):
                break
            on_epoch((step + 1) // per_epoch)
    return history


def _optimizer(parameters: Sequence[Tensor], settings: Settings) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    decay = settings.weight_decay
    return kind(parameters, lr=settings.learning_rate, weight_decay=decay, fused=True)


def _step(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], rate: float) -> None:
    """One step of every parameter, which forgets its gradient.

    A modality that waits in a warm-up has a gradient of 0, as in the released code: Adam counts
    its steps, and corrects the first one that matters less.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()


def _rate(step: int, settings: Settings, per_epoch: int) -> float:
    if settings.schedule == "constant":
        return settings.learning_rate
    steps = settings.steps(per_epoch)
    schedule = Schedule(max_iterations=steps, warmup_iterations=0)
    return learning_rate(step, settings.learning_rate, schedule)
