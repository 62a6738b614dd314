"""timm's image encoders: the pooled feature before the classifier (the CLS token of the ViTs).

Section 1.1 of the protocol: `timm.create_model(name, img_size=224, num_classes=0)`; DINOv2's
position embedding (518 pixels) is resampled to 16x16 while loading.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders import images
from umlbench.encoders.batches import Batches, Tick, no_tick
from umlbench.encoders.torchvision_import import mend_torchvision
from umlbench.encoders.weights import PUBLISHED, SUFFIXES, Weights, absent, resolve, split_name
from umlbench.errors import UserError, nearest

if TYPE_CHECKING:
    import torch

    from umlbench.encoders import Encoder, Modality, Setup

BATCH = {"cpu": 32}  # else GPU_BATCH; halved where memory ends
GPU_BATCH = 256
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
Forward = Callable[[Any, "torch.Tensor"], "torch.Tensor"]
NOT_OURS = ("model_name", "pretrained", "num_classes", "pretrained_cfg_overlay", "img_size")


@dataclass(frozen=True)
class Vision:
    """What the image encoders of every library share; `build` makes model, transform and width.

    `build_bare` makes the model on the meta device, where its tokens can be read (timm's).
    """

    name: str
    described: dict[str, Any]  # the key
    build_model: Callable[[], Any]
    build_transform: Callable[[], images.Transform]
    find_width: Callable[[], int]
    weights: Weights
    device: str
    dtype: str
    build_bare: Callable[[], Any] | None = None
    modality: Modality = "image"
    batches: Batches = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = BATCH.get(self.device, GPU_BATCH)
        object.__setattr__(self, "batches", Batches(self.name, self.device, size))

    @cached_property
    def width(self) -> int:
        """From the architecture, without weights."""
        return self.find_width()

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`."""
        return {**self.described, "weights": self.weights.identity(), "dtype": self.dtype}

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> NDArray[np.float32]:
        """(n, width) float32, not normalised; an item is a path or a uint8 array (h, w[, 3]).

        `UserError` names every broken image of `items`.
        """
        if not len(items):
            return np.zeros((0, self.width), dtype=np.float32)
        return np.concatenate(list(self.run(items, lambda model, pixels: model(pixels), tick)))

    def run(
        self, items: Sequence[Any], forward: Forward, tick: Tick = no_tick
    ) -> Iterator[NDArray[np.float32]]:
        """What `forward(model, pixels)` gives for the items, in order, batch by batch.

        `images.workers_for` says where images are decoded.
        """
        if not len(items):
            return
        _ = self._model  # the model first: it fails before photos load
        for pixels in self.pixels(items, workers=images.workers_for(self.device)):
            yield from self._forward(pixels, forward, tick)

    def pixels(self, items: Sequence[Any], *, workers: int) -> Iterator[torch.Tensor]:
        """The items as the model takes them, (batch, 3, h, w) float32, in order."""
        size, pin = self.batches.size, self.device != "cpu"
        return images.load_batches(items, self._transform, size=size, workers=workers, pin=pin)

    def embed(self, pixels: torch.Tensor) -> NDArray[np.float32]:
        """(n, width) of what `pixels` gives, in batches."""
        blocks = self._forward(pixels, lambda model, batch: model(batch), no_tick)
        return np.concatenate(list(blocks))

    def _forward(
        self, pixels: torch.Tensor, forward: Forward, tick: Tick
    ) -> Iterator[NDArray[np.float32]]:
        import torch

        dtype = getattr(torch, self.dtype)

        def rows(start: int, stop: int) -> torch.Tensor:
            with torch.inference_mode():
                batch = pixels[start:stop].to(
                    self.device, dtype, non_blocking=True, memory_format=torch.channels_last
                )
                return forward(self._model, batch).float().cpu()

        for block in self.batches.run(len(pixels), rows, tick):
            yield block.numpy()

    def trainable(self) -> Any:
        """A new model whose weights learn: float32, on the device, in training mode."""
        return self._load("float32").train()

    @cached_property
    def halves(self) -> images.Halves:
        """The transform in two: what is done to a photo once, and what to every batch."""
        return images.halves(self._transform)

    @cached_property
    def _model(self) -> Any:
        return self._load(self.dtype).eval().requires_grad_(False)

    def _load(self, dtype: str) -> Any:
        import torch

        with quiet():
            model = self.build_model()
        # On a CPU, MobileNetV2's depthwise convolutions take ten times as long in the usual layout.
        return model.to(self.device, getattr(torch, dtype), memory_format=torch.channels_last)

    @cached_property
    def _transform(self) -> images.Transform:
        return self.build_transform()


def build(name: str, setup: Setup) -> Encoder:
    """timm's model `name`; a JSON file beside local weights gives arguments of `create_model`.

    Raises `MissingInput` for weights that are nowhere, `UserError` for a name timm has not.
    """
    label, where = split_name(name)
    plain_repo = f"timm/{label}" if "." in label else ""
    known = label in PUBLISHED or setup.has_local(label, where, SUFFIXES)
    repo = "" if known else plain_repo or _default_repo(label)  # which imports timm
    weights = resolve(
        name,
        root=setup.root,
        offline=setup.offline,
        local=[f"{label}{suffix}" for suffix in SUFFIXES],
        repo=repo,
        probes=HUB_FILES,
    )
    return _timm(_Timm(label, weights, *_arguments(label, weights.path)), setup)


@dataclass(frozen=True)
class _Timm:
    """One model of timm: its architecture's name, its arguments, its own preprocessing."""

    label: str
    weights: Weights
    architecture: str
    options: dict[str, Any]
    overlay: dict[str, Any]

    def model(self) -> Any:
        """With its weights, without a classifier; `UserError` for weights of another model."""
        path = self.weights.file(HUB_FILES)
        overlay = {**self.overlay, "file": str(path)}
        try:
            return self._create(pretrained=True, pretrained_cfg_overlay=overlay)
        except FileNotFoundError as error:
            raise absent(self.label, [str(path)]) from error
        except (RuntimeError, KeyError, ValueError, AssertionError) as error:
            line = str(error).strip().splitlines()[0]
            what = f"encoder '{self.label}': the weights do not fit {self.architecture}: {line}"
            raise UserError(
                what, "name the architecture as timm does: ARCHITECTURE@FILE"
            ) from error

    def bare(self) -> Any:
        """On the meta device, without weights."""
        import torch

        with torch.device("meta"), torch.inference_mode():
            return self._create(pretrained=False).eval()

    def width(self) -> int:
        """Columns of a row, from a model on the meta device."""
        import torch

        with torch.device("meta"), torch.inference_mode():
            return int(self.bare()(torch.empty(1, 3, images.SIZE, images.SIZE)).shape[-1])

    def config(self) -> dict[str, Any]:
        """Its own preprocessing at 224 pixels, as plain values."""
        timm = import_timm()
        known = timm.get_pretrained_cfg(self.architecture)
        own = {**(known.to_dict() if known else {}), **self.overlay}
        own["input_size"] = (3, images.SIZE, images.SIZE)
        found = timm.data.resolve_data_config(pretrained_cfg=own)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}

    def _create(self, **arguments: Any) -> Any:
        """At 224 pixels; convolutional models take any size and no `img_size`."""
        timm = import_timm()
        arguments = {"num_classes": 0, **self.options, **arguments}
        try:
            return timm.create_model(self.architecture, img_size=images.SIZE, **arguments)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            return timm.create_model(self.architecture, **arguments)


