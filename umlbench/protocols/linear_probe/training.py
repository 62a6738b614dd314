"""Trains the trials of many jobs in one sweep, and keeps the heads that their jobs select."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from umlbench.heads import Frozen, Head
from umlbench.jobs import Job
from umlbench.protocols.linear_probe.modalities import Modalities
from umlbench.protocols.linear_probe.outcome import choose
from umlbench.protocols.linear_probe.prepared import Prepared

if TYPE_CHECKING:
    from umlbench.sweep import Schedule, Trial, TrialResult, Weights

Made = TypeVar("Made", bound=Modalities)

PORTION = 2**30  # bytes of weights that one call of the sweep may leave where heads are kept


def carry_out(
    jobs: Sequence[Job], prepare: Callable[[Job], Made], device: str, *, keep: bool = False
) -> Iterator[tuple[Made, list[TrialResult], dict[str, float]]]:
    """Prepare all jobs, train them in one sweep; each with its results and seconds by stage."""
    started = time.perf_counter()
    prepared = [prepare(job) for job in jobs]
    read = time.perf_counter()
    schedule: Schedule = getattr(jobs[0].settings, "schedule")  # noqa: B009
    trained = train(prepared, schedule, device, keep)
    seconds = {
        "features": (read - started) / len(jobs),
        "train": (time.perf_counter() - read) / len(jobs),
    }
    yield from ((one, found, seconds) for one, found in zip(prepared, trained, strict=True))


def train(
    prepared: Sequence[Modalities], schedule: Schedule, device: str, keep: bool = False
) -> list[list[TrialResult]]:
    """The results of each job; with `keep` the selected one holds its best weights."""
    from umlbench import sweep

    trials = [trial for one in prepared for trial in one.trials()]
    if not keep:
        return _by_job(prepared, sweep.train(trials, schedule, device=device))
    results: list[TrialResult] = []
    for portion in _portions(trials):  # a trial computes the same bits in any of them
        results += sweep.train(portion, schedule, device=device, keep={"best"})
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
    prepared: Sequence[Modalities], results: Sequence[TrialResult]
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
