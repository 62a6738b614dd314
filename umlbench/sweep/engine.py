"""One entry for every engine: which one trains a call, and on how many threads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import import_module

import torch

from umlbench.errors import UserError
from umlbench.sweep import stacked
from umlbench.sweep.progress import Keep
from umlbench.sweep.schedule import Schedule
from umlbench.sweep.trial import Engine, Trial, TrialResult, check


def train(
    trials: Sequence[Trial],
    schedule: Schedule,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    keep: Collection[Keep] = (),
    chunk: int | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
) -> list[TrialResult]:
    """Trains every trial (Algorithm 2 of the paper, frozen encoders); results in their order.

    The engine is the best of `engines(device)` unless one is named. "fused" trains every trial
    alone, on `threads` of them at once (by default `torch.get_num_threads()`); its figures are the
    same to the bit for any number of threads and whatever else is in the call. "stacked" trains at
    most `chunk` trials as one (by default as many as cache or device memory hold). `keep` names
    what a result shall hold besides the figures. Raises UserError for trials that cannot be trained
    together and for an engine that does not run here.
    """
    check(trials)
    known = engines(device)
    engine = engine or known[0]
    if engine not in known:
        raise UserError(
            f"the sweep engine '{engine}' does not run on {device} here",
            f"available: {', '.join(known)}; 'fused' needs a CPU and the package numba",
        )
    if engine == "stacked":
        return stacked.train(trials, schedule, torch.device(device), dtype, keep, chunk)
    from umlbench.sweep import fused

    return fused.train(trials, schedule, dtype, keep, threads or torch.get_num_threads())


def engines(device: str = "cpu") -> tuple[Engine, ...]:
    """The engines that run on a device, the best first."""
    if torch.device(device).type != "cpu":
        return ("stacked",)
    try:
        import_module("umlbench.sweep.kernel")
    except ImportError:  # no numba, or none for this version of Python or numpy
        return ("stacked",)
    return ("fused", "stacked")
