"""What an entry of the cache consists of, and where it lies.

An entry is the folder `<encoder>/<dataset>-<split>/<key>/`: `manifest.json` (ids and labels,
written first), `shard-00000.safetensors` ... (rows), `meta.json` (written last: the done mark).
A shard holds `x` with a row for each sample; or, where the encoder's key names `tokens`, with
several (tokens, width), and `lengths` (samples,) beside it.
Shots and seeds are index lists applied on reading; they are not part of an entry. While an entry
is made, `shard-00000.json` beside a shard marks it as finished, so that a kill costs one shard.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from umlbench.features.files import damaged, disk
from umlbench.schema import Closed
from umlbench.seeds import canonical_json, digest

if TYPE_CHECKING:
    from umlbench.data.samples import Samples

FORMAT = 1
CHECKPOINTS = "checkpoints"
SHARD_SIZE = 4096  # samples a file: the most that a kill costs
TOKEN_SHARD_SIZE = 256  # the same where samples have several rows: 202 MB of 257 x 768 a photo

State = Literal["done", "partial", "broken"]


class Shard(Closed):
    """One file of rows, as `meta.json` lists it."""

    file: str = Field(pattern=r"^shard-\d{5,}\.safetensors$")
    start: int  # its first sample
    rows: int  # its samples
    bytes: int
    sha256: str
    tokens: int | None = None  # its rows, where a sample has several


class KeyFields(Closed):
    """What an entry's key is the hash of."""

    format: int
    encoder: dict[str, Any]
    dtype: str
    samples: str

    @property
    def ragged(self) -> bool:
        """Whether a sample has several rows."""
        return "tokens" in self.encoder

    @property
    def key(self) -> str:
        """The folder's name."""
        return digest(self.model_dump(mode="json"), length=32)


class Meta(Closed):
    """`meta.json`: the done mark of an entry."""

    fields: KeyFields
    shape: tuple[int, int]  # samples, width
    created: str  # UTC, ISO 8601
    manifest_sha256: str
    shards: tuple[Shard, ...]
    check: str = ""  # digest of everything above

    def sealed(self) -> Meta:
        """The same with its own digest."""
        return self.model_copy(update={"check": self._digest()})

    @property
    def intact(self) -> bool:
        """Whether nothing changed since it was sealed."""
        return self.check == self._digest()

    @property
    def tokens(self) -> int | None:
        """Rows in all, where a sample has several."""
        return sum(shard.tokens or 0 for shard in self.shards) if self.fields.ragged else None

    def _digest(self) -> str:
        """Of everything but itself; of an entry without tokens as before there were any."""
        none = {} if self.fields.ragged else {"shards": {"__all__": {"tokens"}}}
        return digest(self.model_dump(mode="json", exclude={"check": True, **none}), length=64)


@dataclass(frozen=True)
class Entry:
    """One folder of the cache; what follows `created` is known once it is done."""

    folder: Path
    encoder: str
    dataset: str
    split: str
    key: str
    state: State
    bytes: int
    created: datetime
    items: int | None = None
    width: int | None = None
    dtype: str | None = None
    tokens: int | None = None  # rows in all, where an item has several

    def plain(self) -> dict[str, Any]:
        """For `--json`; without the folder, which is this machine's."""
        fields = {k: v for k, v in vars(self).items() if k != "folder"}
        return fields | {"created": self.created.isoformat(timespec="seconds")}


def default_root() -> Path:
    """`UMLBENCH_CACHE`, or `features` in the user's cache folder."""
    from platformdirs import user_cache_dir

    named = os.environ.get("UMLBENCH_CACHE")
    return Path(named) if named else Path(user_cache_dir("umlbench")) / "features"


def split_folder(root: Path, encoder: str, dataset: str, split: str) -> Path:
    """The folder that holds every entry of one split as one encoder sees it."""
    return root / safe(encoder) / f"{safe(dataset)}-{safe(split).replace('-', '_')}"


def checkpoints(root: Path) -> Path:
    """The folder with a folder for every job that trains a backbone and has not ended."""
    return root / CHECKPOINTS


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder of the cache is that of a job."""
    return folder.parent.name == CHECKPOINTS


def safe(name: str) -> str:
    """`name` as a folder's name: a hub id's slash becomes two dashes."""
    return re.sub(r"[^\w.-]+", "--", name).lstrip(".") or "unnamed"


def manifest(samples: Samples) -> bytes:
    """The body of `manifest.json`."""
    return canonical_json({"ids": samples.ids, "labels": samples.labels.tolist()}).encode()


def read_meta(folder: Path) -> Meta:
    """`meta.json`, checked against its own digest and the folder's name."""
    path = folder / "meta.json"
    with disk("read", path):
        body = path.read_bytes()
    try:
        meta = Meta.model_validate_json(body)
    except ValidationError as error:
        raise damaged(path, "is not a complete description") from error
    if not meta.intact or meta.fields.key != folder.name:
        raise damaged(path, "differs from its own checksum")
    return meta
