"""The shared autoregressive trunk of self-supervised UML (section 3.2, appendix B.4.1).

Every modality has a linear map in and a linear map out. Between them all share a bias-free map (in
the released code a convolution of width 1), positions and a causal post-norm transformer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import linear, mse_loss

from umlbench.models.dropout import NO_DROPOUT, Draw, Dropout, gate_, gate_back_

Positions = Literal["none", "sinusoidal", "learned"]
Streams = Callable[[str], torch.Generator]

LONGEST = 128  # steps that have a position
ROWS = 256  # steps that a CPU takes through a feed-forward block at once: what its cache holds


class SharedTrunk(nn.Module):
    """Modalities of `widths` {name: D} through one transformer of width z; zero until `reset`.

    Steps see themselves and those before them. So padding at the end of a sequence changes none of
    its true steps: to mask padding it is enough to leave it out of losses and means.
    """

    positions: Tensor | None

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int = 40,
        layers: int = 5,
        heads: int = 5,
        feedforward: int = 2048,
        positions: Positions = "none",
    ) -> None:
        super().__init__()
        self.inputs = nn.ModuleDict({name: Linear(d, width) for name, d in widths.items()})
        self.conv = Linear(width, width, bias="none")
        if positions == "sinusoidal":
            self.register_buffer("positions", sinusoidal(width), persistent=False)
        else:
            learned = nn.Parameter(torch.zeros(LONGEST, width)) if positions == "learned" else None
            self.register_parameter("positions", learned)
        self.layers = nn.ModuleList(Layer(width, heads, feedforward) for _ in range(layers))
        self.decoders = nn.ModuleDict({name: Linear(width, d) for name, d in widths.items()})

    def reset(self, streams: Streams) -> None:
        """Draw every parameter by PyTorch's laws; `streams` gives a CPU stream for a name.

        A name lacks the layer's number: all layers start equal, as in the released code, whose
        `nn.TransformerEncoder` copies one of them.
        """
        for name, module in self.named_modules():
            if isinstance(module, Linear):
                module.reset(streams(re.sub(r"^layers\.\d+", "layers", name)))
        if isinstance(self.positions, nn.Parameter):
            drawn = torch.randn(self.positions.shape, generator=streams("positions"))
            self.positions.detach().copy_(drawn)

    def forward(self, modality: str, x: Tensor, dropout: Dropout = NO_DROPOUT) -> Tensor:
        """States (B, T, z) of x (B, T, D); `dropout` in training only."""
        hidden: Tensor = self.conv(self.inputs[modality](x))
        if self.positions is not None:
            hidden = hidden + self.positions[: x.shape[1]]
        ahead = hidden.new_full((x.shape[1], x.shape[1]), -math.inf).triu(1)
        for layer in self.layers:
            hidden = layer(hidden, ahead, dropout)
        return hidden

    def loss(
        self,
        modality: str,
        x: Tensor,
        lengths: Tensor | None = None,
        dropout: Dropout = NO_DROPOUT,
    ) -> Tensor:
        """Mean squared error of every next step (of the step itself where T is 1).

        The mean is over all entries, zeros of padding too; with `lengths` (B,) over true steps.
        """
        states = self(modality, x, dropout)
        shift = int(x.shape[1] > 1)
        if shift:
            states, x = states[:, :-1], x[:, 1:]
        predicted: Tensor = self.decoders[modality](states)
        if lengths is None:
            return mse_loss(predicted, x)
        true = within(lengths - shift, x.shape[1])
        error = (predicted - x).square().mean(2)
        return (error * true).sum() / true.sum().clamp(min=1)


class Linear(nn.Module):
    """`nn.Linear`, zero until `reset`, which draws from U(-bound, bound).

    `bound` is 1 / sqrt(fan_in) unless given, for the bias always. A bias may stay zero.
    """

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        *,
        bound: float | None = None,
        bias: Literal["drawn", "zero", "none"] = "drawn",
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(fan_out, fan_in))
        self.bias = None if bias == "none" else nn.Parameter(torch.zeros(fan_out))
        usual = 1 / math.sqrt(fan_in)
        self._bounds = (bound or usual, usual if bias == "drawn" else 0.0)

    @torch.no_grad()
    def reset(self, stream: torch.Generator) -> None:
        """Draw from a CPU stream."""
        for part, bound in zip((self.weight, self.bias), self._bounds, strict=True):
            if part is not None and bound:
                part.copy_(torch.empty(part.shape).uniform_(-bound, bound, generator=stream))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., fan_in) mapped to (..., fan_out)."""
        return linear(x, self.weight, self.bias)


