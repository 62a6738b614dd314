"""Where a trial stands, whichever engine trains it: evaluations, patience, what is kept."""

from __future__ import annotations

from collections.abc import Collection, Sized
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from umlbench.errors import UserError
from umlbench.sweep.order import Order
from umlbench.sweep.trial import TrainedBy, TrialResult, Weights

Keep = Literal["losses", "val_loss", "best", "last"]


@dataclass
class Progress:
    """Grows with every evaluation of one trial."""

    val_correct: list[int] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    best_iteration: int = -1
    best_correct: int = -1
    without_gain: int = 0
    iterations: int = 0
    stop_iteration: int | None = None

    def note(self, iteration: int, correct: int, patience: int) -> bool:
        """Takes an evaluation in; whether it is the best so far. Ties keep the earlier one."""
        self.val_correct.append(correct)
        if correct > self.best_correct:
            self.best_iteration, self.best_correct, self.without_gain = iteration, correct, 0
            return True
        self.without_gain += 1
        if self.without_gain >= patience:
            self.stop_iteration = iteration
        return False

    def result(
        self,
        sizes: tuple[int, int],
        engine: TrainedBy,
        test_correct: int,
        keep: Collection[Keep],
        best: Weights | None,
        last: Weights | None,
    ) -> TrialResult:
        """The trial's end; `sizes` are those of the validation and the test set."""
        return TrialResult(
            best_iteration=self.best_iteration,
            val_correct=tuple(self.val_correct),
            val_size=sizes[0],
            test_correct=test_correct,
            test_size=sizes[1],
            iterations=self.iterations,
            stop_iteration=self.stop_iteration,
            engine=engine,
            losses=torch.cat(self.losses) if "losses" in keep else None,
            val_loss=tuple(self.val_loss) if "val_loss" in keep else None,
            best=best if "best" in keep else None,
            last=last if "last" in keep else None,
        )


def drawn(order: Order, samples: Sized, span: range) -> Tensor:
    """Sample numbers (iterations, B) of the batches in `span`; raises UserError past the set."""
    rows = order.rows(span.start, span.stop)
    low, high = int(rows.min()), int(rows.max())
    if low < 0 or high >= len(samples):
        raise UserError(
            f"an order asks for samples {low} to {high} of a set of {len(samples)}",
            "make the order from the size of the set it is used with",
        )
    return rows


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of every row: logits (..., C) and labels (..., 1) to (...)."""
    return -logits.log_softmax(-1).gather(-1, labels).squeeze(-1)


def mean_of_batches(logits: Tensor, labels: Tensor, batch_size: int) -> float:
    """Validation loss as the paper's code has it: a short last batch weighs like the others."""
    losses = torch.split(cross_entropy(logits, labels[:, None]), batch_size)
    return float(torch.stack([batch.mean() for batch in losses]).mean())
