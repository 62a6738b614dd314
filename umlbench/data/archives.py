"""A file that may lie in a folder or inside a .tar.gz beside it. Nothing is ever unpacked."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from umlbench.errors import MissingInput


@dataclass(frozen=True)
class Spot:
    """Where to look: a file, or a `member` of the archive at `path`."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path} ({self.member})" if self.member else str(self.path)

    def read(self) -> bytes | None:
        """The bytes, None where it is not there; `MissingInput` for a damaged archive."""
        if not self.path.is_file():
            return None
        try:
            return _member(self.path, self.member) if self.member else self.path.read_bytes()
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise MissingInput(f"cannot read {self}: {error}", "fetch that file again") from error


def first(spots: Sequence[Spot]) -> tuple[Spot, bytes] | None:
    """The first of `spots` that is there, with its bytes."""
    for spot in spots:
        body = spot.read()
        if body is not None:
            return spot, body
    return None


def _member(archive: Path, name: str) -> bytes | None:
    """The regular file `name`; links and other members are passed over unread."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if member.isreg() and member.name.removeprefix("./") == name:
                stream = tar.extractfile(member)
                return stream.read() if stream else None
    return None
