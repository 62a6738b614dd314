from __future__ import annotations

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

    def trial(self, seed: int = 0, **fields: Any) -> Trial:
        """A trial with two modalities unless `auxiliary` says how many."""
        sets, auxiliary = self.sets[seed], fields.pop("auxiliary", 1)
        batch, number = fields.pop("batch", 8), fields.pop("number", 0)
        generator = torch.Generator().manual_seed(number)
        values: dict[str, Any] = {
            "target": Stream(sets["image"], Shuffled(30, batch, seed)),
            "auxiliary": tuple(
                Stream(sets["text"], Shuffled(60, batch, 7 + m), 0.5 + m) for m in range(auxiliary)
            ),
            "val": sets["val"],
            "test": sets["test"],
            "head": linear_init(self.classes, self.width, generator),
            "projection": linear_init(self.width, self.target_width, generator),
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
    return Problem([{name: draw(*size) for name, size in sizes.items()} for _ in range(2)])
