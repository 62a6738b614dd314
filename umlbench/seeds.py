"""Random streams named by their purpose; nothing seeds a global generator.

A stream is a function of the fields that may change what it draws and of nothing else, so that
two methods compared at one seed share their few-shot draw and their batch order (paired
comparison), and a resumed run draws what an unbroken one draws.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch


def canonical_json(value: Any) -> str:
    """The one text form of a plain value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """Hex digest (sha256, first `length` digits) of a plain value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def seed_for(purpose: str, seed: int, **fields: Any) -> int:
    """A 63-bit seed for `purpose` ("split", "init", "order", ...) at a recipe's `seed`."""
    return int(digest([purpose, seed, fields]), 16) >> 1


def torch_stream(purpose: str, seed: int, **fields: Any) -> torch.Generator:
    """A CPU `torch.Generator` for one purpose; draws are made on the CPU on every device."""
    import torch

    return torch.Generator().manual_seed(seed_for(purpose, seed, **fields))


def numpy_stream(purpose: str, seed: int, **fields: Any) -> np.random.Generator:
    """A `numpy.random.Generator` for one purpose."""
    import numpy as np

    return np.random.default_rng(seed_for(purpose, seed, **fields))
