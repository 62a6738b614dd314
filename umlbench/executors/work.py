"""What a worker does with one group of jobs, in whatever process it runs."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from umlbench import protocols, provenance
from umlbench.errors import UserError
from umlbench.executors import Result
from umlbench.jobs import Context, Job, Outcome


def work(group: Sequence[Job], context: Context) -> Iterator[Result]:
    """Run a group; where it raises, its unfinished jobs are tried one by one.

    On a CPU every job computes on one thread: the order of sums, and so the figures, then do not
    depend on how many workers or cores a machine has.
    """
    where = provenance.describe(context.device)
    done: set[str] = set()
    with _one_thread(context.device):
        try:
            for result in _attempt(group, context):
                done.add(result.job.id)
                yield replace(result, provenance=where)
        except Exception as error:
            rest = [job for job in group if job.id not in done]
            if len(group) == 1:
                yield Result(rest[0], error=error, provenance=where)
                return
            for job in rest:
                yield from work([job], context)


def _attempt(group: Sequence[Job], context: Context) -> Iterator[Result]:
    protocol = protocols.load(group[0].protocol)
    started = time.perf_counter()
    for job, outcome in protocol.run(group, context):
        if not outcome.seconds:
            outcome = replace(outcome, seconds={"run": time.perf_counter() - started})
        started = time.perf_counter()
        broken = _not_finite(outcome)
        if broken:
            error = UserError(f"{broken} is not a finite number: the training diverged")
            yield Result(job, error=error)
        else:
            yield Result(job, outcome)


def _not_finite(outcome: Outcome) -> str | None:
    return next((name for name, value in outcome.metrics.items() if not math.isfinite(value)), None)


@contextlib.contextmanager
def _one_thread(device: str) -> Iterator[None]:
    if device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
