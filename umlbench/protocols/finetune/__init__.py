"""Fine-tuning of a vision backbone, alone or with unpaired text (section B.4.2, protocol 1.13).

A linear probe whose backbone learns: methods, data, draws, text, starting points, batch orders,
schedule, stopping and selection are those of `protocols.linear_probe`. What is added is `settings`
of who learns and in what precision, `feeds` of decoded photos and sentences, the `learner` (towers
and the shared head), one `training` with autograd, and a `checkpoint` after every evaluation.

A job is trained alone, its grid points one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from umlbench.jobs import Context, Job, Outcome
from umlbench.needs import Reads
from umlbench.protocols import linear_probe
from umlbench.protocols.finetune.settings import Settings
from umlbench.protocols.linear_probe.sources import Sources
from umlbench.protocols.linear_probe.sources import reads as what_it_reads
from umlbench.schema import Closed

__all__ = [
    "DTYPE",
    "METRICS",
    "VERSION",
    "WHOLE_BATCHES",
    "Settings",
    "batch",
    "inputs",
    "reads",
    "run",
]

VERSION = 1
DTYPE = "float32"  # of the weights; `precision` in the settings is what is computed in
WHOLE_BATCHES = False
METRICS = linear_probe.METRICS


def inputs(settings: Closed, context: Context) -> dict[str, str]:
    """Fingerprints of the data set, the backbone and, where text takes part, of both for text."""
    return Sources(cast(Settings, settings), context).fingerprints()


def reads(settings: Closed) -> Reads:
    """What must be on this machine; features of sentences alone, where their vectors are read."""
    found = what_it_reads(cast(Settings, settings))
    kept = cast(Settings, settings).reads_vectors
    texts = (one for one in found.features if kept and one.encoder.modality == "text")
    return replace(found, features=tuple(texts))


def batch(job: Job) -> str:
    """A backbone is trained alone."""
    return job.id


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Train every grid point of each job, from where a killed process left it, and select."""
    from umlbench.protocols.finetune.checkpoint import resumable
    from umlbench.protocols.finetune.prepared import prepare
    from umlbench.protocols.linear_probe.outcome import selected

    for job in jobs:
        with resumable(job, context) as checkpoint:
            prepared = prepare(job, context)
            for point in job.trials()[len(checkpoint.finished) :]:
                training = prepared.training(point)
                result = training.finish(checkpoint.moment, checkpoint.keep)
                checkpoint.end_trial(result, training.seconds)
            seconds = {**prepared.seconds, **checkpoint.seconds}
            results = checkpoint.finished
            yield job, selected(job, results, prepared.drawn, prepared.keys, seconds)
            checkpoint.clear()
