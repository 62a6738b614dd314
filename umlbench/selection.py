"""Named rules that choose one trial of a job; the report names the rule.

A rule `ACROSS_SEEDS` chooses one trial for all seeds of a cell. A job knows its own seed only and
chooses by that; the report, which has the records of all, chooses again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean


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
RULES: dict[str, Rule] = {"val_accuracy": val_accuracy, "mean_val_accuracy": val_accuracy}
ACROSS_SEEDS = {"mean_val_accuracy"}
DESCRIPTIONS = {
    "val_accuracy": "highest validation accuracy over the grid, "
    "ties to the first in declared order",
    "mean_val_accuracy": "one grid point for all seeds of a cell, that of the highest mean "
    "validation accuracy over those that have run, ties to the first in declared order",
}


def best_on_average(val: Sequence[Sequence[float | None]]) -> int:
    """The trial whose validation figure has the highest mean over seeds, ties to the first.

    `val` has a list of every trial's figure for each seed. None is a trial that diverged at that
    seed, which is chosen only where every trial did at some seed.
    """
    means = [
        -math.inf if None in trial else fmean(value for value in trial if value is not None)
        for trial in zip(*val, strict=True)
    ]
    return means.index(max(means))
