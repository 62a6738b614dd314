"""How much of a device's memory a job's weights take, from the headers of their files."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from umlbench.errors import MissingInput
from umlbench.protocols.linear_probe.sources import Sources

if TYPE_CHECKING:
    from umlbench.encoders.weights import Weights
    from umlbench.jobs import Context
    from umlbench.protocols.finetune.settings import Settings

LEARNS = 16  # bytes of a trained parameter: weight, gradient and two moments, each float32
FROZEN = {"float32": 4, "float16": 2, "bfloat16": 2}


def estimate(settings: Settings, context: Context) -> int | None:
    """Bytes for weights, gradients and moments of backbone and text encoder.

    Activations, which grow with the micro-batch, come on top, and so do head and adapters, which
    are small. None while weights are not on this machine.
    """
    sources = Sources(settings, context)
    try:
        backbone = getattr(sources.encoder, "weights", None)
        text = getattr(sources.text_encoder, "weights", None) if settings.text_learns else None
    except MissingInput:
        return None
    # open_clip's files hold both towers.
    seen = parameters(backbone, "visual." if settings.encoder.startswith("clip:") else "")
    read = parameters(text, "") if settings.text_learns else 0
    if seen is None or read is None:
        return None
    whole = settings.text_update == "full"
    return LEARNS * seen + (LEARNS if whole else FROZEN[settings.dtype]) * read


@cache
def parameters(weights: Weights | None, prefix: str = "") -> int | None:
    """How many numbers weights have; None where they do not say. Read once a process."""
    return None if weights is None else weights.parameters(prefix)
