"""open_clip's image and text towers: `clip:RN50`, `clip:ViT-B-16`, `clip:MODEL:TAG`.

Section 2 of the protocol: OpenAI's weights in float32, `encode_image` and `encode_text` (the
projected feature of the end token), neither normalised; 224 pixels, 77 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders import images
from umlbench.encoders.batches import Batches, Tick, no_tick
from umlbench.encoders.torchvision_import import mend_torchvision
from umlbench.encoders.vision import Vision, quiet, unlisted
from umlbench.encoders.weights import PUBLISHED, SUFFIXES, Weights, resolve, split_name
from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

    from umlbench.encoders import Encoder, Modality, Setup

PREFIX = "clip:"
OPENAI = "openai"
CONTEXT = 77
TEXT_BATCH = {"cpu": 32}
GPU_TEXT_BATCH = 256
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def build(name: str, setup: Setup) -> Encoder:
    """The tower of `setup.modality`.

    Raises `UserError` without one or for a model open_clip has not, `MissingInput` without weights.
    """
    label, where = split_name(name)
    model, _, tag = label.removeprefix(PREFIX).partition(":")
    tag = tag or OPENAI
    stem = label.replace(":", "-")
    local = setup.has_local(stem, where, SUFFIXES)
    repo = "" if local or label in PUBLISHED else _repo(label, model, tag)
    weights = resolve(
        name,
        root=setup.root,
        offline=setup.offline,
        local=[f"{stem}{suffix}" for suffix in SUFFIXES],
        repo=repo,
        probes=HUB_FILES,
    )
    pair = _Pair(label, model, tag, weights)
    if setup.modality == "image":
        return _image(pair, setup)
    if setup.modality == "text":
        return ClipText(pair, setup.device, setup.dtype)
    what = f"encoder '{label}' has an image and a text tower, and which was not said"
    raise UserError(what, "pass modality='image' or modality='text'")


@dataclass(frozen=True)
class _Pair:
    """Both towers of one model."""

    label: str
    model: str
    tag: str
    weights: Weights

    @property
    def described(self) -> dict[str, Any]:
        """The key's part that both towers share."""
        names = {"library": "open_clip", "name": self.model, "revision": 1}
        return {**names, "quick_gelu": self.quick_gelu}

    @cached_property
    def quick_gelu(self) -> bool:
        """OpenAI's models were trained with it; the name of the model does not tell."""
        if self.tag == OPENAI:
            return True
        return bool(_pretrained(self.model, self.tag).get("quick_gelu", False))

    def load(self) -> Any:
        """The model with its weights; `UserError` where they do not fit."""
        open_clip, _ = import_open_clip(), self.config  # which names an unknown model
        model = open_clip.create_model(
            self.model,
            load_weights=False,
            pretrained_text=False,
            force_quick_gelu=self.quick_gelu,
            force_image_size=images.SIZE,
        )
        path = self.weights.file(HUB_FILES)
        try:
            open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
        except Exception as error:  # pickles, TorchScript, other shapes: each raises its own
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            what = f"encoder '{self.label}': {path.name} is no state dict of {self.model}: {line}"
            hint = "OpenAI's .pt files hold code: take open_clip_model.safetensors from the hub"
            raise UserError(what, hint) from error
        return model

    def width(self) -> int:
        """Of both towers, from the model's configuration."""
        return int(self.config["embed_dim"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """open_clip's configuration of the model."""
        open_clip = import_open_clip()
        found: dict[str, Any] | None = open_clip.get_model_config(self.model)
        if found is None:
            known = [f"{PREFIX}{one}" for one in open_clip.list_models()]
            raise unlisted(self.label, known, "open_clip.list_models()")
        return found


def _image(pair: _Pair, setup: Setup) -> Vision:
    own = images.CLIP
    if setup.transform == "native" and pair.tag != OPENAI:  # OpenAI's own is the paper's
        found = _pretrained(pair.model, pair.tag)
        names = ("mean", "std", "interpolation", "resize_mode")
        own = {"name": "native", **{k: found[k] for k in names if k in found}}
        own = {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}

    def transform() -> images.Transform:
        if own is images.CLIP:
            return images.clip_transform()
        from open_clip.transform import PreprocessCfg, image_transform_v2

        given = {k: v for k, v in own.items() if k != "name"}
        made: images.Transform = image_transform_v2(
            PreprocessCfg(size=images.SIZE, **given), is_train=False
        )
        return made

    return Vision(
        name=pair.label,
        described={**pair.described, "tower": "image", "size": images.SIZE, "transform": own},
        build_model=lambda: pair.load().visual,  # what `encode_image` calls
        build_transform=transform,
        find_width=pair.width,
        weights=pair.weights,
        device=setup.device,
        dtype=setup.dtype,
    )


@dataclass(frozen=True)
class ClipText:
    """The text tower of `pair`."""

    pair: _Pair
    device: str
    dtype: str
    modality: Modality = "text"
    batches: Batches = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = TEXT_BATCH.get(self.device, GPU_TEXT_BATCH)
        object.__setattr__(self, "batches", Batches(self.name, self.device, size))

    @property
    def name(self) -> str:
        """As recipes call it."""
        return self.pair.label

    @property
    def weights(self) -> Weights:
        """Where they lie."""
        return self.pair.weights

    @property
    def width(self) -> int:
        """From the model's configuration."""
        return self.pair.width()

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`."""
        asked = {"tower": "text", "context": CONTEXT, "pooling": "eot_projected"}
        return {
            **self.pair.described,
            **asked,
            "weights": self.weights.identity(),
            "dtype": self.dtype,
        }

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> NDArray[np.float32]:
        """(n, width) float32, not normalised; `UserError` names a prompt of over 77 tokens."""
        import torch

        if not len(items):
            return np.zeros((0, self.width), dtype=np.float32)
        tokens = self._tokens([str(item) for item in items])

        def rows(start: int, stop: int) -> torch.Tensor:
            with torch.inference_mode():
                found: torch.Tensor = self._model.encode_text(tokens[start:stop].to(self.device))
                return found.float().cpu()

        found: NDArray[np.float32] = torch.cat(self.batches.run(len(items), rows, tick)).numpy()
        return found

    def _tokens(self, prompts: list[str]) -> torch.Tensor:
        """(n, 77) token ids. One place more tells an over-long prompt, which would be cut."""
        import_open_clip()
        tokenizer = self._tokenizer
        found: torch.Tensor = tokenizer(prompts, context_length=CONTEXT + 1)
        padding = tokenizer([""], context_length=CONTEXT + 1)[0, -1]
        for row in (found[:, -1] != padding).nonzero().flatten().tolist():
            what = f"encoder '{self.name}' reads {CONTEXT} tokens; prompt is longer: {prompts[row]}"
            raise UserError(what, "shorten it, or take a text encoder without this limit")
        return found[:, :CONTEXT]

    @cached_property
    def _tokenizer(self) -> Any:
        return import_open_clip().get_tokenizer(self.pair.model)

    @cached_property
    def _model(self) -> Any:
        import torch

        with quiet():
            model = self.pair.load()
        model.visual = torch.nn.Identity()  # its memory is not needed
        return model.eval().requires_grad_(False).to(self.device, getattr(torch, self.dtype))


def _repo(label: str, model: str, tag: str) -> str:
    found = str(_pretrained(model, tag).get("hf_hub", "")).strip("/")
    if not found:
        pairs = import_open_clip().list_pretrained()
        known = [f"{PREFIX}{one}{'' if two == OPENAI else f':{two}'}" for one, two in pairs]
        raise unlisted(label, known, "open_clip.list_pretrained()")
    return found


def _pretrained(model: str, tag: str) -> dict[str, Any]:
    found: dict[str, Any] | None = import_open_clip().get_pretrained_cfg(model, tag)
    return found or {}


def import_open_clip() -> Any:
    """open_clip, after torchvision was made importable."""
    mend_torchvision()
    import open_clip

    return open_clip
