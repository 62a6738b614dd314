"""Samples: what one split of a data set holds, in order, and the fingerprint that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umlbench.errors import UserError
from umlbench.seeds import digest


def content_digest(item: Any) -> str:
    """The sha256 (hex) of one payload: a text, or an array with its dtype and shape."""
    if isinstance(item, str):
        kind, body = "text", item.encode()
    elif isinstance(item, np.ndarray):
        array = np.ascontiguousarray(item, dtype=item.dtype.newbyteorder("<"))
        kind, body = f"{array.dtype.str}{item.shape}", array.tobytes()
    else:
        raise TypeError(f"no content digest for a payload of type {type(item).__name__}")
    return hashlib.sha256(f"{kind}\0".encode() + body).hexdigest()


def content_digests(items: Sequence[Any]) -> tuple[str, ...]:
    """`content_digest` of each payload."""
    return tuple(content_digest(item) for item in items)


@dataclass(frozen=True, eq=False)
class Samples:
    """Ordered samples: unique `ids`, `labels` (n,) int64 and one payload each in `items`.

    `digests` computes the contents; photos, whose payloads are paths, bring their own.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    items: Sequence[Any]
    digests: Callable[[Sequence[Any]], Sequence[str]] = field(default=content_digests, repr=False)

    def __post_init__(self) -> None:
        """Check and freeze; raises `UserError` where the three do not belong together."""
        labels = np.array(self.labels)  # a copy: the caller's array stays writable
        if labels.shape != (len(self.ids),) or len(self.items) != len(self.ids):
            shapes = f"{len(self.ids)} ids, labels of shape {labels.shape}, {len(self.items)} items"
            raise UserError(f"samples do not belong together: {shapes}")
        if labels.size and not np.issubdtype(labels.dtype, np.integer):
            raise UserError(f"labels must be integers, not {labels.dtype}")
        labels = labels.astype(np.int64)
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "ids", _unique(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def content(self) -> tuple[str, ...]:
        """One sha256 (hex) per payload, computed on first use."""
        return tuple(self.digests(self.items))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of ids, labels and contents in their order."""
        return digest([self.ids, self.labels.tolist(), self.content], length=32)

    def select(self, indices: Sequence[int]) -> Samples:
        """The samples at `indices`, in that order; an index may occur once only."""
        rows = [int(i) for i in indices]
        ids, items = [self.ids[i] for i in rows], [self.items[i] for i in rows]
        labels = self.labels[np.asarray(rows, dtype=np.intp)]
        return Samples(tuple(ids), labels, items, self.digests)


def _unique(ids: Sequence[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise UserError(f"sample id '{name}' occurs twice")
        seen.add(name)
    return tuple(ids)
