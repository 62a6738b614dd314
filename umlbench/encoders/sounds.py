"""Sound files into waveforms of one rate and length, or one line that says what is wrong with one.

Section 4.2 of the protocol: mono (the mean of the channels), cut at the end or padded there with
zeros. Another rate is resampled by scipy's polyphase filter in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders.loading import decoded

ENDINGS = (".wav", ".ogg", ".flac")

Wave = NDArray[np.float32]


class Broken(Exception):
    """A file is no usable sound: what is wrong with it."""


@dataclass(frozen=True)
class Form:
    """What an encoder hears of a file: `seconds` at `rate` samples a second, one channel."""

    rate: int = 44100
    seconds: float = 5.0

    @property
    def samples(self) -> int:
        """Length of a waveform."""
        return round(self.rate * self.seconds)

    def key(self) -> dict[str, Any]:
        """For `Encoder.key`; `revision` rises when `read` gives other samples."""
        made = {"channels": "mean", "resampling": "scipy.resample_poly", "padding": "end"}
        return {"rate": self.rate, "seconds": self.seconds, "revision": 1, **made}

    def read(self, path: Any) -> Wave:
        """The file's waveform (samples,) with values as stored, full scale being 1.

        Raises `Broken` for a file that is no sound, ends too early, holds a value that is not
        finite, or is silent all along: its features would be rounding noise.
        """
        waves, rate = _decoded(Path(path).read_bytes())
        if not np.isfinite(waves).all():
            raise Broken("holds samples that are not finite")
        wave = _resampled(waves.mean(axis=1), rate, self.rate)[: self.samples]
        if not wave.any():
            raise Broken(f"is silent: every sample of its first {self.seconds:g} s is 0")
        return np.pad(wave, (0, self.samples - len(wave)))


def fault(path: Path) -> str:
    """What keeps a file from being encoded: one line, empty where nothing does."""
    wave = decoded(Form().read, path)
    return wave if isinstance(wave, str) else ""


def _decoded(body: bytes) -> tuple[Wave, int]:
    """Samples (n, channels) and their rate; `Broken` where they are not all there."""
    import soundfile

    if not body:
        raise Broken("has 0 bytes")
    _check_whole(body)
    try:
        with soundfile.SoundFile(BytesIO(body)) as file:
            announced, rate = file.frames, file.samplerate
            waves: Wave = file.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise Broken(f"is no sound file: {error.error_string}") from error
    if not len(waves):
        raise Broken("holds no samples")
    if len(waves) < announced:
        raise Broken(f"is cut off: {len(waves)} of {announced} samples")
    return waves, rate


def _check_whole(body: bytes) -> None:
    """`Broken` for a file cut off; libsndfile takes one for a shorter sound."""
    if body[:4] == b"RIFF":
        size = int.from_bytes(body[4:8], "little") + 8
        if len(body) < size < 2**32:  # a stream of unknown length says 2**32 - 1
            raise Broken(f"is cut off: {len(body)} of {size} bytes")
    if body[:4] == b"OggS" and not body[body.rfind(b"OggS") + 5] & 4:
        raise Broken("is cut off: its last page is not marked as the last")


def _resampled(wave: Wave, rate: int, wanted: int) -> Wave:
    if rate == wanted:
        return wave
    from scipy.signal import resample_poly

    common = math.gcd(rate, wanted)
    found = resample_poly(wave.astype(np.float64), wanted // common, rate // common)
    return np.asarray(found, dtype=np.float32)
