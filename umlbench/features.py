"""FeatureStore: every sample is encoded once per encoder, and kept so that it can be trusted.

An entry is the folder `<encoder>/<dataset>-<split>/<key>/`: `manifest.json` (ids and labels,
written first), `shard-00000.safetensors` ... (rows), `meta.json` (written last: the done mark).
Shots and seeds are index lists applied on reading; they are not part of an entry. While an entry
is made, `shard-00000.json` beside a shard marks it as finished, so that a kill costs
one shard. Listing and checking the cache does not import torch.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field, ValidationError

from umlbench.errors import StorageError, UserError
from umlbench.schema import Closed
from umlbench.seeds import canonical_json, digest

if TYPE_CHECKING:
    import torch

    from umlbench.data.samples import Samples
    from umlbench.encoders import Dtype, Encoder

FORMAT = 1
SHARD_SIZE = 4096  # samples a file: the most that a kill costs

State = Literal["done", "partial", "broken"]


class Shard(Closed):
    """One file of rows, as `meta.json` lists it."""

    file: str = Field(pattern=r"^shard-\d{5,}\.safetensors$")
    start: int  # its first sample
    rows: int
    bytes: int
    sha256: str


class KeyFields(Closed):
    """What an entry's key is the hash of."""

    format: int
    encoder: dict[str, Any]
    dtype: str
    samples: str

    @property
    def key(self) -> str:
        """The folder's name."""
        return digest(self.model_dump(mode="json"), length=32)


class Meta(Closed):
    """`meta.json`: the done mark of an entry."""

    fields: KeyFields
    shape: tuple[int, int]
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

    def _digest(self) -> str:
        return digest(self.model_dump(mode="json", exclude={"check"}), length=64)


@dataclass(frozen=True, eq=False)
class Features:
    """Rows `x` (n, width) float32 and labels `y` (n,) int64 on the CPU, in the samples' order."""

    x: torch.Tensor
    y: torch.Tensor
    ids: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class Entry:
    """One folder of the cache; `items`, `width` and `dtype` are known once it is done."""

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

    def plain(self) -> dict[str, Any]:
        """For `--json`; without the folder, which is this machine's."""
        fields = {k: v for k, v in vars(self).items() if k != "folder"}
        return fields | {"created": self.created.isoformat(timespec="seconds")}


@dataclass(frozen=True)
class Problem:
    """One damaged file, relative to the cache's root."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be."""

    entries: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        """Space set free."""
        return sum(entry.bytes for entry in self.entries)


def default_root() -> Path:
    """`UMLBENCH_CACHE`, or `features` in the user's cache folder."""
    from platformdirs import user_cache_dir

    named = os.environ.get("UMLBENCH_CACHE")
    return Path(named) if named else Path(user_cache_dir("umlbench")) / "features"


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

    def get(
        self, encoder: Encoder, samples: Samples, *, dataset: str, split: str, verify: bool = False
    ) -> Features:
        """Read the features, after encoding what is missing; `verify` also checks every sha256.

        Of several processes that ask for one entry, one encodes and the others wait. Raises
        `StorageError` where the disk fails or an entry is damaged.
        """
        fields = self._fields(encoder, samples)
        name = Path(_safe(encoder.name)) / f"{_safe(dataset)}-{_safe(split).replace('-', '_')}"
        folder = self.root / name / fields.key
        if not (folder / "meta.json").exists():
            with _locked(self.root, fields.key):
                if not (folder / "meta.json").exists():
                    _Maker(folder, fields, encoder, samples, self.shard_size).make()
        if verify:
            _raise_first(folder, _problems(folder, deep=True))
        return _read(folder, samples)

    def _fields(self, encoder: Encoder, samples: Samples) -> KeyFields:
        return KeyFields(
            format=FORMAT, encoder=encoder.key(), dtype=self.dtype, samples=samples.fingerprint
        )


def entries(root: Path) -> list[Entry]:
    """Every entry below `root`, sorted by folder; file sizes are checked, contents are not."""
    return [_entry(folder, deep=False) for folder in _folders(root)]


def verify(root: Path) -> list[Problem]:
    """Read every finished entry and name each damaged or missing file."""
    return [
        Problem((folder / name).relative_to(root).as_posix(), what)
        for folder in _folders(root)
        if (folder / "meta.json").exists()
        for name, what in _problems(folder, deep=True)
    ]


