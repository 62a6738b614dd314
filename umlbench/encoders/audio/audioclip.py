"""`audioclip`: AudioCLIP's audio tower with the weights of a published checkpoint.

Section 4.2 of the protocol. The released extraction leaves the tower in training mode, so that
BatchNorm takes its statistics from the batch: 10 consecutive clips of a fold, in the table's order
(`batch_norm="train"`). `eval` takes the checkpoint's statistics, and a row is its own clip's.

Of AudioCLIP-Partial-Training.pt every key that begins with `audio.` is read; a file without such
keys (ESRNXFBSP.pt) is the tower alone. Where `fc` has other rows than AudioCLIP's 1024, so has the
encoder.

Where a clip is padded with digital silence, the decibels of its high bins are rounding noise: in
float32 another machine's matrix product moves its row (by 0.008 to 0.03, one minus cosine).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench.data.dataset import few
from umlbench.encoders.audio.encoder import AudioEncoder, Model, Transform
from umlbench.encoders.sounds import Form, Wave
from umlbench.encoders.weights import SUFFIXES, Weights, resolve
from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

    from umlbench.encoders import Encoder, Setup
    from umlbench.encoders.audio.tower import Tower

NAME = "audioclip"
PUBLISHED_FILE = "AudioCLIP-Partial-Training.pt"
PREFIX = "audio."
BATCH = 10  # clips that share BatchNorm's statistics
EMPTY = "fbsp.bias"  # a key of no elements, which a file may leave out
MATES = (
    f"BatchNorm takes its statistics from {BATCH} clips in order (batch_norm: train), so batches "
    "are neither halved nor filled up: say batch_norm: eval, or take a device with more memory"
)
SHOWN = 12  # keys named in an error


def build(name: str, setup: Setup) -> Encoder:
    """The tower, with weights below the data root or at `audioclip@FILE`.

    Raises `MissingInput` for weights that are nowhere, `UserError` for a precision other than
    float32: decibels of digital silence have no room in 16 bits.
    """
    setup.require_float32(NAME)
    weights = resolve(
        name,
        root=setup.root,
        offline=setup.offline,
        local=[f"{NAME}{suffix}" for suffix in SUFFIXES] + [PUBLISHED_FILE],
        beside=[f"esc-50/{PUBLISHED_FILE}"],
    )
    trains = setup.batch_norm == "train"
    described: dict[str, Any] = {"library": "umlbench", "name": NAME, "revision": 1}
    described |= {"pooling": "fc, length 1", "batch_norm": setup.batch_norm}
    return AudioEncoder(
        name=NAME,
        described=described | ({"batch": BATCH} if trains else {}),
        build_model=partial(_model, weights, setup.device, trains),
        build_transform=_transform,
        find_width=partial(_width, weights),
        form=Form(),
        weights=weights,
        device=setup.device,
        dtype=setup.dtype,
        together=BATCH if trains else 1,
        mates=MATES if trains else "",
    )


def load_tower(state: Mapping[str, torch.Tensor], source: str) -> Tower:
    """The frozen tower with the tensors of `state` (keys without prefix), in evaluation mode.

    Raises `UserError` that names every key which `source` lacks, has beyond the tower's, or has in
    another shape.
    """
    import torch
    from torch import nn

    from umlbench.encoders.audio.tower import SHAPE, Tower

    rows = state["fc.weight"].shape[0] if "fc.weight" in state else SHAPE.embedding
    with torch.device("meta"):  # no memory, and no random numbers
        tower = Tower(replace(SHAPE, embedding=rows))
    _check_keys({k: v.shape for k, v in tower.state_dict().items()}, state, source)
    filled = {EMPTY: torch.empty(0), **state}
    tower.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in filled.items()}, assign=True
    )
    for module in tower.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # what a batch was like is forgotten with it
    return tower.eval().requires_grad_(False).settle()


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The audio tower's tensors in a checkpoint, without prefix; nothing in it is executed.

    Raises `UserError` for a file that is no state dict.
    """
    try:
        found = _read(path)
        tensors = {key: value for key, value in found.items() if hasattr(value, "shape")}
        if len(tensors) < len(found):
            raise TypeError(f"{len(found) - len(tensors)} of its values are no tensors")
    except Exception as error:  # pickles, torn archives, other objects: each raises its own
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        what = f"encoder '{NAME}': {path.name} is no state dict: {line}"
        raise UserError(what, f"fetch {PUBLISHED_FILE} from its release again") from error
    own = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
    return own or tensors


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return dict(load_file(path))
    import torch

    mapped = zipfile.is_zipfile(path)  # only such a file can be read in part
    return dict(torch.load(path, map_location="cpu", weights_only=True, mmap=mapped))


def _check_keys(
    shapes: Mapping[str, torch.Size], state: Mapping[str, torch.Tensor], source: str
) -> None:
    missing = sorted(set(shapes) - set(state) - {EMPTY})
    unknown = sorted(set(state) - set(shapes))
    other = [
        f"{key} {list(state[key].shape)} instead of {list(shape)}"
        for key, shape in shapes.items()
        if key in state and state[key].shape != shape
    ]
    faults = [
        f"{what} {few(keys, SHOWN)}"
        for what, keys in (("lacks", missing), ("has the unknown", unknown), ("has", other))
        if keys
    ]
    if faults:
        raise UserError(
            f"encoder '{NAME}': {source} does not fit AudioCLIP's audio tower: it "
            + "; it ".join(faults),
            f"take {PUBLISHED_FILE}, or the tower's own state dict with or without '{PREFIX}'",
        )


def _model(weights: Weights, device: str, trains: bool) -> Model:
    """The tower where it computes; the filter bank comes from the CPU whatever the device."""
    path = weights.file([PUBLISHED_FILE])
    return load_tower(read_state(path), path.name).train(trains).to(device)


def _width(weights: Weights) -> int:
    """The rows of `fc`, or AudioCLIP's where the file does not say."""
    from umlbench.encoders.audio.tower import SHAPE

    state = read_state(weights.file([PUBLISHED_FILE]))
    return int(state["fc.weight"].shape[0]) if "fc.weight" in state else SHAPE.embedding


def _transform() -> Transform:
    return _scaled


def _scaled(wave: Wave) -> torch.Tensor:
    """In float32 on the CPU, as released; see `fbsp.scaled`."""
    import torch

    from umlbench.encoders.audio.fbsp import scaled

    return scaled(torch.from_numpy(wave))
