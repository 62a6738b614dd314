"""Where the sequences of a cell come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umlbench.errors import UserError, unknown
from umlbench.jobs import Context
from umlbench.needs import Reads, SequencesNeed

if TYPE_CHECKING:
    from umlbench.data.sequences import SequenceSet
    from umlbench.protocols.self_supervised.settings import Settings

TOKENS = ("oxford_pets", "ucf101", "dtd")  # photos and sentences as sequences of their tokens
KNOWN = ("mosi", "mosei", "mustard", "ur_funny", "mimic", "mosi_utterances", *TOKENS)
SPLITS = ("train", "val", "test")


def is_known(name: str) -> bool:
    """Whether `name` can be a set of sequences: one of `KNOWN`, or the path of an .npz."""
    return name in KNOWN or name.endswith(".npz")


def reads(settings: Settings) -> Reads:
    """What a cell reads, declared without looking."""
    return Reads((SequencesNeed(settings.dataset),))


def fingerprints(settings: Settings, context: Context) -> dict[str, str]:
    """What a job's id holds of its inputs; `MissingInput` where they are not here."""
    return {settings.dataset: SequencesNeed(settings.dataset).find(context).fingerprint}


def find(settings: Settings, context: Context) -> SequenceSet:
    """The set, which has the modalities of the cell in every split.

    Raises `UserError` where it has not.
    """
    found = SequencesNeed(settings.dataset).find(context)
    for name in settings.modalities:
        if name not in found.modalities:
            raise unknown(f"modality of {settings.dataset}", name, found.modalities)
        empty = [split for split in SPLITS if not len(found.splits[split].get(name, ()))]
        if empty:
            what = f"{settings.dataset} has no {name} in its {' and '.join(empty)} split"
            raise UserError(what, "a trunk is trained on train, chosen on val and scored on test")
    return found