def _timm(model: _Timm, setup: Setup) -> Vision:
    described = {"library": "timm", "name": model.architecture, "revision": 1, "size": images.SIZE}
    described |= {"options": model.options, "pooling": "pretrained"}
    if setup.transform == "clip":
        transform: Callable[[], images.Transform] = images.clip_transform
        described["transform"] = images.CLIP
    else:
        config = model.config()
        described["transform"] = {"name": "native", **config}

        def transform() -> images.Transform:
            make = import_timm().data.create_transform
            made: images.Transform = make(**config, is_training=False)
            return made

    return Vision(
        name=model.label,
        described=described,
        build_model=model.model,
        build_transform=transform,
        find_width=model.width,
        weights=model.weights,
        device=setup.device,
        dtype=setup.dtype,
        build_bare=model.bare,
    )


def _arguments(label: str, path: Path | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """(architecture, arguments of `create_model`, own preprocessing) from the JSON beside `path`.

    Without one the label is the architecture and the preprocessing is timm's.
    """
    file = path.with_suffix(".json") if path is not None else None
    if file is None or not file.is_file():
        return label, {}, {}
    try:
        found = json.loads(file.read_text("utf-8"))
        options = {k: v for k, v in found.items() if k not in NOT_OURS}
        overlay = dict(found.get("pretrained_cfg_overlay", {}))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        what = f"{file}: not a JSON object of arguments of timm.create_model"
        raise UserError(what, 'e.g. {"model_name": "mobilenetv2_100"}') from error
    overlay.pop("file", None)
    return found.get("model_name", label), options, overlay


def _default_repo(label: str) -> str:
    """Where the hub has the default weights of an architecture that is named without a tag."""
    timm = import_timm()
    if label not in timm.list_models():
        raise unlisted(label, timm.list_models(), "timm.list_models()")
    known = timm.get_pretrained_cfg(label)
    repo = str(known.hf_hub_id)
    return f"{repo}{label}.{known.tag}" if repo.endswith("/") else repo


def unlisted(label: str, known: Sequence[str], source: str) -> UserError:
    """The error for a name that is not in a library's long list."""
    what = f"unknown encoder '{label}'{nearest(label, known)}"
    return UserError(what, f"`{source}` lists the names; local weights are given as NAME@PATH")


def import_timm() -> Any:
    """timm, after torchvision was made importable."""
    mend_torchvision()
    import timm

    return timm


@contextmanager
def quiet() -> Iterator[None]:
    """Libraries that load weights report much on their loggers; errors pass."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
