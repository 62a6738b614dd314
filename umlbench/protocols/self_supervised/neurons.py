"""The correlations of figures 10, 11 and 40: each neuron's two pathways, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umlbench.analysis.neurons import Correlations, correlations
from umlbench.data.layout import SPLITS
from umlbench.data.sequences import SequenceSet
from umlbench.errors import UserError, unknown
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
            raise UserError(what, "`samples` correlates the modalities of one sample")

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

    def metrics(self, samples: str) -> dict[str, float]:
        """The last point of the curve, and the largest |r| of any neuron before training."""
        untrained = max(float(np.abs(r).max()) for r in self._over(samples, self.epochs[0]))
        return {"correlation": self.curve(samples).values["correlation"][-1]} | {
            "untrained_correlation": untrained
        }

    def curve(self, samples: str) -> Curve:
        """By epoch, r over `samples` ("all" or a class): the mean of the strongest neurons, each.

        Strongest are those whose r over all samples is largest at the end, as in the paper:
        `text/90` is neuron 90 of the target and text. Those whose r is smallest follow them.
        """
        values: dict[str, tuple[float, ...]] = {}
        strongest = []
        by_epoch = [self._over(samples, epoch) for epoch in self.epochs]
        for number, (name, last) in enumerate(self.epochs[-1].items()):
            r = np.array([each[number] for each in by_epoch])  # (epochs, z)
            order = np.argsort(-last.overall, kind="stable").tolist()
            strongest.append(r[:, order[:KEPT]].mean(1))
            for neuron in dict.fromkeys([*order[:KEPT], *order[-KEPT:]]):
                values[f"{name}/{neuron}"] = tuple(r[:, neuron].tolist())
        points = tuple(float(epoch) for epoch in range(len(self.epochs)))
        mean = tuple(np.mean(strongest, axis=0).tolist())
        return Curve("epoch", points, {"correlation": mean, **values})

    def _over(self, samples: str, epoch: Mapping[str, Correlations]) -> list[NDArray[np.float64]]:
        """r of every neuron (z,), for each auxiliary; `UserError` for an unknown class."""
        if samples == "all":
            return [one.overall for one in epoch.values()]
        if samples not in self.found.classes:
            known = ("all", *self.found.classes)
            raise unknown(f"samples of {self.settings.dataset}", samples, known)
        label = self.found.classes.index(samples)
        return [one.within[label] for one in epoch.values()]