def prune(
    root: Path,
    *,
    older_than: timedelta | None = None,
    everything: bool = False,
    dry_run: bool = False,
) -> Pruned:
    """Remove unfinished and damaged entries, those made before `older_than` ago, or `everything`.

    Contents are checked as `verify` does. An entry that another process is making is left alone.
    """
    limit = datetime.now(timezone.utc) - older_than if older_than is not None else None
    removed = []
    for folder in _folders(root):
        with _locked(root, folder.name, wait=False) as held:
            if not held:
                continue
            entry = _entry(folder, deep=not everything)
            old = limit is not None and entry.created < limit
            if everything or old or entry.state != "done":
                removed.append(entry)
                if not dry_run:
                    _remove(folder)
    return Pruned(tuple(removed))


# Making an entry


@dataclass(frozen=True)
class _Maker:
    """Encodes the missing shards of one entry, then writes the done mark; runs under its lock."""

    folder: Path
    fields: KeyFields
    encoder: Encoder
    samples: Samples
    shard_size: int

    def make(self) -> None:
        total = len(self.samples)
        if not total:
            raise UserError(f"{self.folder.parent.name} has no samples to encode")
        with _disk("write", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        manifest = _manifest(self.samples)
        _write(self.folder / "manifest.json", manifest)
        starts = range(0, total, self.shard_size)
        shards = [self.shard(number, start) for number, start in enumerate(starts)]
        meta = Meta(
            fields=self.fields,
            shape=(total, self.encoder.width),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            manifest_sha256=_sha256(manifest),
            shards=tuple(shards),
        )
        _write(self.folder / "meta.json", meta.sealed().model_dump_json(indent=1).encode())
        self.clear({"meta.json", "manifest.json", *(shard.file for shard in shards)})

    def shard(self, number: int, start: int) -> Shard:
        """From disk where an earlier run finished it, else encoded, written and marked."""
        rows = min(self.shard_size, len(self.samples) - start)
        path = self.folder / f"shard-{number:05d}.safetensors"
        finished = _finished(path)
        if finished and (finished.start, finished.rows) == (start, rows):
            return finished
        body = self.encode(start, rows)
        _write(path, body)
        shard = Shard(file=path.name, start=start, rows=rows, bytes=len(body), sha256=_sha256(body))
        _write(path.with_suffix(".json"), shard.model_dump_json().encode())
        return shard

    def encode(self, start: int, rows: int) -> bytes:
        """A safetensors file with `x` (rows, width); `UserError` for a row that is not finite."""
        import torch
        from safetensors.torch import save

        x = torch.from_numpy(self.encoder.encode(self.samples.items[start : start + rows]))
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

    def clear(self, keep: set[str]) -> None:
        """Remove shard marks and what a killed run left behind."""
        with _disk("write", self.folder):
            for path in self.folder.iterdir():
                if path.name not in keep:
                    path.unlink()


def _finished(path: Path) -> Shard | None:
    """The mark beside a shard, where shard and mark agree."""
    try:
        shard = Shard.model_validate_json(path.with_suffix(".json").read_bytes())
        intact = _sha256(path.read_bytes()) == shard.sha256 and shard.file == path.name
    except (OSError, ValidationError):
        return None
    return shard if intact else None


def _manifest(samples: Samples) -> bytes:
    return canonical_json({"ids": samples.ids, "labels": samples.labels.tolist()}).encode()


# Reading an entry


def _read(folder: Path, samples: Samples) -> Features:
    import torch

    meta = _meta(folder)
    with _disk("read", folder):
        manifest = (folder / "manifest.json").read_bytes()
    if manifest != _manifest(samples):
        raise _damaged(folder / "manifest.json", "lists other samples than its key says")
    x = torch.cat([_rows(folder / shard.file, shard.rows, meta) for shard in meta.shards])
    if x.shape != meta.shape:
        raise _damaged(folder / "meta.json", f"says {meta.shape}, its shards {tuple(x.shape)}")
    y = torch.from_numpy(samples.labels.copy())
    return Features(x, y, samples.ids, folder.name)


def _rows(path: Path, rows: int, meta: Meta) -> torch.Tensor:
    from safetensors import SafetensorError
    from safetensors.torch import load

    with _disk("read", path):
        body = path.read_bytes()
    try:
        x: torch.Tensor = load(body)["x"]
    except (SafetensorError, KeyError) as error:
        raise _damaged(path, "is not a safetensors file with rows") from error
    if x.shape != (rows, meta.shape[1]):
        raise _damaged(path, f"holds {tuple(x.shape)}, not {(rows, meta.shape[1])}")
    return x.float()


def _meta(folder: Path) -> Meta:
    """`meta.json`, checked against its own digest and the folder's name."""
    path = folder / "meta.json"
    with _disk("read", path):
        body = path.read_bytes()
    try:
        meta = Meta.model_validate_json(body)
    except ValidationError as error:
        raise _damaged(path, "is not a complete description") from error
    if not meta.intact or meta.fields.key != folder.name:
        raise _damaged(path, "differs from its own checksum")
    return meta


# Looking after the cache


def _folders(root: Path) -> list[Path]:
    with _disk("read", root):
        found = root.glob("*/*/*")
        return sorted(f for f in found if re.fullmatch(r"[0-9a-f]{32}", f.name) and f.is_dir())


def _entry(folder: Path, *, deep: bool) -> Entry:
    dataset, _, split = folder.parent.name.rpartition("-")
    with _disk("read", folder):
        files = [path.stat() for path in folder.iterdir()]
        touched = datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc)
    names = (folder.parent.parent.name, dataset, split, folder.name)
    size = sum(file.st_size for file in files)
    if not (folder / "meta.json").exists():
        return Entry(folder, *names, "partial", size, touched)
    if _problems(folder, deep=deep):
        return Entry(folder, *names, "broken", size, touched)
    meta = _meta(folder)
    created = datetime.fromisoformat(meta.created)
    return Entry(folder, *names, "done", size, created, *meta.shape, meta.fields.dtype)


