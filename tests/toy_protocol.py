"""A protocol whose jobs succeed, raise, diverge or kill their worker, as a file says."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from umlbench import protocols
from umlbench.errors import UserError
from umlbench.heads import Head
from umlbench.jobs import Context, Curve, Job, Outcome
from umlbench.protocols import Metric
from umlbench.schema import Closed

VERSION = 1
HEADS = True
WHOLE_BATCHES = False
DTYPE = "float32"
METRICS = {"score": Metric("Score", "points", higher_is_better=True)}


class Settings(Closed):
    number: int = 0  # of the job's act in `acts.json`
    together: bool = False  # one batch for all jobs
    folder: str  # with `acts.json`; every call leaves a mark there

    def identity(self) -> dict[str, Any]:
        return {"number": self.number}

    @property
    def act(self) -> str:
        return str(json.loads((Path(self.folder) / "acts.json").read_text())[self.number])


def inputs(settings: Closed, context: Context) -> dict[str, str]:
    return {}


def batch(job: Job) -> str:
    return "all" if job.settings.together else job.id


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    for job in jobs:
        settings = job.settings
        perform(settings.act, mark(settings, len(jobs)), len(jobs))
        if settings.act != "silent":
            made = outcome(job)
            yield job, replace(made, head=head(job)) if context.heads else made


def head(job: Job) -> Head:
    """One that says which job left it."""
    weights = np.array([[job.settings.number, job.seed], [0, 0]], np.float32)
    return Head({"head": weights, "scales": np.ones(1, np.float32)}, ("yes", "no"))


def outcome(job: Job) -> Outcome:
    number = float(job.settings.number)
    score = float("nan") if job.settings.act == "nan" else number + job.seed
    curve = Curve("step", (1.0, 2.0), {"score": (1.0, float("inf"))})
    curves = (curve,) if job.settings.act == "nan curve" else ()
    odd: Any = {"unpicklable": lambda: 0, "tensor": array("f", [1.0])}.get(job.settings.act)
    trials = {"score": [odd]} if odd is not None else None
    return Outcome(metrics={"score": score}, curves=curves, trials=trials)


def mark(settings: Settings, group: int) -> int:
    """Note a call in `folder`; returns how many there have been of this number."""
    folder = Path(settings.folder)
    calls = len(list(folder.glob(f"call-{settings.number}-*"))) + 1
    (folder / f"call-{settings.number}-{calls}-of-{group}").touch()
    return calls


def perform(name: str, calls: int, group: int) -> None:
    if name == "raise" or (name == "raise once" and calls == 1):
        raise RuntimeError(f"broken at {Path.home()}/secret/data.bin")
    if name == "raise in a group" and group > 1:
        raise MemoryError("too many at once")
    if name == "user error":
        raise UserError("no such thing", "do another")
    if name == "unpicklable error":
        raise Picky(1, 2)
    if name == "die" or (name == "die once" and calls == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "exit":
        os._exit(7)
    if name == "slow":
        time.sleep(0.2)
    if name == "hang":
        time.sleep(60)


class Picky(Exception):
    """Fails to unpickle, like many exceptions of other libraries."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__("picky")


def register() -> None:
    sys.modules["umlbench.protocols.toy"] = sys.modules[__name__]
    if "toy" not in protocols.NAMES:
        protocols.NAMES = (*protocols.NAMES, "toy")


if multiprocessing.parent_process() is not None:  # a worker that unpickles our settings
    register()
