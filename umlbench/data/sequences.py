"""Sequences of vectors: what a trunk reads of one modality, and the sets that hold several.

A modality brings its own samples, labels and ids, for auxiliary samples need not belong to the
target's. Where two modalities of a split have the same ids they are paired in the file: training
shuffles each by itself, and only a probe on both (`score_xy`) makes use of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol as Interface
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from umlbench.errors import UserError


class Rows(Interface):
    """Vectors (rows, width) that are sliced: an array, or one whose rows stay on disk until then.

    `np.asarray` makes an array of either.
    """

    @property
    def ndim(self) -> int:
        """Two."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, width)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]: ...


@dataclass(frozen=True, eq=False)
class Sequences:
    """The samples of one modality in one split.

    `values` (rows, width), float32 and perhaps on disk, holds all samples one after the other:
    sample i is rows starts[i] to starts[i + 1] (starts: (N + 1,) int64). `labels` has one
    class a sample (N,), or one a row (rows,) where every step is to be classified. `flat`: the
    samples are single vectors and no sequences (N rows; MIMIC's static features). `notices` say
    what was left out or mended on reading. Raises `UserError` where these do not fit each other.
    """

    values: Rows
    starts: NDArray[np.int64]
    labels: NDArray[np.int64]
    ids: tuple[str, ...]
    flat: bool = False
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.values)
        lengths = np.diff(self.starts)
        fits = (
            self.values.ndim == 2
            and len(self.starts) == len(self.ids) + 1
            and self.starts[0] == 0
            and self.starts[-1] == rows
            and (lengths >= 0).all()
            and self.labels.shape in {(len(self.ids),), (rows,)}
        )
        if not fits:
            raise UserError(
                f"sequences with values {self.values.shape}, {len(self.starts)} starts, labels "
                f"{self.labels.shape} and {len(self.ids)} ids",
                "values are (rows, width), starts go from 0 to rows, one id a sample, and labels "
                "one a sample or one a row",
            )
        if self.flat and (lengths != 1).any():
            raise UserError(f"{rows} rows for {len(self)} flat samples", "one row a sample")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def width(self) -> int:
        """Of a vector."""
        return int(self.values.shape[1])

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of every sample (N,)."""
        return np.diff(self.starts)

    @property
    def per_step(self) -> bool:
        """Whether every step has its label, and not every sample."""
        return not self.flat and self.labels.shape != (len(self),)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Sequences:
        """Samples `rows`, in that order, with a copy of their values."""
        rows = np.asarray(rows, np.int64)
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        steps = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], lengths)
        labels = self.labels[steps if self.per_step else rows]
        ids = tuple(self.ids[row] for row in rows)
        return Sequences(self.values[steps], starts, labels, ids, self.flat, self.notices)

    def padded(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Samples `rows` as (B, T, width), zeros at the end up to the longest of them."""
        lengths = self.lengths[rows]
        found = np.zeros((len(lengths), int(lengths.max(initial=0)), self.width), np.float32)
        for place, row in enumerate(rows):
            found[place, : lengths[place]] = self.values[self.starts[row] : self.starts[row + 1]]
        return found


Splits: TypeAlias = Mapping[str, Mapping[str, Sequences]]


@dataclass(frozen=True, eq=False)
class SequenceSet:
    """A data set of sequences: `splits[split][modality]` for train, val and test.

    `splits` may read its file on first use, so that planning does not unpickle gigabytes.
    """

    name: str
    classes: tuple[str, ...]
    splits: Splits
    fingerprint: str

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, as the training split has them."""
        return tuple(self.splits["train"])

    @property
    def notices(self) -> tuple[str, ...]:
        """What was left out or mended of each split, for those who report figures on it."""
        found = (
            f"{split}: {line}"
            for split, modalities in self.splits.items()
            for sequences in modalities.values()
            for line in sequences.notices
        )
        return tuple(dict.fromkeys(found))

    def paired(self, split: str, *modalities: str) -> bool:
        """Whether the samples of a split belong to each other across modalities."""
        ids = [self.splits[split][name].ids for name in modalities]
        return all(other == ids[0] for other in ids)
