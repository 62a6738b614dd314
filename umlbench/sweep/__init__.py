"""Trains many heads at once: the grid points, seeds and methods of a table on frozen features.

Every trial is one shared, bias-free head W (C, T). A modality of width D_m reaches it through a
bias-free projection P_m (T, D_m) of its own, or directly where the widths agree, and has its own
logit scale. There is one target and any number of auxiliary modalities (none: unimodal). The loss
is the target's cross-entropy plus the weighted cross-entropies of the auxiliary modalities, each a
mean over a batch of its own (Algorithm 2 of the paper); the optimizer is AdamW.
"""

from umlbench.sweep.engine import engines, train
from umlbench.sweep.order import Order, Replay, Shuffled
from umlbench.sweep.progress import Keep
from umlbench.sweep.schedule import Schedule, learning_rate
from umlbench.sweep.trial import Engine, Samples, Stream, Trial, TrialResult, Weights

__all__ = [
    "Engine",
    "Keep",
    "Order",
    "Replay",
    "Samples",
    "Schedule",
    "Shuffled",
    "Stream",
    "Trial",
    "TrialResult",
    "Weights",
    "engines",
    "learning_rate",
    "train",
]
