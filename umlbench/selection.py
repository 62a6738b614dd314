"""Named rules that choose one trial of a job; the report names the rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Selected:
    """The chosen trial and how firmly it was chosen.

    `ties` counts the trials that share the best validation figure (the chosen one included);
    `tied_spread` is the largest difference among their test figures: what the order of the grid,
    not the data, decides (protocol.md 13.4).
    """

    index: int
    ties: int
    tied_spread: float


def val_accuracy(val: Sequence[float], test: Sequence[float]) -> Selected:
    """The highest validation accuracy; ties go to the first trial in declared order.

    `val` and `test` hold one figure per trial (any unit). A trial without a validation figure
    (NaN) is never chosen; raises `ValueError` where no trial has one.
    """
    found = [value for value in val if not math.isnan(value)]
    if not found:
        raise ValueError("no trial has a validation figure")
    best = max(found)
    tied = [i for i, value in enumerate(val) if value == best]
    figures = [test[i] for i in tied]
    return Selected(tied[0], len(tied), max(figures) - min(figures))


Rule = Callable[[Sequence[float], Sequence[float]], Selected]
RULES: dict[str, Rule] = {"val_accuracy": val_accuracy}
DESCRIPTIONS = {
    "val_accuracy": "highest validation accuracy over the grid, ties to the first in declared order"
}
