"""Self-supervised UML (section 3.2, appendix B.4.1): Table 1 and the multimodal neurons.

A trunk that predicts the next step of a sequence is trained on the target alone (`unimodal`) or on
the target and unpaired sequences of other modalities (`uml`), one batch of each a step. A linear
probe on the target's embeddings then says what they are worth: after the last epoch, at every grid
point.

Methods that are compared share, at one seed, the order of the target's batches, its dropout masks
and the initial weights that both have. Grid points start from the same streams. Trials are trained
one after the other: the feed-forward products, which are nearly all of the work, gain nothing from
being stacked on a CPU.

`settings` is what a recipe may say, `sources` finds the sequences, `training` trains one trunk,
`probe` scores it, `neurons` follows it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from umlbench import selection
from umlbench.errors import UserError
from umlbench.jobs import Context, Job, Outcome
from umlbench.needs import Reads
from umlbench.protocols import Metric
from umlbench.protocols.self_supervised import sources
from umlbench.protocols.self_supervised.settings import Settings
from umlbench.schema import Closed
from umlbench.seeds import digest

if TYPE_CHECKING:
    from umlbench.data.sequences import SequenceSet
    from umlbench.protocols.self_supervised.neurons import Neurons

VERSION = 1
DTYPE = "float32"
WHOLE_BATCHES = False

METRICS: dict[str, Metric] = {
    "accuracy": Metric("Test accuracy", "percent", higher_is_better=True),
    "val_accuracy": Metric("Validation accuracy", "percent", higher_is_better=True),
    "accuracy_auxiliary": Metric("Auxiliary test accuracy", "percent", higher_is_better=True),
    "accuracy_all": Metric("Test accuracy, all modalities", "percent", higher_is_better=True),
    "correlation": Metric("r of the strongest neurons", "Pearson", higher_is_better=True),
    "untrained_correlation": Metric(
        "Largest |r| of a neuron, untrained", "Pearson", higher_is_better=True
    ),
}


@dataclass(frozen=True)
class Trained:
    """One trial: its figures by name, the target's mean loss in the last epoch, its neurons."""

    figures: Mapping[str, float]
    loss: float
    neurons: Neurons | None
    seconds: Mapping[str, float]


def inputs(settings: Closed, context: Context) -> dict[str, str]:
    """The fingerprint of the sequences."""
    return sources.fingerprints(cast(Settings, settings), context)


def reads(settings: Closed) -> Reads:
    """The same, declared without looking."""
    return sources.reads(cast(Settings, settings))


def batch(job: Job) -> str:
    """Every job is trained alone, but for those that look at the same training (`samples`)."""
    followed = cast(Settings, job.settings).samples != "none"
    spec = {**job.spec, "settings": {**job.spec["settings"], "samples": followed}}
    return digest({"spec": spec, "seed": job.seed})


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Train and score every grid point, select; what a batch has in common is trained once."""
    trained: dict[str, list[Trained]] = {}
    for job in jobs:
        key = batch(job)
        if key not in trained:
            trained[key] = _trials(job, context)
        yield job, _outcome(job, trained[key])


def _trials(job: Job, context: Context) -> list[Trained]:
    settings = cast(Settings, job.settings)
    found = sources.find(settings, context)
    points, trials = job.trials(), []
    for number, point in enumerate(points, start=1):
        context.say(f"{settings.dataset} {settings.method}: trial {number} of {len(points)}")
        trials.append(_trial(settings.model_copy(update=point), found, job.seed, context))
    return trials


def _trial(settings: Settings, found: SequenceSet, seed: int, context: Context) -> Trained:
    """Train a trunk and probe it after its last epoch."""
    from umlbench.protocols.self_supervised import probe, training
    from umlbench.protocols.self_supervised.neurons import Neurons

    started, device = time.perf_counter(), context.device
    sets = {name: found.splits["train"][name] for name in settings.modalities}
    widths = {name: one.width for name, one in sets.items()}
    trunk = training.build(widths, settings, seed).to(device)
    feeds = {name: training.feed(name, one, settings, seed, device) for name, one in sets.items()}
    per_epoch = math.ceil(len(sets[settings.target]) / settings.batch_size)
    followed = settings.samples != "none" and settings.others
    neurons = Neurons(trunk, found, settings, device) if followed else None
    watch = neurons.watch if neurons else training.ignore
    watch(0)
    masks = training.dropouts(settings, seed)
    history = training.train(trunk, feeds, settings, per_epoch, masks, watch)
    trained = time.perf_counter()
    figures = probe.scores(trunk, found, settings, device)
    losses = [float(step.get(settings.target, math.nan)) for step in history[-per_epoch:]]
    seconds = {"train": trained - started, "probe": time.perf_counter() - trained}
    return Trained(figures, sum(losses) / len(losses), neurons, seconds)


def _outcome(job: Job, trials: Sequence[Trained]) -> Outcome:
    figures = {name: [one.figures[name] for one in trials] for name in trials[0].figures}
    if all(map(math.isnan, figures["val_accuracy"])):
        raise UserError("every trial diverged", "lower learning_rate")
    rule = selection.RULES[job.selection or "val_accuracy"]
    figures["test_accuracy"] = figures.pop("accuracy")
    chosen = rule(figures["val_accuracy"], figures["test_accuracy"])
    best = trials[chosen.index]
    samples = cast(Settings, job.settings).samples
    return Outcome(
        metrics={**best.figures, **(best.neurons.metrics(samples) if best.neurons else {})},
        curves=(best.neurons.curve(samples),) if best.neurons else (),
        selection={
            **job.trials()[chosen.index],
            "trial": chosen.index,
            "ties": chosen.ties,
            "tied_spread": chosen.tied_spread,
        },
        trials={**figures, "loss": [one.loss for one in trials]},
        seconds={stage: sum(one.seconds[stage] for one in trials) for stage in ("train", "probe")},
    )
