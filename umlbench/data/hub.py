"""Copies of the data sets on the Hugging Face hub: pinned facts, and which photos they share.

The paper's splits are CoOp's JSON files over the original folders. A hub copy serves only where a
photo's file name still leads to the same photo of the split; `match` finds those.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class HubCopy:
    """A hub data set at one full revision; `note` says how it differs from the original folder."""

    id: str
    revision: str
    note: str = ""


@dataclass(frozen=True)
class Match:
    """`rows[id]` is the hub row of a split's photo; `missing` are the photos without one."""

    rows: dict[str, int]
    missing: tuple[str, ...]


def match(names: Sequence[str], ids: Iterable[str]) -> Match:
    """Pair the file names of a hub copy with the ids of a split, extensions aside.

    A name stands for an id when the end of its path (file, then folders) fits that id and no
    other. Two rows of one photo are not told apart, so that photo counts as missing.
    """
    wanted = list(ids)
    by_tail = _by_tail(wanted)
    found: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        target = _target(name, by_tail)
        if target is not None:
            found[target].append(row)
    rows = {name: found[name][0] for name in wanted if len(found[name]) == 1}
    return Match(rows, tuple(name for name in wanted if name not in rows))


Tail = tuple[str, ...]


def _by_tail(ids: Sequence[str]) -> dict[Tail, list[str]]:
    """Every end of every id's path, to the ids that have it."""
    found: dict[Tail, list[str]] = defaultdict(list)
    for name in ids:
        for tail in _tails(name):
            found[tail].append(name)
    return found


def _target(name: str, by_tail: dict[Tail, list[str]]) -> str | None:
    """The id that the longest known end of `name` leads to, where it is one id."""
    for tail in _tails(name):
        if tail in by_tail:
            ids = by_tail[tail]
            return ids[0] if len(ids) == 1 else None
    return None


def _tails(name: str) -> list[Tail]:
    """Ends of a path without its extension, longest first."""
    parts = PurePosixPath(name).with_suffix("").parts
    return [parts[start:] for start in range(len(parts))]
