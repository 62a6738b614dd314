"""The correlations of figures 10, 11 and 40: each neuron's two pathways, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umlbench.analysis.neurons import Correlations, correlations
from umlbench.data.layout import SPLITS
from umlbench.data.sequences import SequenceSet
from umlbench.errors import UserError
from umlbench.jobs import Curve
from umlbench.models.trunk import SharedTrunk
from umlbench.protocols.self_supervised.probe import are_paired, embed
from umlbench.protocols.self_supervised.settings import Settings

KEPT = 7  # neurons at either end whose curves are kept; the paper shows seven and three


@dataclass
class Neurons:
    """Grows by one point an epoch; the untrained trunk is epoch 0.

    Raises `UserError` where the modalities' samples do not belong to each other.
    """

    trunk: SharedTrunk
    found: SequenceSet
    settings: Settings
    device: str
    epochs: list[dict[str, Correlations]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not are_paired(self.found, self.settings):
            what = f"{self.settings.dataset}: {', '.join(self.settings.modalities)} are not paired"
            raise UserError(what, "`neurons` correlates the modalities of one sample")

    def watch(self, epoch: int) -> None:
        """Correlate the target's embeddings with each auxiliary's, over all splits."""
        each = [self._embeddings(name) for name in self.settings.modalities]
        labels = np.concatenate([y for _, y in each[0]])
        target, *others = (np.concatenate([x for x, _ in one]) for one in each)
        named = zip(self.settings.others, others, strict=True)
        self.epochs[epoch:] = [{name: correlations(target, x, labels) for name, x in named}]

    def _embeddings(self, name: str) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        splits = [self.found.splits[split][name] for split in SPLITS]
        found = [embed(self.trunk, name, one, self.settings, self.device) for one in splits]
        return [(one.x, one.y) for one in found]

    @property
    def metrics(self) -> dict[str, float]:
        """The largest |r| of any neuron, untrained and at the end."""
        first, last = (
            max(float(np.abs(one.overall).max()) for one in self.epochs[epoch].values())
            for epoch in (0, -1)
        )
        return {"untrained_correlation": first, "correlation": last}

    @property
    def curves(self) -> tuple[Curve, ...]:
        """By epoch, the neurons whose r is largest and smallest at the end.

        `text/90` is neuron 90 of the target and text over all samples, `text/90/CLASS` within one.
        """
        values: dict[str, tuple[float, ...]] = {}
        for name, last in self.epochs[-1].items():
            order = np.argsort(-last.overall, kind="stable")
            for neuron in dict.fromkeys([*order[:KEPT].tolist(), *order[-KEPT:].tolist()]):
                values |= self._curve(name, neuron, last)
        points = tuple(float(epoch) for epoch in range(len(self.epochs)))
        return (Curve("epoch", points, values),)

    def _curve(self, name: str, neuron: int, like: Correlations) -> Mapping[str, tuple[float, ...]]:
        at = [epoch[name] for epoch in self.epochs]
        found = {f"{name}/{neuron}": tuple(float(one.overall[neuron]) for one in at)}
        for label in like.within:
            key = f"{name}/{neuron}/{self.found.classes[label]}"
            found[key] = tuple(float(one.within[label][neuron]) for one in at)
        return found
