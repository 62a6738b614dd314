"""What a job leaves: the trial that validation chooses, and every trial's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from umlbench import selection
from umlbench.jobs import Job, Outcome
from umlbench.protocols import Metric
from umlbench.schema import Scalar
from umlbench.selection import Selected

if TYPE_CHECKING:
    from umlbench.sweep import TrialResult

METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("Test accuracy", "percent", higher_is_better=True),
    "val_accuracy": Metric("Validation accuracy", "percent", higher_is_better=True),
}


def choose(job: Job, results: Sequence[TrialResult]) -> Selected:
    """The trial that the job's rule selects; its spread is in percent."""
    return selection.RULES[job.selection or "val_accuracy"](*_accuracies(results))


def selected(
    job: Job,
    results: Sequence[TrialResult],
    drawn: str,
    features: Mapping[str, str],
    seconds: Mapping[str, float],
) -> Outcome:
    """The outcome of `results`, one per trial of `job`; `drawn` says where few-shot rows are from.

    `features` are the keys of what was read, `seconds` wall times by stage.
    """
    val, test = _accuracies(results)
    chosen = choose(job, results)
    point: Mapping[str, Scalar] = job.trials()[chosen.index]
    return Outcome(
        metrics={"accuracy": test[chosen.index], "val_accuracy": val[chosen.index]},
        selection={
            **point,
            "trial": chosen.index,
            "best_iteration": results[chosen.index].best_iteration,
            "ties": chosen.ties,
            "tied_spread": chosen.tied_spread,
            "draw": drawn,
        },
        trials={
            "val_accuracy": val,
            "test_accuracy": test,
            "iterations": [result.iterations for result in results],
        },
        features=features,
        seconds=seconds,
    )


def _accuracies(results: Sequence[TrialResult]) -> tuple[list[float], list[float]]:
    """Validation and test accuracy of every trial, in percent."""
    val = [100 * result.best_val_accuracy for result in results]
    return val, [100 * result.test_accuracy for result in results]
