"""How fast photos become features here, beside the bare encoder on pixels already in memory.

Both take turns over the same photos: `bare` is the model in batches on tensors that were decoded
before the clock started, `ours` the whole way from files to an entry of a new feature cache.
Decoding and resizing by themselves, on one core, are given too: where cores are few they share them
with the encoder, and nothing can be faster than both together.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench.bench import machine
from umlbench.bench.machine import short
from umlbench.errors import UserError
from umlbench.jobs import Context
from umlbench.needs import DatasetNeed, EncoderNeed

if TYPE_CHECKING:
    from umlbench.data.samples import Samples
    from umlbench.encoders.vision import Vision


@dataclass(frozen=True)
class Row:
    """Photos a second of every turn on some number of threads."""

    threads: int
    bare: tuple[float, ...]
    ours: tuple[float, ...]
    decoding: tuple[float, ...]

    @property
    def share(self) -> float:
        """Ours as a share of the bare encoder: the median of the turns' own shares."""
        return statistics.median(o / b for o, b in zip(self.ours, self.bare, strict=True))

    def cells(self) -> list[str]:
        """For a table."""
        each = (self.bare, self.decoding, self.ours)
        medians = [f"{statistics.median(turns):.1f}" for turns in each]
        return [str(self.threads), *medians, f"{self.share:.0%}"]


@dataclass(frozen=True)
class ExtractionResult:
    """One run of the benchmark, and the machine it ran on."""

    machine: dict[str, Any]
    rows: tuple[Row, ...]

    def plain(self) -> dict[str, Any]:
        """The result as plain values, one object per number of threads."""
        rows = [
            {
                "threads": row.threads,
                "bare_per_s": [short(turn) for turn in row.bare],
                "decoding_per_s": [short(turn) for turn in row.decoding],
                "ours_per_s": [short(turn) for turn in row.ours],
                "share": short(row.share),
            }
            for row in self.rows
        ]
        return {"machine": self.machine, "rows": rows}

    def to_markdown(self) -> str:
        """The result as a table."""
        text = (
            "Photos a second, median over the turns: the bare encoder on tensors in memory, "
            "decoding and resizing alone on one core, and files to cached features with the share "
            "of the bare encoder's."
        )
        head = ["threads", "bare encoder", "decoding", "ours", "share"]
        rows = [row.cells() for row in self.rows]
        return machine.markdown("Extracting features of photos", self.machine, text, head, rows)

    def write(self, folder: Path) -> list[Path]:
        """Writes `extraction-<device>.json` and `.md`; returns their paths."""
        name = f"extraction-{str(self.machine['device']).partition(':')[0]}"
        return machine.write(folder, name, self.plain(), self.to_markdown())


def subject(encoder: str, dataset: str, items: int, context: Context) -> tuple[Vision, Samples]:
    """An image encoder on the context's device, and the first `items` test photos of a data set.

    Raises `MissingInput` where either is not on this machine, `UserError` for other encoders.
    """
    from umlbench.encoders.vision import Vision

    found = EncoderNeed(encoder, "image").load(context)
    if not isinstance(found, Vision):
        raise UserError(f"bench: '{encoder}' is no image encoder of timm or open_clip", "name one")
    photos = DatasetNeed(dataset).find(context).split("test")
    return found, photos.select(range(min(items, len(photos))))


def measure(
    encoder: Vision,
    samples: Samples,
    *,
    threads: Sequence[int] = (1,),
    repeats: int = 5,
    say: Callable[[str], None] = lambda _: None,
) -> ExtractionResult:
    """Measures every number of threads over `samples`, photos; `say` gets one line for each.

    Raises UserError for counts below 1.
    """
    if min((*threads, repeats, len(samples))) < 1:
        raise UserError("bench: every count must be at least 1", "see umlbench bench extraction -h")
    facts = machine.describe(encoder.device, repeats, {})
    del facts["threads"], facts["numba"]  # a column; not used
    facts |= {"encoder": encoder.name, "photos": len(samples)}
    rows = []
    for count in threads:
        with machine.threads(count):
            turns = _turns(encoder, samples, repeats)
        rows.append(Row(count, *turns))
        say(machine.line(rows[-1].cells()))
    return ExtractionResult(facts, tuple(rows))


Turns = tuple[float, ...]


def _turns(encoder: Vision, samples: Samples, repeats: int) -> tuple[Turns, Turns, Turns]:
    """Photos a second of the bare encoder, of ours and of decoding, turn by turn."""
    import torch

    pixels = torch.cat(list(encoder.pixels(samples.items, workers=0)))
    encoder.embed(pixels[:1])  # the model is loaded before the clock starts
    works = (
        lambda: encoder.embed(pixels),
        lambda: _whole_way(encoder, samples),
        lambda: sum(len(batch) for batch in encoder.pixels(samples.items, workers=0)),
    )
    rounds = [
        [len(samples) / machine.seconds(work, encoder.device) for work in works]
        for _ in range(repeats)
    ]
    bare, ours, decoding = zip(*rounds, strict=True)
    return bare, ours, decoding


def _whole_way(encoder: Vision, samples: Samples) -> None:
    from umlbench.features import FeatureStore

    with tempfile.TemporaryDirectory(prefix="umlbench-bench-") as folder:
        FeatureStore(Path(folder)).make(encoder, samples, dataset="bench", split="train")
