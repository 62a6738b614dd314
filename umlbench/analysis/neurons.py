"""Multimodal neurons (section 4.5, appendix F.1): what a neuron says of two modalities at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Correlations:
    """Pearson's r of every neuron (z,): over all samples, and within each label."""

    overall: NDArray[np.float64]
    within: Mapping[int, NDArray[np.float64]]


def correlations(x: Array, y: Array, labels: Array) -> Correlations:
    """Of two pathways' embeddings x and y (N, z) of the same samples, with labels (N,).

    Where a neuron does not vary, r is undefined and 0 here, as in the paper.
    """
    each = {int(label): labels == label for label in np.unique(labels)}
    within = {label: pearson(x[rows], y[rows]) for label, rows in each.items()}
    return Correlations(pearson(x, y), within)


def pearson(x: Array, y: Array) -> NDArray[np.float64]:
    """r of every column of x and y (N, z), computed in float64; 0 where it is undefined."""
    varies = (np.ptp(x, axis=0) > 0) & (np.ptp(y, axis=0) > 0)
    a, b = (v.astype(np.float64) - v.mean(axis=0, dtype=np.float64) for v in (x, y))
    size = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    defined = varies & (size > 0)
    found = (a * b).sum(0) / np.where(defined, size, 1)
    return np.where(defined, np.clip(found, -1, 1), 0.0)
