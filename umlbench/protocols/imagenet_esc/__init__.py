"""Sounds, photos and text of the same classes, unpaired: ImageNet-ESC (protocol, section 4).

A linear probe on frozen features whose head any number of modalities share: the target, sounds or
photos, gets a batch of its own and one of every modality that helps, each with its loss, in one
step. No code of this experiment is published; its predecessor's (cross-modal adaptation) decides
classes, divisions and samples, the `audio` grid of the released code the rest.

A seed is a division of the data, seeds 1 to 5 the five of them, 6 to 10 the same ones with other
streams (batches, weights, sentences), and so on: 15 seeds are 5 divisions by 3.

Trials, sweep, selection and text are `protocols.linear_probe`'s. `settings` is what a recipe may
say, `sources` finds data and encoders and chooses rows, `prepared` reads their features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from umlbench.jobs import Context, Job, Outcome
from umlbench.needs import Reads
from umlbench.protocols.imagenet_esc.prepared import prepare
from umlbench.protocols.imagenet_esc.settings import Settings
from umlbench.protocols.imagenet_esc.sources import Sources
from umlbench.protocols.imagenet_esc.sources import reads as what_it_reads
from umlbench.protocols.linear_probe import batch
from umlbench.protocols.linear_probe.outcome import METRICS, selected
from umlbench.protocols.linear_probe.prepared import Reader
from umlbench.protocols.linear_probe.training import carry_out
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
DTYPE = "float32"
WHOLE_BATCHES = False  # a trial computes the same bits in any stack (umlbench.sweep)


def inputs(settings: Closed, context: Context) -> dict[str, str]:
    """Fingerprints of the samples and the encoder of every modality that takes part."""
    return Sources(cast(Settings, settings), context).fingerprints()


def reads(settings: Closed) -> Reads:
    """The same, declared without looking: what must be on this machine, and the features of it."""
    return what_it_reads(cast(Settings, settings))


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Encode what is missing, train every grid point of every job, select."""
    reader = Reader(context)
    carried = carry_out(jobs, lambda job: prepare(job, reader), context.device)
    for one, results, seconds in carried:
        found = selected(one.job, results, one.drawn, one.keys, seconds)
        about = {"division": one.division, "notices": list(one.notices)}
        yield one.job, replace(found, selection={**(found.selection or {}), **about})
