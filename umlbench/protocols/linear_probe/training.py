"""Trains the trials of many jobs in one sweep, and keeps the heads that their jobs select."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from umlbench.heads import Frozen, Head
from umlbench.jobs import Context, Job
from umlbench.protocols.linear_probe.outcome import choose
from umlbench.protocols.linear_probe.prepared import Prepared

if TYPE_CHECKING:
    from umlbench.sweep import Trial, TrialResult, Weights

PORTION = 2**30  # bytes of weights that one call of the sweep may leave where heads are kept


def train(prepared: Sequence[Prepared], context: Context) -> list[list[TrialResult]]:
    """The results of each job.

    The selected one holds its best weights where heads are kept (`Context.heads`) or measured.
    """
    from umlbench import sweep

    schedule = prepared[0].settings.schedule
    trials = [trial for one in prepared for trial in one.trials()]
    if not context.heads and not any(one.settings.measures for one in prepared):
        return _by_job(prepared, sweep.train(trials, schedule, device=context.device))
    results: list[TrialResult] = []
    for portion in _portions(trials):  # a trial computes the same bits in any of them
        results += sweep.train(portion, schedule, device=context.device, keep={"best"})
        results = [result for job in _by_job(prepared, results) for result in job]
    return _by_job(prepared, results)


def head(one: Prepared, weights: Weights) -> Head:
    """A job's selected weights, and what else turns the features of a photo into a class.

    `test_predicted` is what this head says of the test split's features.
    """
    tensors = {"head": weights.head, "scales": weights.scales, **one.scaler.constants}
    if weights.projections[0] is not None:
        tensors["projection"] = weights.projections[0]
    made = Head(
        {name: tensor.float().cpu().numpy() for name, tensor in tensors.items()},
        classes=tuple(one.sources.dataset.classes),
        encoder=Frozen.of(one.sources.encoder_need, one.sources.encoder),
        scaling=one.settings.scaling,
    )
    predicted, _ = made.classify(one.frozen)
    return replace(made, tensors={**made.tensors, "test_predicted": predicted})


def _by_job(
    prepared: Sequence[Prepared], results: Sequence[TrialResult]
) -> list[list[TrialResult]]:
    """The results so far by job; weights stay with those that lead now."""
    left = iter(results)
    groups = [list(islice(left, len(one.job.trials()))) for one in prepared]
    return [_leader_only(one.job, r) for one, r in zip(prepared, groups, strict=True)]


def _portions(trials: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
    """Trials whose weights fit into `PORTION` bytes together, at least one at a time."""
    first = trials[0]
    projections = (stream.projection for stream in first.streams)
    parts = [first.head, *(one for one in projections if one is not None)]
    size = max(1, PORTION // sum(part.nbytes for part in parts))
    return (trials[start : start + size] for start in range(0, len(trials), size))


def _leader_only(job: Job, results: list[TrialResult]) -> list[TrialResult]:
    """The results, without the weights of those that the rule passes over already."""
    best = choose(job, results).index if results else None
    return [r if i == best else replace(r, best=None) for i, r in enumerate(results)]
