"""What the official code computed on a small trunk, and its initial weights (tests/golden)."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from umlbench.models.trunk import Positions, SharedTrunk

GOLDEN = Path(__file__).parent / "golden" / "trunk.npz"
REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
WEIGHTS = "d8223fdeab003755"  # sha256 of the initial weights, first digits
POSITIONS: dict[str, Positions] = {"none": "none", "sin": "sinusoidal", "learnable": "learned"}
NAMES = {
    "xproj_in.fc": "inputs.x",
    "yproj_in.fc": "inputs.y",
    "encoder.conv": "conv",
    "encoder.transformer.layers": "layers",
    "self_attn.in_proj_": "qkv.",
    "self_attn.out_proj": "mix",
    "linear1": "up",
    "linear2": "down",
    "encoder.pos_embedding.weight": "positions",
    "decoders.0.fc": "decoders.x",
    "decoders.1.fc": "decoders.y",
}


def ours(name: str) -> str:
    """Our name of an official parameter."""
    for theirs, mine in NAMES.items():
        name = name.replace(theirs, mine)
    return name


@cache
def arrays() -> dict[str, np.ndarray]:
    """The golden numbers."""
    return dict(np.load(GOLDEN))


@cache
def initial() -> dict[str, torch.Tensor]:
    """The official initial weights under official names: drawn again, or from the reference.

    PyTorch promises no equal draws on every machine; where they differ, tests skip.
    """
    drawn = _drawn()
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in drawn.values())).hexdigest()
    if digest.startswith(WEIGHTS):
        return drawn
    if REFERENCE.is_dir():
        return {k: torch.from_numpy(v) for k, v in np.load(REFERENCE / "A4_state_init.npz").items()}
    pytest.skip("PyTorch draws other initial weights here, and the reference is not at hand")


def _drawn() -> dict[str, torch.Tensor]:
    """Layers in the order of the official constructor, all copies of one; then some noise."""
    with torch.random.fork_rng():
        torch.manual_seed(99)
        x, y = nn.Linear(20, 40), nn.Linear(30, 40)
        conv, layer = nn.Conv1d(40, 40, 1, bias=False), nn.TransformerEncoderLayer(40, 5)
        positions, to_x, to_y = nn.Embedding(128, 40), nn.Linear(40, 20), nn.Linear(40, 30)
    layers = {f"encoder.transformer.layers.{number}": layer for number in range(5)}
    modules = {"xproj_in.fc": x, "yproj_in.fc": y, "encoder.conv": conv, **layers}
    modules |= {"encoder.pos_embedding": positions, "decoders.0.fc": to_x, "decoders.1.fc": to_y}
    stream = torch.Generator().manual_seed(7)
    return {
        f"{name}.{part}": weight + 0.05 * torch.randn(weight.shape, generator=stream)
        for name, module in modules.items()
        for part, weight in module.state_dict().items()
    }


def trunk(positions: str = "none", modalities: str = "xy") -> SharedTrunk:
    """Ours with the official initial weights in float64; `positions` by the official name."""
    widths = {name: {"x": 20, "y": 30}[name] for name in modalities}
    made = SharedTrunk(widths, positions=POSITIONS[positions])
    state = {ours(name): weight for name, weight in initial().items()}
    state["conv.weight"] = state["conv.weight"].squeeze(2)  # a convolution of width 1
    made.load_state_dict({name: state[name] for name in made.state_dict()})
    return made.double()


def sample(name: str) -> torch.Tensor:
    """Golden inputs in float64; single vectors as sequences of one step."""
    x = torch.from_numpy(arrays()[f"forward/{name}"]).double()
    return x if x.ndim == 3 else x[:, None]
