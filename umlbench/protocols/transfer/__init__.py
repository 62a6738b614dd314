"""Language weights as the start of a vision model (section 4.3, B.4.4, Figure 7).

A photo's patches go through the layers of a language model (`umlbench.models.vision_from_text`),
frozen or learning, with its weights or drawn anew. Training is fine-tuning's: loop, schedule,
stopping, checkpoints, precision and feeds of photos are those of `protocols.finetune`. What is
added is the network, crops, and a stack that waits for its first step.

A job is trained alone, its grid points one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from umlbench.errors import MissingInput
from umlbench.jobs import Context, Job, Outcome
from umlbench.needs import Reads
from umlbench.protocols.finetune import DTYPE, METRICS, RANKS, WHOLE_BATCHES, batch, trained
from umlbench.protocols.transfer.settings import Settings
from umlbench.protocols.transfer.sources import Sources
from umlbench.schema import Closed

__all__ = [
    "DTYPE",
    "METRICS",
    "RANKS",
    "VERSION",
    "WHOLE_BATCHES",
    "Settings",
    "batch",
    "inputs",
    "memory",
    "reads",
    "run",
]

VERSION = 1


def inputs(settings: Closed, context: Context) -> dict[str, str]:
    """Fingerprints of the data set and the language model: from scratch, of its architecture."""
    return Sources(cast(Settings, settings), context).fingerprints()


def reads(settings: Closed) -> Reads:
    """What must be on this machine; from scratch too, since the architecture comes with it."""
    sources = Sources(cast(Settings, settings), Context())
    return Reads((sources.dataset_need, sources.encoder_need))


def memory(settings: Closed, context: Context) -> int | None:
    """Bytes of the device for the stack's weights, gradients and moments; None without weights.

    A little too many: the word vectors, which are no part of the stack, are counted.
    """
    from umlbench.protocols.finetune.footprint import FROZEN, LEARNS, parameters

    one = cast(Settings, settings)
    try:
        count = parameters(Sources(one, context).encoder.weights)
    except MissingInput:
        return None
    return None if count is None else count * (LEARNS if one.stack_learns else FROZEN["float32"])


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Train every grid point of each job, from where a killed process left it, and select."""
    from umlbench.protocols.transfer.prepared import prepare

    return trained(jobs, context, prepare)
