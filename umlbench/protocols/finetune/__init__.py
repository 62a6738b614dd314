"""Fine-tuning of a vision backbone, alone or with unpaired text (section B.4.2, protocol 1.13).

A linear probe whose backbone learns: methods, data, draws, text, starting points, batch orders,
schedule, stopping and selection are those of `protocols.linear_probe`. What is added is `settings`
of who learns and in what precision, `feeds` of decoded photos and sentences, the `learner` (towers
and the shared head), one `training` with autograd, and a `checkpoint` after every evaluation.
`protocols.transfer` trains another network with all but the first.

A job is trained alone, its grid points one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

from umlbench.jobs import Context, Job, Outcome
from umlbench.needs import Reads
from umlbench.protocols.finetune.settings import Settings
from umlbench.protocols.linear_probe.outcome import METRICS, selected
from umlbench.protocols.linear_probe.settings import Budget
from umlbench.protocols.linear_probe.sources import Sources
from umlbench.protocols.linear_probe.sources import reads as what_it_reads
from umlbench.schema import Closed, Scalar

if TYPE_CHECKING:
    from umlbench.protocols.finetune.checkpoint import Checkpoint
    from umlbench.protocols.finetune.ranks import Ranks
    from umlbench.protocols.finetune.training import Moment, Training

__all__ = [
    "DTYPE",
    "METRICS",
    "VERSION",
    "WHOLE_BATCHES",
    "Settings",
    "batch",
    "inputs",
    "memory",
    "reads",
    "run",
    "trained",
]

VERSION = 1
DTYPE = "float32"  # of the weights; `precision` in the settings is what is computed in
WHOLE_BATCHES = False
RANKS = True  # several processes may share a job (`executors.ranks`)
SAY_EVERY = 30.0  # seconds between two lines of progress


def inputs(settings: Closed, context: Context) -> dict[str, str]:
    """Fingerprints of the data set, the backbone and, where text takes part, of both for text."""
    return Sources(cast(Settings, settings), context).fingerprints()


def reads(settings: Closed) -> Reads:
    """What must be on this machine; features of sentences alone, where their vectors are read."""
    found = what_it_reads(cast(Settings, settings))
    kept = cast(Settings, settings).reads_vectors
    texts = (one for one in found.features if kept and one.encoder.modality == "text")
    return replace(found, features=tuple(texts))


def memory(settings: Closed, context: Context) -> int | None:
    """Bytes of the device for weights, gradients and moments; None while weights are not here."""
    from umlbench.protocols.finetune.footprint import estimate

    return estimate(cast(Settings, settings), context)


def batch(job: Job) -> str:
    """A backbone is trained alone."""
    return job.id


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Train every grid point of each job, from where a killed process left it, and select."""
    from umlbench.protocols.finetune.prepared import prepare

    return trained(jobs, context, prepare)


class Ready(Protocol):
    """A job with all that it trains on."""

    @property
    def drawn(self) -> str:
        """Where its few-shot rows come from."""
        ...

    @property
    def keys(self) -> Mapping[str, str]:
        """Those of the features that it read."""
        ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """What reading took, by stage."""
        ...

    def training(self, at: Mapping[str, Scalar], ranks: Ranks) -> Training:
        """The training of one grid point."""
        ...


def trained(
    jobs: Sequence[Job], context: Context, prepare: Callable[[Job, Context], Ready]
) -> Iterator[tuple[Job, Outcome]]:
    """Each job, its grid points trained and one selected, from where a killed process left it."""
    from umlbench.protocols.finetune.checkpoint import resumable
    from umlbench.protocols.finetune.ranks import joined

    ranks = joined(context.device)
    for job in jobs:
        with resumable(job, context, ranks) as checkpoint:
            prepared, note = prepare(job, context), _noting(job, checkpoint)
            for point in job.trials()[len(checkpoint.finished) :]:
                training = prepared.training(point, ranks)
                result = training.finish(checkpoint.moment, note)
                checkpoint.end_trial(result, training.seconds)
            seconds = {**prepared.seconds, **checkpoint.seconds}
            results = checkpoint.finished
            yield job, selected(job, results, prepared.drawn, prepared.keys, seconds)
            checkpoint.clear()


def _noting(job: Job, checkpoint: Checkpoint) -> Callable[[Moment], None]:
    """Keeps every moment, and says now and then how far the job is."""
    place = " ".join(f"{axis}={value}" for axis, value in job.cell.items())
    name, trials = f"{job.recipe} {place} seed={job.seed}", len(job.trials())
    total = cast(Budget, job.settings).max_iterations
    said = time.monotonic()

    def note(moment: Moment) -> None:
        nonlocal said
        checkpoint.keep(moment)
        if time.monotonic() - said >= SAY_EVERY:
            said, trial = time.monotonic(), len(checkpoint.finished) + 1
            at = f"iteration {moment.progress.iterations} of at most {total}"
            checkpoint.context.say(f"{name}: trial {trial} of {trials}, {at}")

    return note
