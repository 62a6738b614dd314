"""Sequences made by hand, whose classes a trunk can tell apart."""

from __future__ import annotations

import numpy as np

from umlbench.data.sequences import Sequences, SequenceSet

WIDTHS = {"vision": 4, "text": 6, "audio": 3}
SIZES = {"train": 20, "val": 10, "test": 12}


def sequences(
    count: int, width: int, seed: int, *, kind: str = "ragged", prefix: str = ""
) -> Sequences:
    """Samples of two classes; `kind`: ragged (0 to 7 steps), flat, or stepwise (a label a step)."""
    rng = np.random.default_rng(seed)
    lengths = np.ones(count, int) if kind == "flat" else rng.integers(1, 8, count)
    if kind == "ragged":
        lengths[-1] = 0  # an empty sample is a sample
    starts = np.concatenate([[0], np.cumsum(lengths)])
    labels = np.arange(count) % 2
    by_row = np.repeat(labels, lengths)
    if kind == "stepwise":
        labels = by_row = rng.integers(0, 2, starts[-1])
    values = rng.normal(size=(starts[-1], width)) + 1.5 * by_row[:, None]
    ids = tuple(f"{prefix}{row}" for row in range(count))
    return Sequences(values.astype(np.float32), starts, labels, ids, kind == "flat")


def sequence_set(
    *names: str, kind: str = "ragged", paired: bool = True, flat: tuple[str, ...] = ()
) -> SequenceSet:
    """A set of the modalities `names`, paired unless told otherwise; `flat` are single vectors."""
    splits = {
        split: {
            name: sequences(
                size,
                WIDTHS[name],
                10 * place + (0 if paired and kind == "stepwise" else len(name)),
                kind="flat" if name in flat else kind,
                prefix="" if paired else name,
            )
            for name in names or tuple(WIDTHS)
        }
        for place, (split, size) in enumerate(SIZES.items())
    }
    return SequenceSet("tiny", ("no", "yes"), splits, "fingerprint")
