"""Weights and waveforms of the published tower's golden numbers, made by formula."""

import zlib

import numpy as np
import torch
from scipy.signal import get_window

from umlbench.encoders.audio import tower


def normal(key, shape):
    return np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape))


def weight(key, shape):
    """A generated tensor of the tower; the filter bank's are as its constructor leaves them."""
    made = {
        "window": lambda: get_window("blackmanharris", 1654),
        "fbsp.m": lambda: np.zeros(shape),
        "fbsp.fb": lambda: np.ones(shape),
        "fbsp.fc": lambda: np.arange(*shape),
    }
    if key in made:
        return np.float32(made[key]())
    leaf, noise = key.rpartition(".")[2], normal(key, shape)
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        return np.float32(1 + 0.1 * np.abs(noise))
    if leaf in ("bias", "running_mean"):
        return np.float32(0.05 * noise)
    return np.float32(1 + 0.05 * noise if len(shape) == 1 else noise / np.sqrt(np.prod(shape[1:])))


def bank(shape=(1025,)):
    """A filter bank other than the constructor's, whose order 0 makes every window flat."""
    m, fb, fc = (normal(f"fbsp.{name}", shape) for name in ("m", "fb", "fc"))
    made = {"m": 0.5 + 0.1 * np.clip(m, -3, 3), "fb": 1 + 0.05 * fb, "fc": np.arange(*shape)}
    made["fc"] = made["fc"] + 0.1 * fc
    return {f"fbsp.{name}": torch.from_numpy(np.float32(v)) for name, v in made.items()}


def state(shape=tower.SHAPE):
    with torch.device("meta"):
        empty = tower.Tower(shape).state_dict()
    return {k: torch.from_numpy(np.asarray(weight(k, v.shape))) for k, v in empty.items()}


def waves():
    """Three clips (3, 220500) float32: sines under noise, ever more quiet."""
    time = np.arange(220500) / 44100
    made = (
        (((0.30, 440, 0.0), (0.20, 1234.5, 0.7), (0.10, 5000, 1.3)), 0.05, 1.0, 0.7),
        (((0.25, 220, 0.2), (0.15, 3300, 2.1), (0.10, 9876, 0.5)), 0.10, 0.5, 3.0),
        (((0.40, 110, 1.0), (0.20, 777, 0.1), (0.05, 15000, 2.5)), 0.02, 0.1, 0.0),
    )
    rows = []
    for number, (sines, noise, gain, swell) in enumerate(made):
        tones = sum(a * np.sin(2 * np.pi * f * time + phase) for a, f, phase in sines)
        tones = tones * (0.6 + 0.4 * np.cos(2 * np.pi * swell * time))
        tones += noise * np.random.default_rng(1000 + number).standard_normal(len(time))
        rows.append(np.clip(gain * tones, -1, 1))
    return torch.from_numpy(np.float32(rows))
