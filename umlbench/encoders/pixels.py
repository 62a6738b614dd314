"""`pixels`: the grey values of a small picture, scaled to 0..1; the encoder of `digits`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders.batches import Tick, no_tick
from umlbench.errors import UserError

if TYPE_CHECKING:
    from sklearn.preprocessing import MinMaxScaler

    from umlbench.encoders import Encoder, Modality, Setup

SHAPE = (8, 8)
WHITE = 16  # the largest grey value of scikit-learn's digits


@dataclass(frozen=True)
class Pixels:
    """Pictures (8, 8) with values 0..16, flattened to (64,) with values 0..1."""

    name: str = "pixels"
    modality: Modality = "image"
    width: int = SHAPE[0] * SHAPE[1]

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`; `revision` rises when this module's rows change."""
        return {"library": "scikit-learn", "name": self.name, "revision": 1, "white": WHITE}

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> NDArray[np.float32]:
        """(n, 64) float32; `UserError` for a picture of another shape."""
        for item in items:
            if np.shape(item) != SHAPE:
                raise UserError(f"encoder 'pixels' reads pictures {SHAPE}, not {np.shape(item)}")
        rows = np.asarray(items, dtype=np.float64).reshape(-1, self.width)
        scaled = self._scaler.transform(rows) if len(rows) else rows
        tick(len(items))
        return np.asarray(scaled, dtype=np.float32)

    @cached_property
    def _scaler(self) -> MinMaxScaler:
        """Fitted on black and white, not on data: a picture's row is its own."""
        from sklearn.preprocessing import MinMaxScaler

        return MinMaxScaler().fit([[0] * self.width, [WHITE] * self.width])


def build(setup: Setup) -> Encoder:
    """Runs on the CPU whatever the device; needs no corpus."""
    setup.require_float32("pixels")
    return Pixels()
