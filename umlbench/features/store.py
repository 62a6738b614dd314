"""FeatureStore: every sample is encoded once per encoder, and kept so that it can be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from umlbench.errors import UserError
from umlbench.features.files import damaged, disk, locked, sha256, write
from umlbench.features.imported import Imported
from umlbench.features.layout import (
    FORMAT,
    SHARD_SIZE,
    KeyFields,
    Meta,
    Shard,
    manifest,
    read_meta,
    split_folder,
)
from umlbench.features.upkeep import problems

if TYPE_CHECKING:
    import torch

    from umlbench.data.samples import Samples
    from umlbench.encoders import Dtype, Encoder

Say = Callable[[str], None]

SAY_EVERY = 5.0  # seconds between two lines of progress


def _silent(_: str) -> None:
    """The default progress sink."""


@dataclass(frozen=True, eq=False)
class Features:
    """Rows `x` (n, width) float32 and labels `y` (n,) int64 on the CPU, in the samples' order."""

    x: torch.Tensor
    y: torch.Tensor
    ids: tuple[str, ...]
    key: str


class FeatureStore:
    """The cache below `root`; rows are stored as `dtype` in shards of `shard_size` samples."""

    def __init__(
        self, root: Path, *, dtype: Dtype = "float32", shard_size: int = SHARD_SIZE
    ) -> None:
        self.root = Path(root)
        self.dtype = dtype
        self.shard_size = shard_size

    def key(self, encoder: Encoder, samples: Samples) -> str:
        """The name of the entry that holds `samples` as `encoder` sees them."""
        return self._fields(encoder, samples).key

    def has(self, encoder: Encoder, samples: Samples, *, dataset: str, split: str) -> bool:
        """Whether the entry is finished, so that `get` only reads; for plans."""
        return (self._folder(encoder, samples, dataset, split) / "meta.json").exists()

    def get(
        self,
        encoder: Encoder,
        samples: Samples,
        *,
        dataset: str,
        split: str,
        verify: bool = False,
        say: Say = _silent,
    ) -> Features:
        """Read the features, after encoding what is missing; `verify` also checks every sha256.

        `samples` is a whole split, also for a table of few shots: an image is then encoded once per
        encoder whatever shots and seeds ask for, and a few-shot training indexes `x`. Of several
        processes that ask for one entry, one encodes and the others wait. `say` hears of progress
        in short lines. Raises `StorageError` where the disk fails or an entry is damaged.
        """
        self.make(encoder, samples, dataset=dataset, split=split, say=say)
        folder = self._folder(encoder, samples, dataset, split)
        if verify:
            for name, what in problems(folder, deep=True):
                raise damaged(folder / name, what)
        return _read(folder, samples)

    def make(
        self, encoder: Encoder, samples: Samples, *, dataset: str, split: str, say: Say = _silent
    ) -> int:
        """Encode what is missing, without reading it back; returns how many samples that took."""
        fields = self._fields(encoder, samples)
        folder = self._folder(encoder, samples, dataset, split)
        if (folder / "meta.json").exists():
            return 0
        with locked(self.root, fields.key):
            if (folder / "meta.json").exists():
                return 0
            return Maker(folder, fields, encoder, samples, self.shard_size, say).make()

    def _folder(self, encoder: Encoder, samples: Samples, dataset: str, split: str) -> Path:
        name = self._fields(encoder, samples).key
        return split_folder(self.root, encoder.name, dataset, split) / name

    def _fields(self, encoder: Encoder, samples: Samples) -> KeyFields:
        if isinstance(encoder, Imported):
            return encoder.fields(samples)
        return KeyFields(
            format=FORMAT, encoder=encoder.key(), dtype=self.dtype, samples=samples.fingerprint
        )


# Making an entry


