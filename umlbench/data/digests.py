"""sha256 of photos, remembered: a second plan must not read 150 GB again.

One small sqlite file per image folder lies in the cache. A digest is used again while the file's
size and time of change (nanoseconds) are what they were. The memory is a convenience: where it
cannot be read or written, files are read instead.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from umlbench.errors import MissingInput

CHUNK = 500  # files between two writes: the most that an interruption costs

Stamp = tuple[str, int, int]  # path below the folder, bytes, mtime in nanoseconds

_TABLE = (
    "CREATE TABLE IF NOT EXISTS digests "
    "(path TEXT PRIMARY KEY, bytes INTEGER, mtime_ns INTEGER, sha256 TEXT)"
)
_KNOWN = (
    "SELECT path, bytes, mtime_ns, sha256 FROM digests "
    "WHERE path IN (SELECT value FROM json_each(?))"
)


@dataclass(frozen=True)
class FileDigests:
    """Digests of the files below `folder`, remembered below `cache`."""

    folder: Path
    cache: Path

    @property
    def file(self) -> Path:
        """The memory of this folder; two folders never share one."""
        place = hashlib.sha256(os.fsencode(self.folder.resolve())).hexdigest()
        return self.cache / "digests" / f"{place[:16]}.sqlite"

    def __call__(self, items: Sequence[Path]) -> tuple[str, ...]:
        """One sha256 (hex) a file, in order; `MissingInput` for one that cannot be read."""
        with self._memory() as memory, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            found: list[str] = []
            for start in range(0, len(items), CHUNK):
                chunk = items[start : start + CHUNK]
                stamps = [self._stamp(path) for path in chunk]
                known = memory.recall(stamps)
                fresh = [(s, p) for s, p in zip(stamps, chunk, strict=True) if s not in known]
                hashed = pool.map(_sha256, [path for _, path in fresh])
                new = {stamp: value for (stamp, _), value in zip(fresh, hashed, strict=True)}
                memory.keep(new)
                found += [known.get(stamp) or new[stamp] for stamp in stamps]
        return tuple(found)

    def _stamp(self, path: Path) -> Stamp:
        with _readable(path):
            state = path.stat()
        return path.relative_to(self.folder).as_posix(), state.st_size, state.st_mtime_ns

    @contextmanager
    def _memory(self) -> Iterator[_Memory]:
        """The open sqlite file, or a memory that forgets."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            connection = _open(self.file)
        except (OSError, sqlite3.Error):
            yield _Memory(None)
            return
        with closing(connection):
            yield _Memory(connection)


@dataclass(frozen=True)
class _Memory:
    """What a chunk of files had; every failure of the disk or the file is an empty answer."""

    connection: sqlite3.Connection | None

    def recall(self, stamps: Sequence[Stamp]) -> dict[Stamp, str]:
        """The digests of those files that have not changed."""
        if self.connection is None:
            return {}
        paths = json.dumps([path for path, _, _ in stamps])
        try:
            rows = self.connection.execute(_KNOWN, [paths]).fetchall()
        except sqlite3.Error:
            return {}
        wanted = set(stamps)
        found = {(path, size, mtime): value for path, size, mtime, value in rows}
        return {stamp: value for stamp, value in found.items() if stamp in wanted}

    def keep(self, digests: dict[Stamp, str]) -> None:
        """Remember them."""
        if self.connection is None or not digests:
            return
        rows = [(*stamp, value) for stamp, value in digests.items()]
        try:
            with self.connection:
                self.connection.executemany("REPLACE INTO digests VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error:
            return


def _open(file: Path) -> sqlite3.Connection:
    """Connect; a file that is no database any more is made anew."""
    try:
        return _connect(file)
    except sqlite3.OperationalError:  # locked or not writable: not ours to remove
        raise
    except sqlite3.DatabaseError:
        file.unlink()
        return _connect(file)


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=30)
    try:
        connection.execute(_TABLE)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with _readable(path), path.open("rb") as file:
        while block := file.read(2**22):  # weights may not fit into memory
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MissingInput(
            f"cannot read {path}: {error.strerror or error}", "mend or fetch that file again"
        ) from error
