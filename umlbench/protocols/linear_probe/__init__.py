"""Linear probes on frozen features, alone or with unpaired text (sections 3.2 and B.4.2).

`unimodal` trains one bias-free head on the target's features. `uml` shares that head with text:
the target is projected into the text's width (where the widths differ), and each step sums one
batch of each modality. In `uml_init` the head starts at the classes' mean text vectors. All grid
points of a job, and all jobs of a batch, are trained in one sweep.

Methods that are compared share their few-shot draw, their batch orders and, where shapes agree,
their initial weights at one seed; every grid point starts from the same streams, where the released
code seeds once for the whole grid.

`settings` is what a recipe may say, `sources` finds data and encoders, `prepared` makes trials,
`outcome` selects among them. Fine-tuning (`protocols.finetune`) shares all of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import cast

from umlbench.jobs import Context, Job, Outcome
from umlbench.needs import Reads
from umlbench.protocols import Metric
from umlbench.protocols.linear_probe.outcome import selected
from umlbench.protocols.linear_probe.prepared import Reader, prepare
from umlbench.protocols.linear_probe.settings import Settings
from umlbench.protocols.linear_probe.sources import Sources
from umlbench.protocols.linear_probe.sources import reads as what_it_reads
from umlbench.schema import Closed
from umlbench.seeds import digest

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
DTYPE = "float32"
WHOLE_BATCHES = False  # a trial computes the same bits in any stack (umlbench.sweep)

METRICS: dict[str, Metric] = {
    "accuracy": Metric("Test accuracy", "percent", higher_is_better=True),
    "val_accuracy": Metric("Validation accuracy", "percent", higher_is_better=True),
}


def inputs(settings: Closed, context: Context) -> dict[str, str]:
    """Fingerprints of the data set, the encoder and, where text takes part, of both for text."""
    return Sources(cast(Settings, settings), context).fingerprints()


def reads(settings: Closed) -> Reads:
    """The same, declared without looking: what must be on this machine, and the features of it."""
    return what_it_reads(cast(Settings, settings))


def batch(job: Job) -> str:
    """Jobs on the same features at one number of shots are trained together, all seeds at once."""
    settings = cast(Settings, job.settings)
    shared = settings.model_dump(mode="json", exclude=set(job.grid))
    return digest([shared, {name: list(values) for name, values in job.grid.items()}])


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Encode what is missing, train every grid point of every job, select."""
    from umlbench.sweep import train

    started = time.perf_counter()
    reader = Reader(context)
    prepared = [prepare(job, reader) for job in jobs]
    extracted = time.perf_counter()
    trials = [trial for one in prepared for trial in one.trials()]
    results = iter(train(trials, prepared[0].settings.schedule, device=context.device))
    seconds = {
        "features": (extracted - started) / len(jobs),
        "train": (time.perf_counter() - extracted) / len(jobs),
    }
    for one in prepared:
        mine = [next(results) for _ in one.job.trials()]
        yield one.job, selected(one.job, mine, one.drawn, one.keys, seconds)
