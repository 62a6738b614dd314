"""The shared classifier head (section 3.2, B.4 of the paper) and its starting points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def linear_init(out_features: int, in_features: int, generator: torch.Generator) -> Tensor:
    """Weights (out, in) from U(-1/sqrt(in), 1/sqrt(in)), the default of `nn.Linear`."""
    bound = 1 / math.sqrt(in_features)
    return torch.empty(out_features, in_features).uniform_(-bound, bound, generator=generator)


def class_sums(x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Sum of the vectors (classes, T) and number of vectors (classes,) of each class."""
    sums = x.new_zeros(classes, x.shape[1]).index_add_(0, y, x)
    return sums, torch.bincount(y, minlength=classes)


def class_averages(x: Tensor, y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """One raw mean vector per class that occurs, with its label (`text_shot: average`).

    x (N, T) and labels y (N,) become (C', T) and (C',) with C' <= classes, labels ascending.
    """
    sums, counts = class_sums(x, y, classes)
    present = counts.nonzero().squeeze(1)
    return sums[present] / counts[present, None].to(x.dtype), present


def zero_shot_weights(x: Tensor, y: Tensor, classes: int) -> Tensor:
    """The "init" head (classes, T): each row is a class's mean vector, L2-normalised once.

    The vectors x (N, T) go in raw. A class that does not occur in y (N,) keeps a zero row.
    """
    means, present = class_averages(x, y, classes)
    weights = x.new_zeros(classes, x.shape[1])
    weights[present] = nn.functional.normalize(means, dim=1)
    return weights


class SharedHead(nn.Module):
    """One trial of `umlbench.sweep` as a plain module: its yardstick, and the head of fine-tuning.

    `forward` takes the target batch (B, D) and one batch (B_m, T) per auxiliary modality, and
    returns their logits in that order. Without a projection the target has width T itself.
    """

    def __init__(
        self, head: Tensor, projection: Tensor | None, scales: Sequence[float], learnable: bool
    ) -> None:
        super().__init__()
        self.head = nn.Parameter(head.clone())
        self.projection = None if projection is None else nn.Parameter(projection.clone())
        self.scales = nn.Parameter(head.new_tensor(list(scales)), requires_grad=learnable)

    def forward(self, target: Tensor, *auxiliary: Tensor) -> list[Tensor]:
        """Logits (B, C) of the target and (B_m, C) of every auxiliary modality."""
        return [self.logits(x, modality) for modality, x in enumerate((target, *auxiliary))]

    def logits(self, x: Tensor, modality: int) -> Tensor:
        """Logits (B, C) of one modality alone; 0 is the target."""
        shared = x if modality or self.projection is None else x @ self.projection.T
        return shared @ self.head.T * self.scales[modality]
