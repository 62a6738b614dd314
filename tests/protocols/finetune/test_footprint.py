"""What a plan says of memory, against the models themselves."""

import pytest
import torch
from safetensors.torch import save_file

from umlbench.encoders.weights import Weights
from umlbench.jobs import Context
from umlbench.protocols.finetune import footprint
from umlbench.protocols.finetune.footprint import estimate
from umlbench.protocols.finetune.settings import Settings

SHAPES = {"visual.a": (3, 4), "visual.b": (5,), "text.a": (2, 3), "logit_scale": ()}


@pytest.fixture
def context(tmp_path):
    """A CLIP of 17 weights in its visual tower, a ViT and a Llama of 24 each."""
    folder = tmp_path / "encoders"
    (folder / "mine").mkdir(parents=True)
    tensors = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    save_file(tensors, folder / "clip-RN50.safetensors")
    save_file(tensors, folder / "mobilenetv2_100.safetensors")
    save_file(tensors, folder / "mine" / "model.safetensors")
    (folder / "mine" / "config.json").write_text('{"model_type": "llama", "hidden_size": 4}')
    return Context(cache=tmp_path, data=tmp_path, offline=True)


def settings(method="uml", **changes):
    base = {"dataset": "dtd", "encoder": "mobilenetv2_100", "text_encoder": "mine"}
    return Settings(**{**base, "method": method, **changes})


UNFROZEN = {"text_training": "unfrozen"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 16 * 24),  # frozen text is vectors
        ({"encoder": "clip:RN50"}, 16 * 17),  # without its text tower
        (UNFROZEN, 16 * 24 + 4 * 24),
        ({**UNFROZEN, "dtype": "bfloat16"}, 16 * 24 + 2 * 24),
        ({**UNFROZEN, "text_update": "full"}, 16 * 24 + 16 * 24),
        ({**UNFROZEN, "method": "unimodal"}, 16 * 24),
    ],
)
def test_sixteen_bytes_a_trained_weight(context, changes, expected):
    assert estimate(settings(**changes), context) == expected


def test_what_is_not_here_is_not_guessed(context, tmp_path):
    assert estimate(settings(encoder="vit_small_patch14_dinov2.lvd142m"), context) is None
    assert estimate(settings(text_encoder="bert-large-uncased", **UNFROZEN), context) is None
    pickled = tmp_path / "old.bin"
    pickled.write_bytes(b"")
    footprint.parameters.cache_clear()
    assert Weights("old", pickled).parameters() is None
