"""Dropout whose masks are a function: of a seed, the number of the draw and the element.

PyTorch draws masks one by one from a global generator, which other trainings in the process would
disturb, and which costs more than the matrix products of a trunk this narrow. Here an element's
random number is a hash of its index and of two keys of the draw. Hence no mask is stored (the
backward pass computes it again), and CPU, GPU and the compiled kernel keep the same elements.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import Function

from umlbench.errors import UserError

if TYPE_CHECKING:
    from types import ModuleType

WORD = 0xFFFFFFFF
GOLDEN = 0x9E3779B97F4A7C15
SPREAD = 0x9E3779B9  # of neighbouring indices
MIX = (0x7FEB352D, 0x846CA68B)


class Draw(NamedTuple):
    """One mask: an element is kept where its hash reaches `limit`, and multiplied by `scale`."""

    first: int
    second: int
    limit: int
    scale: float


class Dropout:
    """A stream of masks; two streams of one seed are equal.

    Raises `UserError` for a probability outside [0, 1).
    """

    def __init__(self, probability: float, seed: int) -> None:
        if not 0 <= probability < 1:
            raise UserError(f"dropout {probability}", "it must be at least 0 and below 1")
        self._limit, self._scale = round(probability * 2**32), 1 / (1 - probability)
        self._seed, self._drawn = seed, 0

    def draw(self) -> Draw:
        """The next mask."""
        if not self._limit:
            return Draw(0, 0, 0, 1.0)  # keeps everything
        self._drawn += 1
        key = _mixed((self._seed + self._drawn * GOLDEN) % 2**64)
        return Draw(key & WORD, key >> 32, self._limit, self._scale)

    def __call__(self, x: Tensor) -> Tensor:
        """x with the next mask."""
        draw = self.draw()
        return _thin(x, draw) if draw.limit else x


NO_DROPOUT = Dropout(0.0, seed=0)


def _mixed(value: int) -> int:
    """64 bits from 64 bits (splitmix64)."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return (value ^ value >> 31) % 2**64


class _Thinned(Function):
    """Dropout is linear: its backward pass is the same mask on the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, draw: Draw) -> Tensor:
        ctx.draw = draw
        return thinned(x, draw)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return thinned(grads[0], ctx.draw), None


_thin = cast("Callable[[Tensor, Draw], Tensor]", _Thinned.apply)


def thinned(x: Tensor, draw: Draw) -> Tensor:
    """x (contiguous or made so) where it is kept, scaled; 0 elsewhere."""
    kernel = _kernel(x)
    if kernel is None:
        return x * _kept(x, 0, draw) * draw.scale
    x = x.contiguous()
    out = torch.empty_like(x)
    kernel.thin(_flat(x), _flat(out), draw)
    return out


def gate_(x: Tensor, start: int, draw: Draw) -> None:
    """ReLU and dropout in place; x (rows, columns) is contiguous, its first element `start`."""
    kernel = _kernel(x)
    if kernel is None:
        x.relu_().mul_(_kept(x, start, draw)).mul_(draw.scale)
    else:
        kernel.gate(_flat(x), start, draw)


def gate_back_(grad: Tensor, out: Tensor, scale: float, sums: Tensor) -> None:
    """The gradient by the input of `gate_`, in place, from its output; column sums go to `sums`."""
    kernel = _kernel(grad)
    if kernel is None:
        grad.mul_(out > 0).mul_(scale)
        sums.add_(grad.sum(0))
    else:
        kernel.gate_back(grad.numpy(), out.numpy(), scale, sums.numpy())


def _flat(x: Tensor) -> Any:
    return x.detach().view(-1).numpy()


def _kept(x: Tensor, start: int, draw: Draw) -> Tensor:
    """Where elements are kept, in the shape of x: the kernel's hash in PyTorch's integers."""
    x_index = torch.arange(start, start + x.numel(), device=x.device)
    bits = (x_index * SPREAD & WORD) ^ draw.first
    bits = (bits ^ bits >> 16) * MIX[0] + draw.second & WORD
    bits = (bits ^ bits >> 15) * MIX[1] & WORD
    return (bits ^ bits >> 16).view(x.shape) >= draw.limit


def _kernel(x: Tensor) -> ModuleType | None:
    """The compiled form, where it can take x."""
    return _compiled() if x.device.type == "cpu" else None


@cache
def _compiled() -> ModuleType | None:
    try:
        return import_module("umlbench.models.kernel")
    except ImportError:  # no numba, or none for this version of Python or numpy
        return None