def _problems(folder: Path, *, deep: bool) -> list[tuple[str, str]]:
    """(file, what is wrong) of a finished entry; sha256 of every file where `deep`."""
    try:
        meta = _meta(folder)
    except StorageError as error:
        return [("meta.json", error.message.removeprefix(f"{folder / 'meta.json'}: "))]
    found = [(shard.file, _shard_fault(folder, shard, deep)) for shard in meta.shards]
    found.append(("manifest.json", _manifest_fault(folder, meta, deep)))
    return [(name, what) for name, what in found if what]


def _shard_fault(folder: Path, shard: Shard, deep: bool) -> str:
    path = folder / shard.file
    if not path.is_file():
        return "is missing"
    if path.stat().st_size != shard.bytes:
        return f"has {path.stat().st_size} bytes, not {shard.bytes}"
    return _content_fault(path, shard.sha256) if deep else ""


def _manifest_fault(folder: Path, meta: Meta, deep: bool) -> str:
    path = folder / "manifest.json"
    if not path.is_file():
        return "is missing"
    return _content_fault(path, meta.manifest_sha256) if deep else ""


def _content_fault(path: Path, sha256: str) -> str:
    with _disk("read", path):
        return "" if _sha256(path.read_bytes()) == sha256 else "differs from its checksum"


def _remove(folder: Path) -> None:
    """The done mark first, so that a kill in between leaves a partial entry."""
    with _disk("remove", folder):
        (folder / "meta.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
    with suppress(OSError):  # not empty: other entries live there
        folder.parent.rmdir()
        folder.parent.parent.rmdir()


# Files


@contextmanager
def _locked(root: Path, key: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of `key`; yields False where another process has it and `wait` is off."""
    path = root / ".locks" / f"{key}.lock"
    lock = FileLock(path)
    with _disk("lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout):
            lock.acquire(timeout=-1 if wait else 0)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _write(path: Path, body: bytes) -> None:
    """Whole or not at all: a temporary name, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with _disk("write", path):
        try:
            with temporary.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _disk(action: str, path: Path) -> Iterator[None]:
    """An `OSError` inside becomes one clear line."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {action} {path}: {error.strerror or error}",
            "check free space and permissions, or set UMLBENCH_CACHE to another folder; "
            "what is finished is kept",
        ) from error


def _damaged(path: Path, what: str) -> StorageError:
    hint = "`umlbench cache prune` removes damaged entries; the next run makes them again"
    return StorageError(f"{path}: {what}", hint)


def _raise_first(folder: Path, problems: list[tuple[str, str]]) -> None:
    for name, what in problems:
        raise _damaged(folder / name, what)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _safe(name: str) -> str:
    """`name` as a folder's name: a hub id's slash becomes two dashes."""
    return re.sub(r"[^\w.-]+", "--", name).lstrip(".") or "unnamed"
