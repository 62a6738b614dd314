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
from statistics import fmean
from typing import TYPE_CHECKING, Any

from umlbench.encoders.weights import PUBLISHED, split_name
from umlbench.errors import MissingInput, StorageError, UserError
from umlbench.features.files import disk
from umlbench.jobs import Context
from umlbench.needs import Encoded, EncoderNeed

if TYPE_CHECKING:
    from umlbench.data.samples import Samples
    from umlbench.encoders import Dtype

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}  # of a stored number
NOTES = "extractions.jsonl"  # in the feature cache
# Measured with all-MiniLM-L6-v2 on the 65430 sentences of CuPL: 1.37, by data set 1.25 to 1.71.
TOKENS_PER_WORD = 1.4


@dataclass(frozen=True)
class FeatureCost:
    """One split as one encoder sees it; None for what is not known before the data is here.

    `rows_per_item` is more than one for tokens, and `estimated` for those of text.
    """

    encoder: str
    dataset: str
    split: str
    items: int | None
    width: int | None
    cached: bool
    seconds_per_item: float | None = None  # as this encoder last took on this machine
    rows_per_item: float | None = 1
    estimated: bool = False
    stored: Dtype = "float32"

    @property
    def bytes(self) -> int | None:
        """Disk still to be filled."""
        if self.cached:
            return 0
        if self.items is None or self.width is None or self.rows_per_item is None:
            return None
        return round(self.items * self.rows_per_item) * self.width * BYTES[self.stored]

    @property
    def seconds(self) -> float | None:
        """Time still to be spent."""
        if self.cached:
            return 0.0
        if self.items is None or self.seconds_per_item is None:
            return None
        return self.items * self.seconds_per_item

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {**vars(self), "bytes": self.bytes, "seconds": self.seconds}


def costs(wanted: Iterable[Encoded], context: Context) -> Iterator[FeatureCost]:
    """What each of `wanted` comes to; nothing is encoded, and no library of models is imported."""
    notes = _notes(context.cache)
    for one in dict.fromkeys(wanted):
        need = one.encoder
        note = notes.get((need.name, need.tokens), {})
        width, seconds = _width(need, note), note.get("seconds_per_item")
        for part in _parts(one, context):
            yield FeatureCost(
                need.name,
                part.dataset,
                part.split,
                part.items,
                width,
                part.cached,
                seconds,
                _rows_per_item(need, note, part.samples),
                need.tokens == "states",
                one.stored,
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

    encoder, made = need.load(context), 0
    width = encoder.width  # before any item is read: refused where it has no such tokens
    for one in group:
        store = FeatureStore(context.cache, dtype=one.stored)
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
                seconds, rows = (time.perf_counter() - started) / done, 1.0
                if need.tokens:
                    found = store.sequences(encoder, samples, dataset=dataset, split=split)
                    rows = float(found.lengths.mean())
                _note(context, need, width=width, seconds_per_item=seconds, rows_per_item=rows)
    return made


@dataclass(frozen=True)
class _Part:
    """One split of what is to be encoded, as far as it can be seen now."""

    dataset: str
    split: str
    items: int | None
    samples: Samples | None = None
    cached: bool = False


def _complete(one: Encoded, context: Context) -> bool:
    return all(part.cached for part in _parts(one, context))


def _parts(one: Encoded, context: Context) -> Iterator[_Part]:
    from umlbench.features import FeatureStore

    store = FeatureStore(context.cache, dtype=one.stored)
    try:
        parts = list(one.of.parts(context))
    except MissingInput:
        for split, items in one.of.expected().items():
            yield _Part(one.of.dataset, split, items)
        return
    try:
        encoder = one.encoder.find(context)
    except MissingInput:
        encoder = None
    for dataset, split, samples in parts:
        cached = encoder is not None and store.has(encoder, samples, dataset=dataset, split=split)
        yield _Part(dataset, split, len(samples), samples, cached)


def _width(need: EncoderNeed, note: dict[str, Any]) -> int | None:
    """Columns of a row, from what is known without loading a model."""
    known = PUBLISHED.get(split_name(need.name)[0])
    if known and known.width:
        return known.width
    return note.get("width")


def _rows_per_item(
    need: EncoderNeed, note: dict[str, Any], samples: Samples | None
) -> float | None:
    """One, or a mean of the tokens: of photos as known, of text from its words."""
    if need.tokens is None:
        return 1
    if need.tokens == "states":
        if samples is None:
            return None
        return TOKENS_PER_WORD * fmean(len(text.split()) for text in samples.items)
    known = PUBLISHED.get(split_name(need.name)[0])
    if known and known.patches:
        return known.patches + (need.tokens == "cls+patches")
    found: float | None = note.get("rows_per_item")
    return found


# How long it took


def _note(context: Context, need: EncoderNeed, **facts: Any) -> None:
    """A line about one extraction; of two lines about one encoder the later holds."""
    own = {"encoder": need.name, "tokens": need.tokens, "device": context.device}
    line = json.dumps({**own, **facts})
    path = context.cache / NOTES
    with disk("write", path), path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _notes(cache: Path) -> dict[tuple[str, str | None], dict[str, Any]]:
    """The last note of each encoder and kind of tokens; what cannot be read is passed over."""
    path = cache / NOTES
    found: dict[tuple[str, str | None], dict[str, Any]] = {}
    if not path.is_file():
        return found
    with disk("read", path):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        try:
            note = json.loads(line)
            found[note["encoder"], note.get("tokens")] = {
                "width": int(note["width"]),
                "seconds_per_item": float(note["seconds_per_item"]),
                "rows_per_item": float(note.get("rows_per_item", 1)),
            }
        except (ValueError, KeyError, TypeError):
            continue
    return found
