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

    Modality m has the projection (T, D_m) at its place in `projections`, or None and width T
    itself. The target comes first.
    """

    def __init__(
        self,
        head: Tensor,
        projections: Sequence[Tensor | None],
        scales: Sequence[float],
        learnable: bool,
    ) -> None:
        super().__init__()
        self.head = nn.Parameter(head.clone())
        own = [None if p is None else nn.Parameter(p.clone()) for p in projections]
        self.projections = nn.ParameterList(own)
        self.scales = nn.Parameter(head.new_tensor(list(scales)), requires_grad=learnable)

    def forward(self, *batches: Tensor) -> list[Tensor]:
        """Logits (B_m, C) of every modality's batch (B_m, D_m)."""
        numbered = zip(range(len(self.projections)), batches, strict=True)
        return [self.logits(x, modality) for modality, x in numbered]

    def logits(self, x: Tensor, modality: int) -> Tensor:
        """Logits (B, C) of a batch (B, D_m) of one modality alone; 0 is the target."""
        projection = self.projections[modality]
        shared = x if projection is None else x @ projection.T
        return shared @ self.head.T * self.scales[modality]