class Layer(nn.Module):
    """A post-norm transformer layer with ReLU, as PyTorch's `nn.TransformerEncoderLayer`."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        xavier = math.sqrt(6 / (width + 3 * width))
        self.qkv = Linear(width, 3 * width, bound=xavier, bias="zero")
        self.mix = Linear(width, width, bias="zero")
        self.norm1 = nn.LayerNorm(width)
        self.up = Linear(width, feedforward)
        self.down = Linear(feedforward, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, ahead: Tensor, dropout: Dropout) -> Tensor:
        """x (B, T, z) one layer on; `ahead` (T, T) is -inf where a step would see the future."""
        x = self.norm1(x + dropout(self._attention(x, ahead, dropout)))
        return self.norm2(x + dropout(self._feedforward(x, dropout)))  # type: ignore[no-any-return]

    def _attention(self, x: Tensor, ahead: Tensor, dropout: Dropout) -> Tensor:
        batch, steps, width = x.shape
        split = self.qkv(x).view(batch, steps, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        weights = dropout((q * q.shape[-1] ** -0.5 @ k.mT + ahead).softmax(-1))
        mixed: Tensor = self.mix((weights @ v).transpose(1, 2).reshape(batch, steps, width))
        return mixed

    def _feedforward(self, x: Tensor, dropout: Dropout) -> Tensor:
        up, down = self.up, self.down
        weights = (up.weight, up.bias, down.weight, down.bias)
        made = _feedforward(x.flatten(0, 1), *weights, dropout.draw())
        return made.view_as(x)


class _FeedForward(Function):
    """Linear, ReLU, dropout, linear, some rows at a time.

    A trunk spends nearly all of its time here, for the hidden layer is 50 times as wide as z.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        up: Tensor,
        up_bias: Tensor,
        down: Tensor,
        down_bias: Tensor,
        draw: Draw,
    ) -> Tensor:
        hidden = x.new_empty(len(x), len(up))
        out = torch.empty_like(x)
        for rows in _chunks(x):
            torch.addmm(up_bias, x[rows], up.T, out=hidden[rows])
            gate_(hidden[rows], rows.start * len(up), draw)
            torch.addmm(down_bias, hidden[rows], down.T, out=out[rows])
        ctx.save_for_backward(x, hidden, up, down)
        ctx.scale = draw.scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, up, down = ctx.saved_tensors
        grad, by_x = grads[0].contiguous(), torch.empty_like(x)
        by_up, by_down, by_bias = (
            torch.zeros_like(up), torch.zeros_like(down), up.new_zeros(len(up))
        )  # fmt: skip
        chunks = _chunks(x)
        by_hidden = x.new_empty(chunks[0].stop, len(up))
        for rows in chunks:
            back = by_hidden[: rows.stop - rows.start]
            by_down.addmm_(grad[rows].T, hidden[rows])
            torch.mm(grad[rows], down, out=back)
            gate_back_(back, hidden[rows], ctx.scale, by_bias)
            by_up.addmm_(back.T, x[rows])
            torch.mm(back, up, out=by_x[rows])
        return by_x, by_up, by_bias, by_down, grad.sum(0), None


_feedforward = cast("Callable[..., Tensor]", _FeedForward.apply)


def _chunks(x: Tensor) -> list[slice]:
    """Rows that are taken at once: on a GPU all."""
    size = ROWS if x.device.type == "cpu" else len(x)
    return [slice(start, min(start + size, len(x))) for start in range(0, len(x), size)]


def within(lengths: Tensor, steps: int) -> Tensor:
    """Whether a step is a true one: (B, steps) from the lengths (B,)."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def sinusoidal(width: int) -> Tensor:
    """The fixed table (LONGEST, width) of Vaswani et al. 2017: sines in the even columns."""
    steps = torch.arange(LONGEST, dtype=torch.float32)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * -(math.log(1e4) / width))
    return torch.stack([torch.sin(steps * rates), torch.cos(steps * rates)], 2).flatten(1)
