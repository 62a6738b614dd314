"""`logmel`: how loud each band of a sound is, and how much that varies; no weights, no GPU.

Mean and standard deviation over time of the log-mel bands: 64 triangular bands, evenly spaced on
the mel scale (2595 log10(1 + f / 700)) from 50 Hz to 16 kHz, of the power spectrum of Hann windows
of 2048 samples every 1024, at 44.1 kHz over 5 s; 10 log10(power + 1e-10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders.batches import Tick, no_tick
from umlbench.encoders.images import workers_for
from umlbench.encoders.loading import Loader
from umlbench.encoders.sounds import Form, Wave

if TYPE_CHECKING:
    import torch

    from umlbench.encoders import Encoder, Modality, Setup

BANDS = 64
LOWEST, HIGHEST = 50.0, 16000.0  # Hz
WINDOW, HOP = 2048, 1024  # samples
FLOOR = 1e-10
BATCH = 32
FORM = Form()


@dataclass(frozen=True)
class LogMel:
    """Sound files as rows (2 * BANDS,): means first, then standard deviations, in decibels."""

    name: str = "logmel"
    modality: Modality = "audio"
    width: int = 2 * BANDS

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`; `revision` rises when this module's rows change."""
        bands = {"bands": BANDS, "hz": [LOWEST, HIGHEST], "window": WINDOW, "hop": HOP}
        own = {"library": "umlbench", "name": self.name, "revision": 1, "floor": FLOOR}
        return {**own, **bands, "sound": FORM.key()}

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> NDArray[np.float32]:
        """(n, 128) float32; an item is a path. `UserError` names every broken file."""
        rows = [np.zeros((0, self.width), dtype=np.float32)]
        loader = Loader("sound", FORM.read, _as_tensor)
        for batch in loader.batches(items, size=BATCH, workers=workers_for("cpu"), pin=False):
            rows.append(batch.numpy())
            tick(len(batch))
        return np.concatenate(rows)


def build(setup: Setup) -> Encoder:
    """Runs on the CPU whatever the device; needs no corpus."""
    setup.require_float32("logmel")
    return LogMel()


def statistics(wave: Wave, rate: int) -> NDArray[np.float32]:
    """(2 * BANDS,) float32 of one waveform, computed in float64."""
    from scipy.signal import get_window

    window = get_window("hann", WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 / np.square(window).sum()
    decibels = 10 * np.log10(power @ filters(rate).T + FLOOR)
    return np.concatenate([decibels.mean(0), decibels.std(0)]).astype(np.float32)


@cache
def filters(rate: int) -> NDArray[np.float64]:
    """(BANDS, WINDOW // 2 + 1) triangles: each rises from its lower neighbour's centre."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (LOWEST, HIGHEST))
    edges = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / rate)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))


def _as_tensor(wave: Wave) -> torch.Tensor:
    import torch

    return torch.from_numpy(statistics(wave, FORM.rate))
