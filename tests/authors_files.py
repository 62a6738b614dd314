"""Small files in exactly the format of MultiBench's authors."""

from __future__ import annotations

import pickle

import numpy as np

FRAMES = 8
COUNTS = {"train": 6, "valid": 4, "test": 5}


def affect(vision=20, audio=5, text=300, seed=0, dtype=np.float32, counts=COUNTS):
    """`{split: {vision, audio, text, labels, id}}`, padded with zero frames in front."""
    rng = np.random.default_rng(seed)
    return {split: _split(rng, n, (vision, audio, text), dtype) for split, n in counts.items()}


def _split(rng, count, widths, dtype):
    steps = rng.integers(2, FRAMES + 1, count)
    padding = np.arange(FRAMES) < FRAMES - steps[:, None]
    found = {}
    for name, width in zip(("vision", "audio", "text"), widths, strict=True):
        found[name] = rng.normal(3, 2, (count, FRAMES, width)).astype(dtype)
        found[name][padding] = 0
    found["labels"] = rng.normal(0, 1, (count, 1, 1))
    found["id"] = np.array([f"clip_{number}" for number in range(count)], dtype=object)
    return found


def mimic(count=40, seed=0, series=12):
    """The arrays of `im.pk`."""
    rng = np.random.default_rng(seed)
    return {
        "adm_features_all": rng.normal(40, 20, (count, 5)),
        "ep_tdata": rng.normal(2, 3, (count, 24, series)),
        "y_icd9": rng.integers(0, 2, (count, 20)).astype(float),
        "adm_labels_all": rng.integers(0, 2, (count, 6)),
    }


def write(path, content, protocol=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path
