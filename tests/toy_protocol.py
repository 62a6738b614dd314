"""A protocol whose jobs succeed, raise, diverge or kill their worker, as their settings say."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from umlbench import protocols
from umlbench.errors import UserError
from umlbench.jobs import Context, Curve, Job, Outcome
from umlbench.protocols import Metric
from umlbench.schema import Closed

VERSION = 1
WHOLE_BATCHES = False
DTYPE = "float32"
METRICS = {"score": Metric("Score", "points", higher_is_better=True)}


class Settings(Closed):
    act: str = "ok"
    number: int = 0
    together: bool = False  # one batch for all jobs
    folder: str = ""  # where every call leaves a mark

    def identity(self) -> dict[str, Any]:
        return {"number": self.number, "act": self.act}


def inputs(settings: Closed) -> dict[str, str]:
    return {}


def batch(job: Job) -> str:
    return "all" if job.settings.together else job.id


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    for job in jobs:
        settings = job.settings
        calls = mark(settings, len(jobs))
        act(settings.act, calls, len(jobs))
        if settings.act != "silent":
            yield job, outcome(job)


def outcome(job: Job) -> Outcome:
    number = float(job.settings.number)
    score = {"nan": float("nan"), "tensor": complex(1)}.get(job.settings.act, number + job.seed)
    curve = Curve("step", (1.0, 2.0), {"score": (1.0, float("inf"))})
    curves = (curve,) if job.settings.act == "nan curve" else ()
    trials = {"score": [lambda: 0]} if job.settings.act == "unpicklable" else None
    return Outcome(metrics={"score": score}, curves=curves, trials=trials)


def mark(settings: Settings, group: int) -> int:
    """Note a call in `folder`; returns how many there have been of this job."""
    folder = Path(settings.folder)
    before = len(list(folder.glob(f"{settings.number}.*")))
    (folder / f"{settings.number}.{before + 1}.{group}").touch()
    return before + 1


def act(name: str, calls: int, group: int) -> None:
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
