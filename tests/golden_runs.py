"""The official code's runs (tests/golden/README.md), as trials of the sweep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from umlbench.sweep import Replay, Samples, Stream, Trial

GOLDEN = Path(__file__).parent / "golden"
METHODS = ("unimodal", "crossmodal_random", "crossmodal_zeroshot")
CONFIGS = tuple(f"c{n}" for n in range(8))
C7_EQUAL = {"unimodal": 301, "crossmodal_random": 36, "crossmodal_zeroshot": 52}


def trial_of(golden, method: str, run: dict, data: str, batches: str) -> Trial:
    size = run["bs"]
    unimodal = method == "unimodal"
    projection = None if unimodal else golden.tensor(f"A2_init/{method}__img_proj.weight")

    def stream(name: str, order: str, **fields: Any) -> Stream:
        rows = Replay(golden.tensor(f"{batches}/{order}_bs{size}"))
        return Stream(golden.samples(data, name), rows, **fields)

    return Trial(
        target=stream("img_train", "img", projection=projection),
        auxiliary=() if unimodal else (stream("text", "txt", weight=run["alpha"]),),
        val=golden.samples(data, "val"),
        test=golden.samples(data, "test"),
        head=golden.tensor(f"A2_init/{method}__head.weight"),
        learning_rate=run["lr"],
        weight_decay=run["wd"],
        learnable_scale=run["learnable_temp"],
        cosine_iterations=run["sched_max_iter"],
    )


@dataclass(frozen=True)
class Golden:
    arrays: Any
    plain: dict[str, Any]

    def tensor(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key])

    def samples(self, data: str, name: str) -> Samples:
        return Samples(self.tensor(f"{data}/{name}_x"), self.tensor(f"{data}/{name}_y"))

    @classmethod
    def read(cls) -> Golden:
        arrays = dict(np.load(GOLDEN / "sweep.npz"))
        return cls(arrays, json.loads((GOLDEN / "sweep.json").read_text()))


def losses_of(arrays, prefix: str) -> np.ndarray:
    names = [f"{prefix}__{m}_loss" for m in ("img", "txt")]
    return np.stack([arrays[name] for name in names if name in arrays], 1)
