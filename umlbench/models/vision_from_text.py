"""A vision transformer whose layers are a language model's (section 4.3 and B.4.4, Figure 7).

An image is cut into patches of raw values, each mapped linearly to the model's width; a learned
class token and learned positions join them. The layers of the language model follow, every position
seeing every other, and behind the class token the first layer of a two-layer head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from umlbench.errors import UserError
from umlbench.models.head import linear_init

# Where transformers' text models have their layers, and what normalises their last output.
PLACES: Mapping[str, str] = {
    "encoder.layer": "",  # BERT, RoBERTa, ELECTRA: each layer ends in its own
    "transformer.layer": "",  # DistilBERT
    "h": "ln_f",  # GPT-2
    "layers": "norm",  # Llama, Mistral
    "decoder.layers": "decoder.final_layer_norm",  # OPT
}
EMBEDDING_NORM = "embeddings.LayerNorm"
STD = 0.02  # of class token and positions at the start, as in ViT


class Stack(nn.Module):
    """The layers of a model of transformers, without its embeddings and without a causal mask.

    `embedding_norm` keeps the norm of its embeddings before them, where it has one; `dropout` comes
    behind that, the layers' own is as configured. Raises `UserError` for a model whose layers are
    elsewhere, need more than vectors, or look back only.
    """

    def __init__(self, model: Any, *, dropout: float = 0.1, embedding_norm: bool = True) -> None:
        super().__init__()
        place = next((one for one in PLACES if isinstance(_at(model, one), nn.ModuleList)), None)
        if place is None:
            raise _refusal(model, f"none of {', '.join(PLACES)} are its layers")
        first = _at(model, EMBEDDING_NORM) if embedding_norm else None
        self.first = first or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.layers = _at(model, place)
        self.last = _at(model, PLACES[place]) or nn.Identity()
        self.rotary = _at(model, "rotary_emb")
        _look_everywhere(self.layers)
        _check(self, model)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) to (B, N, width)."""
        x = self.dropout(self.first(x))
        extra = {}
        if self.rotary is not None:  # positions inside every layer's attention
            numbers = torch.arange(x.shape[1], device=x.device)[None]
            extra["position_embeddings"] = self.rotary(x, numbers)
        for layer in self.layers:
            out = layer(x, attention_mask=None, **extra)
            x = out if isinstance(out, Tensor) else out[0]  # of older versions
        after: Tensor = self.last(x)
        return after


def _at(model: Any, place: str) -> Any:
    """What a model has at a dotted place; None for nothing, and for no place."""
    for name in place.split("."):
        model = getattr(model, name, None)
    return model


def _look_everywhere(layers: nn.Module) -> None:
    """Without a mask, attention is causal where a module says so."""
    for module in layers.modules():
        if hasattr(module, "is_causal"):
            setattr(module, "is_causal", False)  # noqa: B010 - a plain flag, no tensor or module


@torch.no_grad()
def _check(stack: Stack, model: Any) -> None:
    """`UserError` unless the first output changes with the last input."""
    training, parameter = stack.training, next(stack.layers.parameters())
    stream = torch.Generator().manual_seed(0)
    try:
        drawn = torch.randn(4, model.config.hidden_size, generator=stream).to(parameter)
        x, other = drawn[None, [0, 1, 2]], drawn[None, [0, 1, 3]]
        first, changed = (stack.eval()(one)[:, 0] for one in (x, other))
    except (TypeError, AttributeError, ValueError, RuntimeError) as error:
        line = str(error).strip().splitlines()[0]
        raise _refusal(model, f"its layers do not take vectors alone: {line}") from error
    if torch.equal(first, changed):
        raise _refusal(model, "its layers look back only")
    stack.train(training)


def _refusal(model: Any, why: str) -> UserError:
    kind = getattr(model.config, "model_type", type(model).__name__)
    what = f"a '{kind}' cannot be the start of a vision model: {why}"
    return UserError(what, "name one of the kinds bert, roberta, distilbert, gpt2, llama or opt")


@dataclass(frozen=True)
class Shape:
    """Sides of an image and of its patches in pixels, widths of the stack and of the head."""

    image: int
    patch: int
    width: int
    head: int

    @property
    def patches(self) -> int:
        """Of an image."""
        return (self.image // self.patch) ** 2


class VisionFromText(nn.Module):
    """Images (B, 3, image, image) to what the last layer of the head reads, (B, head).

    All that is not the stack starts from `stream`: linear maps as `nn.Linear` does (biases at
    zero), class token and positions with a standard deviation of 0.02.
    """

    def __init__(self, stack: Stack, shape: Shape, stream: torch.Generator) -> None:
        super().__init__()
        self.shape, self.stack = shape, stack
        width = shape.width
        self.embed = _linear(width, 3 * shape.patch**2, stream)
        self.token = nn.Parameter(STD * torch.randn(width, generator=stream))
        self.positions = nn.Parameter(STD * torch.randn(shape.patches + 1, width, generator=stream))
        self.hidden = _linear(shape.head, width, stream)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        embedded = self.embed(patches(images, self.shape.patch))
        token = self.token.to(embedded.dtype).expand(len(images), 1, -1)
        states = self.stack(torch.cat([token, embedded], dim=1) + self.positions)
        return nn.functional.gelu(self.hidden(states[:, 0]))


def patches(images: Tensor, side: int) -> Tensor:
    """(B, 3, h, w) to (B, (h/side)(w/side), 3 side²): raw values, pixel by pixel, line by line."""
    batch, channels, height, width = images.shape
    cut = images.reshape(batch, channels, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, channels * side**2)


def _linear(rows: int, columns: int, stream: torch.Generator) -> nn.Linear:
    made = nn.Linear(columns, rows, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        made.weight.copy_(linear_init(rows, columns, stream))
        made.bias.zero_()
    return made
