"""What the audio encoders of every library share: files in, one row each out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders.batches import Batches, Tick, no_tick
from umlbench.encoders.images import workers_for
from umlbench.encoders.loading import Loader
from umlbench.encoders.sounds import Form, Wave
from umlbench.encoders.weights import Weights
from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

    from umlbench.encoders import Modality

BATCH = {"cpu": 8}  # else GPU_BATCH; halved where memory ends
GPU_BATCH = 64

Model = Callable[["torch.Tensor"], "torch.Tensor"]
Transform = Callable[[Wave], "torch.Tensor"]


@dataclass(frozen=True)
class AudioEncoder:
    """One frozen audio encoder; `build_model` and `build_transform` run on first use.

    `together`: clips whose rows depend on each other, consecutive ones of what is encoded (1: each
    row is its own clip's). `mates` says why, and what to do where that cannot be.
    """

    name: str
    described: dict[str, Any]  # the key's part that names the model and how it is run
    build_model: Callable[[], Model]
    build_transform: Callable[[], Transform]
    find_width: Callable[[], int]
    form: Form
    weights: Weights
    device: str
    dtype: str
    together: int = 1
    mates: str = ""
    modality: Modality = "audio"
    batches: Batches = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = self.together if self.mates else BATCH.get(self.device, GPU_BATCH)
        object.__setattr__(self, "batches", Batches(self.name, self.device, size, self.mates))

    @cached_property
    def width(self) -> int:
        """Columns of a row."""
        return self.find_width()

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`."""
        how = {"sound": self.form.key(), "dtype": self.dtype, "weights": self.weights.identity()}
        return {**self.described, **how}

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> NDArray[np.float32]:
        """(n, width) float32 rows of length 1; an item is a path.

        `UserError` names every broken file, or says which clip has no batch mate.
        """
        if not len(items):
            return np.zeros((0, self.width), dtype=np.float32)
        self._check_mates(items)
        _ = self._model  # it fails before files load
        loaded = Loader("sound", self.form.read, self._transform).batches(
            items,
            size=self.batches.size,
            workers=workers_for(self.device),
            pin=self.device != "cpu",
        )
        return np.concatenate([rows for batch in loaded for rows in self._forward(batch, tick)])

    def _check_mates(self, items: Sequence[Any]) -> None:
        """A batch of one has no statistics of its own."""
        if self.mates and len(items) % self.together == 1:
            what = f"{len(items)} clips leave '{items[-1]}' alone in the last batch"
            raise UserError(f"encoder '{self.name}': {what} of {self.together}", self.mates)

    def _forward(self, batch: torch.Tensor, tick: Tick) -> Iterator[NDArray[np.float32]]:
        import torch

        dtype = getattr(torch, self.dtype)

        def rows(start: int, stop: int) -> torch.Tensor:
            with torch.inference_mode():
                part = batch[start:stop].to(self.device, dtype, non_blocking=True)
                return self._model(part).float().cpu()

        for block in self.batches.run(len(batch), rows, tick):
            yield block.numpy()

    @cached_property
    def _model(self) -> Model:
        return self.build_model()

    @cached_property
    def _transform(self) -> Transform:
        return self.build_transform()
