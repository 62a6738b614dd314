"""Linear probes on frozen features, alone or with unpaired text (sections 3.2 and B.4.2).

`unimodal` trains one bias-free head on the target's features. `uml` shares that head with text:
the target is projected into the text's width (where the widths differ), and each step sums one
batch of each modality. In `uml_init` the head starts at the classes' mean text vectors. All grid
points of a job, and all jobs of a batch, are trained in one sweep.

Methods that are compared share their few-shot draw, their batch orders and, where shapes agree,
their initial weights at one seed; every grid point starts from the same streams, where the released
code seeds once for the whole grid.

`settings` is what a recipe may say, `sources` finds data and encoders, `prepared` reads and draws,
`modalities` makes trials, `outcome` selects among them, `training` trains them and keeps the
selected heads, `measures` asks more of these. Fine-tuning (`protocols.finetune`) and the three
modalities of ImageNet-ESC (`protocols.imagenet_esc`) share what they need of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from umlbench.jobs import Context, Job, Outcome
from umlbench.needs import Reads
from umlbench.protocols import Metric
from umlbench.protocols.linear_probe import measures, outcome
from umlbench.protocols.linear_probe.prepared import Prepared, Reader, prepare
from umlbench.protocols.linear_probe.settings import Settings
from umlbench.protocols.linear_probe.sources import Sources
from umlbench.protocols.linear_probe.sources import reads as what_it_reads
from umlbench.protocols.linear_probe.training import carry_out, head
from umlbench.schema import Closed
from umlbench.seeds import digest

if TYPE_CHECKING:
    from umlbench.sweep import TrialResult

__all__ = [
    "DTYPE",
    "HEADS",
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
HEADS = True  # with `Context.heads`, outcomes bring the selected head
WHOLE_BATCHES = False  # a trial computes the same bits in any stack (umlbench.sweep)

METRICS: dict[str, Metric] = {
    **outcome.METRICS,
    "text_words": Metric("Words a sentence", "words", higher_is_better=True),
    **measures.METRICS,
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
    reader = Reader(context)
    keep = bool(context.heads) or any(cast(Settings, job.settings).measures for job in jobs)
    carried = carry_out(jobs, lambda job: prepare(job, reader), context.device, keep=keep)
    for one, results, seconds in carried:
        found = _outcome(one, results, seconds, reader)
        yield one.job, found if context.heads else replace(found, head=None)


def _outcome(
    one: Prepared, results: list[TrialResult], seconds: dict[str, float], reader: Reader
) -> Outcome:
    """What selection leaves, and the head that it selects with what is measured of it."""
    found = outcome.selected(one.job, results, one.drawn, one.keys, seconds)
    words = {} if one.text_words is None else {"text_words": one.text_words}
    found = replace(found, metrics={**found.metrics, **words})
    index = outcome.choose(one.job, results).index
    best = results[index].best
    if best is None:
        return found
    started = time.perf_counter()
    made = head(one, best)
    more = measures.measure(one, made, one.job.trials()[index], found.metrics["accuracy"], reader)
    return replace(
        found,
        metrics={**found.metrics, **more.metrics},
        curves=tuple(more.curves),
        features={**one.keys, **more.keys},
        seconds={**seconds, "measure": time.perf_counter() - started},
        head=made,
    )
