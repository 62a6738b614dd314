"""Features before trainings: what a plan lacks is encoded once, with the whole machine.

Workers would do the same one by one, each on one thread and waiting for the others' locks. What an
encoder took is noted beside the features, so that a plan can say how long the next ones will take.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umlbench.encoders.weights import PUBLISHED, split_name
from umlbench.errors import MissingInput, StorageError, UserError
from umlbench.features.files import disk
from umlbench.jobs import Context
from umlbench.needs import Encoded, EncoderNeed

BYTES = 4  # of a stored number: float32
NOTES = "extractions.jsonl"  # in the feature cache


@dataclass(frozen=True)
class FeatureCost:
    """One split as one encoder sees it; None for what is not known before the data is here."""

    encoder: str
    dataset: str
    split: str
    items: int | None
    width: int | None
    cached: bool
    seconds_per_item: float | None = None  # as this encoder last took on this machine

    @property
    def bytes(self) -> int | None:
        """Disk still to be filled."""
        if self.cached:
            return 0
        return None if None in (self.items, self.width) else self._numbers * BYTES

    @property
    def seconds(self) -> float | None:
        """Time still to be spent."""
        if self.cached:
            return 0.0
        if self.items is None or self.seconds_per_item is None:
            return None
        return self.items * self.seconds_per_item

    @property
    def _numbers(self) -> int:
        return (self.items or 0) * (self.width or 0)

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {**vars(self), "bytes": self.bytes, "seconds": self.seconds}


def costs(wanted: Iterable[Encoded], context: Context) -> Iterator[FeatureCost]:
    """What each of `wanted` comes to; nothing is encoded, and no library of models is imported."""
    notes = _notes(context.cache)
    for one in dict.fromkeys(wanted):
        note = notes.get(one.encoder.name, {})
        width = _width(one.encoder, note)
        for dataset, split, items, cached in _splits(one, context):
            yield FeatureCost(
                one.encoder.name, dataset, split, items, width, cached, note.get("seconds_per_item")
            )


def extract(wanted: Iterable[Encoded], context: Context) -> int:
    """Encode what is not in the cache on `context.device`; returns how many entries were made.

    Every encoder is tried before `MissingInput` lists what cannot be encoded (broken images), a
    line each. Raises `StorageError` where the disk fails. `context.say` hears of progress.
    """
    by_encoder: dict[EncoderNeed, list[Encoded]] = {}
    for one in dict.fromkeys(wanted):
        by_encoder.setdefault(one.encoder, []).append(one)
    made, faults = 0, list[str]()
    for need, group in by_encoder.items():
        lacking = [one for one in group if not _complete(one, context)]
        if lacking:
            made += _encode(need, lacking, context, faults)
    if faults:
        hint = "`umlbench prepare` lists every fault of the data; nothing was trained"
        raise MissingInput("\n".join(faults), hint)
    return made


def _encode(
    need: EncoderNeed, group: Iterable[Encoded], context: Context, faults: list[str]
) -> int:
    """The missing entries of one encoder, which is then forgotten with the memory it took."""
    from umlbench.features import FeatureStore

    store, encoder, made = FeatureStore(context.cache), need.load(context), 0
    for one in group:
        for dataset, split, samples in one.of.parts(context):
            if store.has(encoder, samples, dataset=dataset, split=split):
                continue
            what = f"{need.name} {dataset} {split}"
            context.say(f"{what}: encoding {len(samples)} items on {context.device}")
            started = time.perf_counter()
            try:
                done = store.make(encoder, samples, dataset=dataset, split=split, say=context.say)
            except StorageError:
                raise
            except UserError as error:
                faults.append(f"{what}: {error.message}")
                continue
            if done:
                made += 1
                seconds = (time.perf_counter() - started) / done
                _note(context, need, width=encoder.width, seconds_per_item=seconds)
    return made


def _complete(one: Encoded, context: Context) -> bool:
    return all(cached for *_, cached in _splits(one, context))


def _splits(one: Encoded, context: Context) -> Iterator[tuple[str, str, int | None, bool]]:
    """(data set, split, items, whether cached) as far as it can be seen now."""
    from umlbench.features import FeatureStore

    store = FeatureStore(context.cache)
    try:
        parts = list(one.of.parts(context))
    except MissingInput:
        for split, items in one.of.expected().items():
            yield one.of.dataset, split, items, False
        return
    try:
        encoder = one.encoder.find(context)
    except MissingInput:
        encoder = None
    for dataset, split, samples in parts:
        cached = encoder is not None and store.has(encoder, samples, dataset=dataset, split=split)
        yield dataset, split, len(samples), cached


def _width(need: EncoderNeed, note: dict[str, Any]) -> int | None:
    """Columns of a row, from what is known without loading a model."""
    known = PUBLISHED.get(split_name(need.name)[0])
    if known and known.width:
        return known.width
    return note.get("width")


# How long it took


def _note(context: Context, need: EncoderNeed, **facts: Any) -> None:
    """A line about one extraction; of two lines about one encoder the later holds."""
    line = json.dumps({"encoder": need.name, "device": context.device, **facts})
    path = context.cache / NOTES
    with disk("write", path), path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _notes(cache: Path) -> dict[str, dict[str, Any]]:
    """The last note of each encoder; a line that cannot be read is passed over."""
    path = cache / NOTES
    found: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return found
    with disk("read", path):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        try:
            note = json.loads(line)
            found[note["encoder"]] = {
                "width": int(note["width"]),
                "seconds_per_item": float(note["seconds_per_item"]),
            }
        except (ValueError, KeyError, TypeError):
            continue
    return found
