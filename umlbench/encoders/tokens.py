"""Tokens: encoders that give several rows an item, where `vision` and `text` give one.

`cls+patches` and `patches`: a vision transformer's tokens after its final norm, with or without
the class token (section 5.5: 257 or 256 a photo of DINOv2 at 224 pixels). `grid`: the last feature
map of a convolutional model, a row for each position, line by line. `states`: the last hidden
states of a sentence's real tokens, begin token included and padding not (section 1.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.encoders.batches import Tick, no_tick
from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

    from umlbench.encoders import Encoder, Modality, Tokens
    from umlbench.encoders.text import Transformer
    from umlbench.encoders.vision import Vision
    from umlbench.encoders.weights import Weights


@dataclass(frozen=True, eq=False)
class Ragged:
    """Items with several rows each: `values` (rows, width), item after item; `lengths` (n,)."""

    values: NDArray[np.float32]
    lengths: NDArray[np.int64]


def of(encoder: Encoder, tokens: Tokens) -> Encoder:
    """`encoder` with the rows that `tokens` names; `UserError` where its library has none."""
    from umlbench.encoders.text import Transformer
    from umlbench.encoders.vision import Vision

    if tokens == "states" and isinstance(encoder, Transformer):
        return TokenStates(encoder)
    if tokens != "states" and isinstance(encoder, Vision) and encoder.build_bare:
        return PatchTokens(encoder, tokens, encoder.build_bare)
    raise without(encoder.name, tokens)


def without(name: str, tokens: Tokens) -> UserError:
    """The error for an encoder whose library has no tokens."""
    return UserError(
        f"encoder '{name}' gives one row an item, and no tokens '{tokens}'",
        "cls+patches, patches and grid are of timm's models, states of transformers'",
    )


@dataclass(frozen=True)
class PatchTokens:
    """The tokens of `base`'s `forward_features`, as many for every photo."""

    base: Vision
    tokens: Tokens
    bare: Callable[[], Any]  # makes the model on the meta device
    modality: Modality = "image"

    @property
    def name(self) -> str:
        """As recipes call it."""
        return self.base.name

    @property
    def weights(self) -> Weights:
        """Where they lie."""
        return self.base.weights

    @property
    def width(self) -> int:
        """Of a token."""
        return self.shape[1]

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(tokens, width) of a photo, from the architecture without weights.

        Raises `UserError` where it has no tokens of this kind.
        """
        import torch

        from umlbench.encoders.images import SIZE

        with torch.device("meta"), torch.inference_mode():
            found = self._rows(self.bare(), torch.empty(1, 3, SIZE, SIZE))
        return found.shape[1], found.shape[2]

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`."""
        return _key(self.base, self.tokens)

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> Ragged:
        """The tokens of each photo; errors as `Vision.encode`, and those of `shape`."""
        blocks = [np.zeros((0, *self.shape), np.float32), *self.base.run(items, self._rows, tick)]
        lengths = np.full(len(items), self.shape[0], dtype=np.int64)
        return Ragged(np.concatenate(blocks).reshape(-1, self.width), lengths)

    def _rows(self, model: Any, pixels: torch.Tensor) -> torch.Tensor:
        """(n, tokens, width) of photos (n, 3, h, w)."""
        found: torch.Tensor = model.forward_features(pixels)
        if self.tokens == "grid":
            return self._grid(model, found)
        prefix = getattr(model, "num_prefix_tokens", None)  # class token first, then registers
        if found.ndim != 3 or prefix is None:
            raise self._refusal("it is no vision transformer", "say grid for its feature map")
        if self.tokens == "patches":
            return found[:, prefix:]
        if getattr(model, "cls_token", None) is None:
            raise self._refusal("it has no class token", "say patches")
        import torch

        return torch.cat([found[:, :1], found[:, prefix:]], dim=1)

    def _grid(self, model: Any, found: torch.Tensor) -> torch.Tensor:
        if found.ndim != 4:
            raise self._refusal("it has no feature map", "say patches or cls+patches")
        if getattr(model, "output_fmt", "NCHW") == "NHWC":
            return found.flatten(1, 2)
        return found.flatten(2).transpose(1, 2)

    def _refusal(self, why: str, what: str) -> UserError:
        return UserError(f"encoder '{self.name}' gives no tokens '{self.tokens}': {why}", what)


@dataclass(frozen=True)
class TokenStates:
    """The hidden states that `base` would pool."""

    base: Transformer
    tokens: Tokens = "states"
    modality: Modality = "text"

    @property
    def name(self) -> str:
        """As recipes call it."""
        return self.base.name

    @property
    def weights(self) -> Weights:
        """Where they lie."""
        return self.base.weights

    @property
    def width(self) -> int:
        """Of a state."""
        return self.base.width

    def key(self) -> dict[str, Any]:
        """See `Encoder.key`."""
        return _key(self.base, self.tokens)

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> Ragged:
        """The states of each prompt's real tokens; errors as `Transformer.encode`."""
        import torch

        if not len(items):
            return Ragged(np.zeros((0, self.width), np.float32), np.zeros(0, np.int64))
        ids = self.base.token_ids(items)
        order, blocks = self.base.run(ids, lambda hidden, mask: hidden[mask.bool()], tick)
        states = torch.split(torch.cat(blocks), [len(ids[row]) for row in order])
        by_row = dict(zip(order, states, strict=True))
        values = torch.cat([by_row[row] for row in range(len(ids))]).numpy()
        return Ragged(values, np.array([len(one) for one in ids], dtype=np.int64))


def _key(base: Vision | Transformer, tokens: Tokens) -> dict[str, Any]:
    """The encoder's own, with the tokens in place of their pooling."""
    own = {name: value for name, value in base.key().items() if name != "pooling"}
    return {**own, "tokens": tokens}
