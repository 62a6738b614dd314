"""Few-shot draws: which images and which sentences a training may see.

The image draw is the field's published one (CoOp splits, the index files of cross-modal
adaptation): it is reproduced bit for bit, so it takes its numbers from `random.Random(seed)`
and not from a stream of ours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from umlbench.errors import UserError
from umlbench.seeds import numpy_stream

VAL_SHOTS = 4  # the published draws keep at most this many validation images a class


@dataclass(frozen=True)
class FewShot:
    """Row numbers into the full training and validation splits, in the order drawn."""

    train: tuple[int, ...]
    val: tuple[int, ...]


def few_shot(
    train_labels: ArrayLike, val_labels: ArrayLike, *, shots: int | None, seed: int
) -> FewShot:
    """`shots` training and min(4, `shots`) validation rows a class (protocol of CoOp).

    One generator seeded with `seed` serves the training split first, then the validation split.
    A class that has fewer rows gives all of them. `shots=None` is the full data, as it is.
    """
    train, val = np.asarray(train_labels), np.asarray(val_labels)
    if shots is None:
        return FewShot(tuple(range(len(train))), tuple(range(len(val))))
    _check_shots(shots)
    generator = random.Random(seed)  # noqa: S311 - the published draws come from this generator
    drawn = _draw(train, shots, generator)
    return FewShot(drawn, _draw(val, min(VAL_SHOTS, shots), generator))


def text_rows(labels: ArrayLike, *, shots: int | None, seed: int) -> tuple[int, ...]:
    """min(`shots`, available) rows a class, classes in sorted order; `None` keeps all rows.

    At one seed, the rows of a smaller number of shots are among those of a larger one, so a curve
    over text shots adds sentences and never swaps them.
    """
    values = np.asarray(labels)
    if shots is None:
        return tuple(range(len(values)))
    _check_shots(shots)
    stream = numpy_stream("texts", seed)
    orders = [stream.permutation(np.flatnonzero(values == label)) for label in np.unique(values)]
    return tuple(int(row) for order in orders for row in order[:shots])


def _draw(labels: NDArray[np.int64], shots: int, generator: random.Random) -> tuple[int, ...]:
    """The published rule: classes in order of first appearance, one `sample` each."""
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        rows.setdefault(label, []).append(row)
    drawn = (_sample(members, shots, generator) for members in rows.values())
    return tuple(row for members in drawn for row in members)


def _sample(members: list[int], shots: int, generator: random.Random) -> Sequence[int]:
    return generator.sample(members, shots) if len(members) >= shots else members


def _check_shots(shots: int) -> None:
    if shots < 1:
        raise UserError(f"shots must be at least 1, not {shots}", "leave shots out for all data")
