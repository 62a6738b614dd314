"""Listing, verifying and pruning the cache."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from umlbench.errors import StorageError
from umlbench.features.files import disk, locked, sha256
from umlbench.features.layout import (
    Entry,
    Meta,
    Shard,
    checkpoints,
    is_checkpoint,
    read_meta,
)


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


def entries(root: Path) -> list[Entry]:
    """Every entry below `root`, sorted by folder; file sizes are checked, contents are not."""
    return [entry(folder) for folder in _folders(root)]


def verify(root: Path) -> list[Problem]:
    """Read every finished entry and name each damaged or missing file."""
    return [
        Problem((folder / name).relative_to(root).as_posix(), what)
        for folder in _folders(root)
        if (folder / "meta.json").exists()
        for name, what in problems(folder, deep=True)
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
        with locked(root, folder.name, wait=False) as held:
            if not held:
                continue
            found = entry(folder, deep=not everything)
            old = limit is not None and found.created < limit
            if everything or old or found.state != "done":
                removed.append(found)
                if not dry_run:
                    _remove(folder)
    return Pruned(tuple(removed))


def entry(folder: Path, *, deep: bool = False) -> Entry:
    """What one entry's folder holds; contents are checked where `deep`.

    The checkpoint of a job counts as one that is not finished, without a data set.
    """
    dataset, _, split = folder.parent.name.rpartition("-")
    with disk("read", folder):
        files = [path.stat() for path in folder.iterdir()]
        touched = datetime.fromtimestamp(folder.stat().st_mtime, timezone.utc)
    names = (folder.parent.parent.name, dataset, split, folder.name)
    if is_checkpoint(folder):
        names = (folder.parent.name, "", "", folder.name)
    size = sum(file.st_size for file in files)
    if not (folder / "meta.json").exists():
        return Entry(folder, *names, "partial", size, touched)
    if problems(folder, deep=deep):
        return Entry(folder, *names, "broken", size, touched)
    meta = read_meta(folder)
    created = datetime.fromisoformat(meta.created)
    shape = (*meta.shape, meta.fields.dtype, meta.tokens)
    return Entry(folder, *names, "done", size, created, *shape)


def problems(folder: Path, *, deep: bool) -> list[tuple[str, str]]:
    """(file, what is wrong) of a finished entry; sha256 of every file where `deep`."""
    try:
        meta = read_meta(folder)
    except StorageError as error:
        return [("meta.json", error.message.removeprefix(f"{folder / 'meta.json'}: "))]
    found = [(shard.file, _shard_fault(folder, shard, deep)) for shard in meta.shards]
    found.append(("manifest.json", _manifest_fault(folder, meta, deep)))
    return [(name, what) for name, what in found if what]


def _folders(root: Path) -> list[Path]:
    with disk("read", root):
        found = [f for f in root.glob("*/*/*") if re.fullmatch(r"[0-9a-f]{32}", f.name)]
        found += checkpoints(root).glob("*")
        return sorted(f for f in found if f.is_dir())


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


def _content_fault(path: Path, expected: str) -> str:
    with disk("read", path):
        return "" if sha256(path.read_bytes()) == expected else "differs from its checksum"


def _remove(folder: Path) -> None:
    """The done mark first, so that a kill in between leaves a partial entry."""
    with disk("remove", folder):
        (folder / "meta.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
    with suppress(OSError):  # not empty: other entries live there
        folder.parent.rmdir()
        folder.parent.parent.rmdir()
