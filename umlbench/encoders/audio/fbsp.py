"""Log-power spectrograms of ESResNeXt-fbsp: frames of a clip against complex B-spline wavelets.

The order of operations is that of the published implementation, because in float32 it shows: its
scaling of the samples alone quantises a clip to about 8 bits, and a scaling without that rounding
moves an embedding by 0.03 to 0.08 (one minus cosine).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

N_FFT = 2048
HOP = 561
WINDOW = 1654
BINS = N_FFT // 2 + 1
BANDS = 3  # the network's input channels
ROWS = BINS // BANDS  # frequencies of a band; the last two bins are left out
FLOOR = 1e-18  # of the power of a bin without any


def scaled(waves: Tensor) -> Tensor:
    """Samples in [-1, 1] as the tower takes them, in the precision that they come in.

    In float32 the sum with 32768 keeps steps of 1/256 of full scale, and what is below half a step
    becomes the value of silence. The released extraction does this on the CPU; a device that
    multiplies by a reciprocal instead of dividing would move samples by one step.
    """
    return ((waves + 32768) * 2) / 65535 + (-1)


class Fbsp(nn.Module):
    """The filter bank: a wavelet of order `m` and bandwidth `fb` around each frequency `fc`."""

    m: Tensor
    fb: Tensor
    fc: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("m", torch.zeros(BINS))
        self.register_buffer("fb", torch.ones(BINS))
        self.register_buffer("fc", torch.arange(BINS, dtype=torch.float32))
        self.register_buffer("bias", torch.empty(0))  # published checkpoints hold it, empty

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts (BINS, N_FFT), in the parameters' precision.

        The grid of times includes both ends, so its step is 2 pi / 2047: no discrete Fourier basis.
        """
        m, fb, fc = (one[:, None] for one in (self.m, self.fb, self.fc))
        ends = torch.linspace(-1, 1, N_FFT, dtype=m.dtype, device=m.device)
        time = math.pi * ends + 1e-8
        spread = _sinc(fb * time / (m + 1e-8))
        phase = torch.where(spread < 0, m * math.pi, torch.zeros_like(m))
        wave = torch.complex((fc * time).cos(), -(fc * time).sin())
        made = torch.view_as_real(fb.sqrt() * (torch.polar(spread.abs() ** m, phase) * wave))
        re, im = (made / math.sqrt(N_FFT)).unbind(-1)
        return re.contiguous(), im.contiguous()


def _sinc(x: Tensor) -> Tensor:
    return torch.where(x == 0, torch.ones_like(x), x.sin() / x)


def frames(waves: Tensor, window: Tensor) -> Tensor:
    """(B, n) scaled samples as windowed frames (B, frames, N_FFT), zeros around clip and frame."""
    total = 1 + math.ceil((waves.shape[1] - WINDOW) / HOP)
    lacking = (total - 1) * HOP + WINDOW - waves.shape[1]
    padded = pad(waves, (lacking // 2, lacking - lacking // 2))
    around = (N_FFT - WINDOW) // 2
    return pad(padded.unfold(1, WINDOW, HOP) * window, (around, around))


def log_power(found: Tensor, kernel: tuple[Tensor, Tensor]) -> Tensor:
    """Frames (B, T, N_FFT) as decibels (B, BANDS, ROWS, T): neighbouring bins in one band."""
    re, im = (torch.matmul(found, part[: BANDS * ROWS].T) for part in kernel)
    power = re.square() + im.square()
    power = torch.where(power > 0, power, torch.full_like(power, FLOOR))
    return (10 * power.log10()).transpose(1, 2).reshape(len(found), BANDS, ROWS, -1)
