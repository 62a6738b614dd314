"""Where the sequences of a cell come from: a set of sequences, or the tokens of photos and text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umlbench.data.layout import SPLITS
from umlbench.errors import UserError, unknown
from umlbench.features.tokens import TokenSource
from umlbench.jobs import Context
from umlbench.needs import Reads, SequencesNeed

if TYPE_CHECKING:
    from umlbench.data.sequences import SequenceSet
    from umlbench.protocols.self_supervised.settings import Settings


def reads(settings: Settings) -> Reads:
    """What a cell reads, declared without looking."""
    source = _source(settings)
    return source.reads() if isinstance(source, TokenSource) else Reads((source,))


def fingerprints(settings: Settings, context: Context) -> dict[str, str]:
    """What a job's id holds of its inputs; `MissingInput` where they are not here."""
    source = _source(settings)
    if isinstance(source, TokenSource):
        return source.fingerprints(context)
    return {source.dataset.partition("@")[0]: source.find(context).fingerprint}


def find(settings: Settings, context: Context) -> SequenceSet:
    """The set, which has the target in every split and the auxiliaries at least in training.

    Raises `UserError` where it has not.
    """
    source = _source(settings)
    found = source.load(context) if isinstance(source, TokenSource) else source.find(context)
    for name in settings.modalities:
        if name not in found.modalities:
            raise unknown(f"modality of {settings.dataset}", name, found.modalities)
        needed = SPLITS if name == settings.target else SPLITS[:1]
        empty = [split for split in needed if not len(found.splits[split].get(name, ()))]
        if empty:
            what = f"{settings.dataset} has no {name} in its {' and '.join(empty)} split"
            raise UserError(what, "a trunk is trained on train, chosen on val and scored on test")
    return found


def _source(settings: Settings) -> TokenSource | SequencesNeed:
    if settings.encoder is None:
        return SequencesNeed(settings.dataset)
    return TokenSource(
        settings.dataset,
        settings.encoder,
        settings.text_encoder if settings.others else None,
        settings.text_type,
        settings.tokens,
        settings.text_aliases,
        settings.transform,
        settings.dtype,
        settings.stored,
    )
