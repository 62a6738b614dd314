"""Files that are whole or absent, locks, and disk failures as one clear line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from umlbench.errors import StorageError


@contextmanager
def locked(root: Path, key: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of `key`; yields False where another process has it and `wait` is off."""
    path = root / ".locks" / f"{key}.lock"
    lock = FileLock(path)
    with disk("lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout):
            lock.acquire(timeout=-1 if wait else 0)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def write(path: Path, body: bytes) -> None:
    """Whole or not at all: a temporary name, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with disk("write", path):
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
def disk(action: str, path: Path) -> Iterator[None]:
    """An `OSError` inside becomes one clear line."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {action} {path}: {error.strerror or error}",
            "check free space and permissions, or set UMLBENCH_CACHE to another folder; "
            "what is finished is kept",
        ) from error


def damaged(path: Path, what: str) -> StorageError:
    """The error for a file of an entry that is not what it was."""
    hint = "`umlbench cache prune` removes damaged entries; the next run makes them again"
    return StorageError(f"{path}: {what}", hint)


def sha256(body: bytes) -> str:
    """The hex digest of `body`."""
    return hashlib.sha256(body).hexdigest()
