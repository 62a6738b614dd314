from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from umlbench.models.head import linear_init
from umlbench.sweep import Samples, Shuffled, Stream, Trial

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"


@pytest.fixture(scope="session")
def reference() -> Path:
    if not REFERENCE.is_dir():
        pytest.skip("the full reference numbers are not beside the checkout")
    return REFERENCE


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small products lose by threads, and on one thread results are equal to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Problem:
    """Two seeds of a small data set whose texts help, with class means in common."""

    sets: list[dict[str, Samples]]
    classes: int = 5
    width: int = 12
    target_width: int = 8
    audio_width: int = 6

    def trial(self, seed: int = 0, auxiliary: Sequence[str] = ("text",), **fields: Any) -> Trial:
        """A trial of images with these auxiliary modalities: "text", "audio".

        Images and audio are narrower than the head and have projections; audio has half batches.
        """
        sets = self.sets[seed]
        batch, number = fields.pop("batch", 8), fields.pop("number", 0)
        generator = torch.Generator().manual_seed(number)
        head = linear_init(self.classes, self.width, generator)
        projections = {
            name: linear_init(self.width, width, generator)
            for name, width in (("image", self.target_width), ("audio", self.audio_width))
        }

        def stream(name: str, m: int) -> Stream:
            size = -(-batch // 2) if name == "audio" else batch
            order = Shuffled(len(sets[name]), size, 7 + m)
            return Stream(sets[name], order, 0.5 + m, projections.get(name))

        order = Shuffled(30, batch, seed)
        values: dict[str, Any] = {
            "target": Stream(sets["image"], order, projection=projections["image"]),
            "auxiliary": tuple(stream(name, m) for m, name in enumerate(auxiliary)),
            "val": sets["val"],
            "test": sets["test"],
            "head": head,
            "learning_rate": 1e-2,
            "weight_decay": 0.01,
        }
        return Trial(**(values | fields))


@pytest.fixture(scope="session")
def problem() -> Problem:
    generator = torch.Generator().manual_seed(0)
    means = {width: torch.randn(5, width, generator=generator) for width in (8, 12)}

    def draw(count: int, width: int) -> Samples:
        y = torch.randint(0, 5, (count,), generator=generator)
        return Samples(means[width][y] + torch.randn(count, width, generator=generator) * 1.5, y)

    sizes = {"image": (30, 8), "text": (60, 12), "val": (20, 8), "test": (50, 8)}
    sets = [{name: draw(*size) for name, size in sizes.items()} for _ in range(2)]
    means[6] = torch.randn(5, 6, generator=generator)
    return Problem([{**one, "audio": draw(25, 6)} for one in sets])
