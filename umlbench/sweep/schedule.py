"""How long a trial trains and at which learning rate (section B.4.2, Table 5)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from umlbench.errors import UserError


@dataclass(frozen=True)
class Schedule:
    """Iterations, warm-up, cosine, evaluation and early stopping, common to one call.

    The cosine spans `max_iterations` also where training ends after `iterations` of them.
    """

    max_iterations: int = 12800
    warmup_iterations: int = 50
    warmup_min_lr: float = 1e-5
    eval_every: int = 100
    patience: int = 10
    iterations: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_iterations", "eval_every", "patience", "iterations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"schedule: {name} is {value}", "it must be at least 1")
        if not 0 <= self.warmup_iterations < self.max_iterations:
            raise UserError(
                f"schedule: warmup_iterations is {self.warmup_iterations}",
                f"it must be 0 or more and below max_iterations ({self.max_iterations})",
            )
        if self.total > self.max_iterations:
            raise UserError(
                f"schedule: iterations is {self.iterations}, the cosine ends at "
                f"{self.max_iterations}",
                "lower iterations or raise max_iterations",
            )

    @property
    def total(self) -> int:
        """Iterations of a trial that is not stopped early."""
        return self.iterations or self.max_iterations

    def blocks(self) -> Iterator[range]:
        """Runs of iterations without an evaluation inside; one is due after i % eval_every == 0."""
        start = 0
        while start < self.total:
            next_evaluation = -(-start // self.eval_every) * self.eval_every
            stop = min(next_evaluation + 1, self.total)
            yield range(start, stop)
            start = stop

    def evaluates(self, iteration: int) -> bool:
        """Whether the weights are evaluated after the step of `iteration`."""
        return iteration % self.eval_every == 0


def learning_rate(
    iteration: int, base: float, schedule: Schedule, cosine_iterations: int | None = None
) -> float:
    """The learning rate in force during the optimizer step of `iteration`, counted from 0.

    Linear warm-up, then a half cosine counted from the end of the warm-up, over
    `cosine_iterations` (by default the schedule's `max_iterations`). The first step uses
    `warmup_min_lr` itself, also where `base` is smaller.
    """
    warmup = schedule.warmup_iterations
    if iteration >= warmup:
        angle = math.pi * (iteration - warmup) / (cosine_iterations or schedule.max_iterations)
        return base / 2 * (1 + math.cos(angle))
    return base * iteration / warmup if iteration else schedule.warmup_min_lr
