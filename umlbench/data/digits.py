"""`digits`: the 8x8 handwritten digits that scikit-learn brings along, and sentences about them.

The one data set that is always there: every test, the first figures and a newcomer's first run
use it. Images are X, the sentences of digits.yaml are Y; nothing pairs one with the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from umlbench.data.corpora import Corpus
from umlbench.data.dataset import Dataset
from umlbench.data.samples import Samples
from umlbench.seeds import numpy_stream

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHARES = {"train": 0.5, "val": 0.2}  # of each class, as in CoOp's random splits; test: the rest
CORPORA = {"descriptions": "digits.yaml"}


def load() -> Dataset:
    """1797 images, (8, 8) uint8 grey values 0..16, in one fixed stratified 50/20/30 split."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    images, labels = bundle.images.astype(np.uint8), bundle.target
    ids = tuple(f"{row:04d}" for row in range(len(labels)))
    samples = Samples(ids, labels, images)
    splits = {name: samples.select(rows) for name, rows in _split(labels).items()}
    return Dataset("digits", CLASSES, splits)


def texts(corpus: str) -> Corpus:
    """The sentences, class by class; ids like `three/07`, labels index `CLASSES`."""
    file = Path(__file__).with_name(CORPORA[corpus])
    sentences = yaml.safe_load(file.read_text(encoding="utf-8"))
    rows = [
        (f"{name}/{number:02d}", label, sentence)
        for label, name in enumerate(CLASSES)
        for number, sentence in enumerate(sentences[name])
    ]
    ids, labels, items = zip(*rows, strict=True)
    return Corpus(ids, np.asarray(labels), items)


def _split(labels: NDArray[np.int64]) -> dict[str, Sequence[int]]:
    """Row numbers of each split, ascending; the draw is fixed and knows no recipe's seed."""
    stream = numpy_stream("split", 0, dataset="digits")
    parts: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for label in range(len(CLASSES)):
        rows = stream.permutation(np.flatnonzero(labels == label)).tolist()
        for name, share in SHARES.items():
            count = round(share * int((labels == label).sum()))
            parts[name] += rows[:count]
            rows = rows[count:]
        parts["test"] += rows
    return {name: sorted(rows) for name, rows in parts.items()}