@dataclass(frozen=True)
class Maker:
    """Encodes the missing shards of one entry, then writes the done mark; runs under its lock."""

    folder: Path
    fields: KeyFields
    encoder: Encoder
    samples: Samples
    shard_size: int
    say: Say = _silent

    def make(self) -> int:
        """The whole entry; returns how many samples were encoded now, not by an earlier run.

        `UserError` without samples or where an encoder's rows are unusable.
        """
        total = len(self.samples)
        if not total:
            raise UserError(f"{self.folder.parent.name} has no samples to encode")
        with disk("write", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        body = manifest(self.samples)
        write(self.folder / "manifest.json", body)
        progress = _Progress(f"{self.encoder.name} {self.folder.parent.name}", total, self.say)
        starts = range(0, total, self._rows)
        shards = [self._shard(number, start, progress) for number, start in enumerate(starts)]
        meta = Meta(
            fields=self.fields,
            shape=(total, self.encoder.width),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            manifest_sha256=sha256(body),
            shards=tuple(shards),
        )
        write(self.folder / "meta.json", meta.sealed().model_dump_json(indent=1).encode())
        self._clear({"meta.json", "manifest.json", *(shard.file for shard in shards)})
        return progress.encoded

    @property
    def _rows(self) -> int:
        """Of a shard: whole groups of those samples that the encoder sees together."""
        together = getattr(self.encoder, "together", 1)
        return max(together, self.shard_size - self.shard_size % together)

    def _shard(self, number: int, start: int, progress: _Progress) -> Shard:
        """From disk where an earlier run finished it, else encoded, written and marked."""
        rows = min(self._rows, len(self.samples) - start)
        path = self.folder / f"shard-{number:05d}.safetensors"
        finished = _finished(path)
        if finished and (finished.start, finished.rows) == (start, rows):
            progress.skip(rows)
            return finished
        body = self._encode(start, rows, progress)
        write(path, body)
        shard = Shard(file=path.name, start=start, rows=rows, bytes=len(body), sha256=sha256(body))
        write(path.with_suffix(".json"), shard.model_dump_json().encode())
        return shard

    def _encode(self, start: int, rows: int, progress: _Progress) -> bytes:
        """A safetensors file with `x` (rows, width); `UserError` for a row that is not finite."""
        import torch
        from safetensors.torch import save

        items = self.samples.items[start : start + rows]
        x = torch.from_numpy(self.encoder.encode(items, progress.tick))
        if x.shape != (rows, self.encoder.width):
            expected = (rows, self.encoder.width)
            raise ValueError(f"{self.encoder.name} gave {tuple(x.shape)}, not {expected}")
        stored = x.to(getattr(torch, self.fields.dtype))
        bad = (~torch.isfinite(stored).all(dim=1)).nonzero()
        if len(bad):
            name = self.samples.ids[start + int(bad[0])]
            what = f"{self.encoder.name} features of '{name}' are not finite in {self.fields.dtype}"
            raise UserError(what, "store them as float32, or look at that sample")
        return bytes(save({"x": stored.contiguous()}))

    def _clear(self, keep: set[str]) -> None:
        """Remove shard marks and what a killed run left behind."""
        with disk("write", self.folder):
            for path in self.folder.iterdir():
                if path.name not in keep:
                    path.unlink()


@dataclass
class _Progress:
    """Says how far an entry is, every `SAY_EVERY` seconds."""

    what: str
    total: int
    say: Say
    done: int = 0
    encoded: int = 0
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def skip(self, count: int) -> None:
        """`count` samples were there already."""
        self.done += count

    def tick(self, count: int) -> None:
        """`count` more samples are encoded."""
        self.done += count
        self.encoded += count
        now = time.monotonic()
        if now - self.said >= SAY_EVERY:
            rate = self.encoded / (now - self.started)
            self.say(f"{self.what}: {self.done} of {self.total} encoded, {rate:.0f} a second")
            self.said = now


def _finished(path: Path) -> Shard | None:
    """The mark beside a shard, where shard and mark agree."""
    try:
        shard = Shard.model_validate_json(path.with_suffix(".json").read_bytes())
        intact = sha256(path.read_bytes()) == shard.sha256 and shard.file == path.name
    except (OSError, ValidationError):
        return None
    return shard if intact else None


# Reading an entry


def _read(folder: Path, samples: Samples) -> Features:
    import torch

    meta = read_meta(folder)
    with disk("read", folder):
        listed = (folder / "manifest.json").read_bytes()
    if listed != manifest(samples):
        raise damaged(folder / "manifest.json", "lists other samples than its key says")
    x = torch.cat([_shard_rows(folder / shard.file, shard.rows, meta) for shard in meta.shards])
    if x.shape != meta.shape:
        raise damaged(folder / "meta.json", f"says {meta.shape}, its shards {tuple(x.shape)}")
    y = torch.from_numpy(samples.labels.copy())
    return Features(x, y, samples.ids, folder.name)


def _shard_rows(path: Path, rows: int, meta: Meta) -> torch.Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load

    with disk("read", path):
        body = path.read_bytes()
    try:
        x: torch.Tensor = load(body)["x"]
    except (SafetensorError, KeyError) as error:
        raise damaged(path, "is not a safetensors file with rows") from error
    if x.shape != (rows, meta.shape[1]):
        raise damaged(path, f"holds {tuple(x.shape)}, not {(rows, meta.shape[1])}")
    return x.float()
