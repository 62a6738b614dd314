"""What a worker does with one group of jobs, in whatever process it runs."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from umlbench import protocols, provenance
from umlbench.errors import UserError
from umlbench.executors import Result
from umlbench.jobs import Context, Job, Outcome


def work(group: Sequence[Job], context: Context) -> Iterator[Result]:
    """Run a group and yield one `Result` per job; where it raises, the rest is tried one by one.

    On a CPU every job computes on one thread: the order of sums, and so the figures, then do not
    depend on how many workers or cores a machine has.
    """
    with _one_thread(context.device):
        yield from _tried(group, context)


def _tried(group: Sequence[Job], context: Context) -> Iterator[Result]:
    where = provenance.describe(context.device)
    left = {job.id: job for job in group}
    started = time.perf_counter()
    try:
        for result in _attempt(group, context):
            left.pop(result.job.id, None)
            yield replace(result, provenance={**where, **_precision(result.job)})
        error = "the protocol ended without a word on this job"
    except Exception as raised:
        error = in_words(raised)
        if len(group) > 1:
            for job in left.values():
                yield from _tried([job], context)
            return
    seconds = {"run": time.perf_counter() - started}
    for job in left.values():
        yield Result(job, error=error, seconds=seconds, provenance=where)


def in_words(error: BaseException) -> str:
    """An exception as one line; one that is no `UserError` with its type and where it arose."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace else ""
    return " ".join(f"{type(error).__name__}: {error}{place}".split())


def _attempt(group: Sequence[Job], context: Context) -> Iterator[Result]:
    protocol = protocols.load(group[0].protocol)
    started = time.perf_counter()
    for job, outcome in protocol.run(group, context):
        seconds = outcome.seconds or {"run": time.perf_counter() - started}
        broken = _not_finite(outcome)
        if broken:
            error = f"{broken} is not a finite number: the training diverged"
            yield Result(job, error=error, seconds=seconds)
        else:
            yield Result(job, outcome, seconds=seconds)
        started = time.perf_counter()  # not the time that the listener took


def _not_finite(outcome: Outcome) -> str | None:
    """The first figure that is no finite number; a grid point may diverge, a chosen one not."""
    figures = {name: [value] for name, value in outcome.metrics.items()}
    for curve in outcome.curves:
        figures |= {f"{name} by {curve.axis}": list(v) for name, v in curve.values.items()}
    return next((name for name, v in figures.items() if not all(map(math.isfinite, v))), None)


def _precision(job: Job) -> dict[str, Any]:
    """What the protocol computes in, where it says so (`DTYPE`)."""
    dtype = getattr(protocols.load(job.protocol), "DTYPE", None)
    return {"dtype": dtype} if dtype else {}


_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """One thread for torch and for the BLAS of NumPy and SciPy, which has a pool of its own.

    A library that is loaded already is told so, one that a protocol loads reads the environment:
    torch is not imported here for a protocol that does without.
    """
    if device != "cpu":
        yield
        return
    from threadpoolctl import threadpool_limits

    variables = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    try:
        with threadpool_limits(limits=1):
            if torch:
                torch.set_num_threads(1)
            yield
    finally:
        if torch:
            torch.set_num_threads(threads)
        for name, value in variables.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
