"""transformers' CLAP audio towers, e.g. `laion/clap-htsat-unfused`: for new work, not the paper's.

A row is the projected audio embedding at length 1, as `ClapModel.get_audio_features` gives it. The
clip is repeated up to the model's 10 seconds by its own feature extractor.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from umlbench.encoders.audio.encoder import AudioEncoder, Model, Transform
from umlbench.encoders.sounds import Form, Wave
from umlbench.encoders.text import from_folder, import_transformers, resolve_folder
from umlbench.encoders.weights import Weights
from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

    from umlbench.encoders import Encoder, Setup

FORM = Form(rate=48000)
WIDTH = 512  # where the configuration does not say: transformers' default


def build(name: str, setup: Setup) -> Encoder:
    """A folder as `save_pretrained` writes it, or a model of the hub; reads its configuration.

    Raises `MissingInput` for weights that are nowhere, `UserError` for a model that is no CLAP.
    """
    label, weights = resolve_folder(name, setup)
    config = weights.config()
    if config.get("model_type") != "clap":
        what = f"audio encoder '{label}' is a '{config.get('model_type')}', and no CLAP"
        raise UserError(what, "known: audioclip, logmel, and CLAP models of transformers")
    described = {"library": "transformers", "name": label.rpartition("/")[2], "revision": 1}
    return AudioEncoder(
        name=label,
        described={**described, "model_type": "clap", "pooling": "projected, length 1"},
        build_model=partial(_model, label, weights, setup.device, setup.dtype),
        build_transform=partial(_transform, label, weights),
        find_width=lambda: int(config.get("projection_dim", WIDTH)),
        form=FORM,
        weights=weights,
        device=setup.device,
        dtype=setup.dtype,
    )


def _model(name: str, weights: Weights, device: str, dtype: str) -> Model:
    """Spectrograms (B, channels, frames, bands) to (B, width) of length 1."""
    import torch
    from torch.nn.functional import normalize

    kind = import_transformers().ClapAudioModelWithProjection
    tower = from_folder(kind, name, weights, dtype).to(device)

    def embed(mels: torch.Tensor) -> torch.Tensor:
        # No clip is longer than the model's window, so none is fused from random crops.
        longer = torch.zeros(len(mels), 1, dtype=torch.bool, device=mels.device)
        return normalize(tower(input_features=mels, is_longer=longer).audio_embeds, dim=-1)

    return embed


def _transform(name: str, weights: Weights) -> Transform:
    """The model's own feature extractor; `UserError` where it hears at another rate."""
    folder = weights.folder()
    try:
        extractor = import_transformers().ClapFeatureExtractor.from_pretrained(
            folder, local_files_only=True
        )
    except (OSError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        what = f"encoder '{name}': its feature extractor cannot be loaded: {line}"
        raise UserError(what, "the folder needs its preprocessor_config.json") from error
    heard = (extractor.sampling_rate, extractor.max_length_s)
    if heard[0] != FORM.rate or heard[1] < FORM.seconds:
        what = f"encoder '{name}' hears {heard[1]} s at {heard[0]} Hz"
        raise UserError(what, f"CLAP models that hear {FORM.seconds:g} s at {FORM.rate} Hz do")
    return partial(_mel, extractor)


def _mel(extractor: Any, wave: Wave) -> torch.Tensor:
    import torch

    found = extractor(wave, sampling_rate=FORM.rate, return_tensors="np")["input_features"][0]
    return torch.from_numpy(found).float()
