"""What a killed job goes on from: written after every evaluation, deleted when the job has ended.

`<cache>/checkpoints/<job id>/` holds safetensors files that are never changed and `state.json`,
written last, which names those that count. Batch orders and dropout are functions of the iteration
and need no state.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench.errors import StorageError
from umlbench.features.files import disk, locked, write
from umlbench.features.layout import checkpoints
from umlbench.jobs import Context, Job
from umlbench.protocols.finetune.ranks import ALONE, Ranks
from umlbench.protocols.finetune.training import Moment
from umlbench.provenance import versions
from umlbench.sweep import TrialResult
from umlbench.sweep.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

STATE = "state.json"
UNSTORED = ("losses", "val_loss", "best", "last")  # of progress and results: kept for tests only


@dataclass
class Checkpoint:
    """The trials of one job that have ended, and a moment of the one that comes next.

    A disk that fails costs the checkpoints, not the job; the context hears of it. Without a
    `folder` nothing is written.
    """

    folder: Path | None
    context: Context
    finished: list[TrialResult] = field(default_factory=list)
    moment: Moment | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # of the finished trials, by stage

    def keep(self, moment: Moment) -> None:
        """Write where the current trial stands."""
        number, at = len(self.finished), moment.progress
        now, best = (
            f"{number}-{kind}-{iteration}.safetensors"
            for kind, iteration in (("now", at.iterations), ("best", at.best_iteration))
        )
        files = {now: moment.now}
        if at.without_gain == 0:  # else an earlier evaluation was the best, and wrote it
            files[best] = moment.best
        plain = {"now": now, "best": best, "progress": _plain(at), "scaler": dict(moment.scaler)}
        self._write({**plain, "seconds": dict(moment.seconds)}, files)

    def end_trial(self, result: TrialResult, seconds: Mapping[str, float]) -> None:
        """Note a trial's end; the next one begins afresh."""
        self.finished.append(result)
        self.moment = None
        for stage, taken in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + taken
        self._write(None, {})

    def clear(self) -> None:
        """Remove everything: the job's record is stored."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write(
        self, moment: Mapping[str, Any] | None, files: Mapping[str, Mapping[str, Tensor]]
    ) -> None:
        """The files first, then what names them, then nothing is left of earlier ones."""
        if self.folder is None:
            return
        from safetensors.torch import save

        state = {
            "finished": [_plain(one) for one in self.finished],
            "seconds": self.seconds,
            "moment": moment,
            "versions": versions(),
        }
        kept = {STATE, *((moment["now"], moment["best"]) if moment else ())}
        try:
            with disk("write", self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                for name, tensors in files.items():
                    write(self.folder / name, save(dict(tensors)))
                write(self.folder / STATE, json.dumps(state).encode())
                for path in [p for p in self.folder.iterdir() if p.name not in kept]:
                    path.unlink()
        except StorageError as error:
            self.context.say(f"no more checkpoints of this job: {error.message}")
            self.folder = None


@contextmanager
def resumable(job: Job, context: Context, ranks: Ranks = ALONE) -> Iterator[Checkpoint]:
    """The checkpoint of a job: where an earlier process was killed, or an empty one.

    Where another process is at the same job, nothing is read or written. Of several that share a
    job all read, and the first one writes.
    """
    folder = checkpoints(context.cache) / job.id
    with locked(context.cache, job.id, wait=False) if ranks.first else nullcontext(False) as held:
        mine = ranks.agree(held)
        found = _load(folder, context) if mine else Checkpoint(None, context)
        yield found if ranks.first else replace(found, folder=None)


def _load(folder: Path, context: Context) -> Checkpoint:
    """As far as an earlier process came.

    A checkpoint that cannot be read counts for nothing, nor does one of other versions of the
    libraries, whose weights may have other names and whose steps may round otherwise.
    """
    from safetensors import SafetensorError

    if not (folder / STATE).is_file():
        return Checkpoint(folder, context)
    try:
        state = json.loads((folder / STATE).read_bytes())
        if state["versions"] != versions():
            raise ValueError("other versions of the libraries wrote it")
        finished = [_result(one) for one in state["finished"]]
        moment = _moment(folder, state["moment"]) if state["moment"] else None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        context.say(f"the checkpoint of job {folder.name} is of no use ({error}): it starts anew")
        return Checkpoint(folder, context)
    return Checkpoint(folder, context, finished, moment, state["seconds"])


def _moment(folder: Path, plain: Mapping[str, Any]) -> Moment:
    from safetensors.torch import load_file

    now, best = (load_file(folder / plain[kind]) for kind in ("now", "best"))
    return Moment(Progress(**plain["progress"]), now, best, plain["scaler"], plain["seconds"])


def _plain(one: Progress | TrialResult) -> dict[str, Any]:
    """Its fields as JSON has them."""
    return {f.name: getattr(one, f.name) for f in fields(one) if f.name not in UNSTORED}


def _result(plain: Mapping[str, Any]) -> TrialResult:
    return TrialResult(**{**plain, "val_correct": tuple(plain["val_correct"])})
