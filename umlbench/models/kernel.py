"""ReLU and dropout in one pass over memory (see `umlbench.models.dropout`), compiled by numba.

The machine code is kept until this file changes: the constants it takes from `dropout` are part of
the hash's definition and do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
import numpy as np

from umlbench.models import dropout

if TYPE_CHECKING:
    from umlbench.models.dropout import Draw

Array = np.ndarray[Any, Any]
Compiled = TypeVar("Compiled", bound=Callable[..., Any])

_WORD = np.uint32
_SPREAD = np.uint32(dropout.SPREAD)
_MIX0, _MIX1 = (np.uint32(value) for value in dropout.MIX)
_HALF, _ODD = np.uint32(16), np.uint32(15)


def _called(function: Compiled) -> Compiled:
    """Machine code, kept on disk beside this file or in the user's cache."""
    return cast(Compiled, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


def thin(x: Array, out: Array, draw: Draw) -> None:
    """`dropout.thinned` of flat x, written to out."""
    _thin(x, out, *_keys(draw), x.dtype.type(draw.scale))


def gate(x: Array, start: int, draw: Draw) -> None:
    """`dropout.gate_` of flat x."""
    _gate(x, _WORD(start), *_keys(draw), x.dtype.type(draw.scale))


def gate_back(grad: Array, out: Array, scale: float, sums: Array) -> None:
    """`dropout.gate_back_` of grad (rows, columns)."""
    _gate_back(grad, out, grad.dtype.type(scale), sums)


def _keys(draw: Draw) -> tuple[np.uint32, np.uint32, np.uint32]:
    return _WORD(draw.first), _WORD(draw.second), _WORD(draw.limit)


@_called
def _hash(index: np.uint32, first: np.uint32, second: np.uint32) -> np.uint32:
    """32 bits; every step is cut to a word, so that sixteen of them fit a vector."""
    bits = _WORD(index * _SPREAD) ^ first
    bits = _WORD(_WORD(bits ^ _WORD(bits >> _HALF)) * _MIX0 + second)
    bits = _WORD(_WORD(bits ^ _WORD(bits >> _ODD)) * _MIX1)
    word: np.uint32 = _WORD(bits ^ _WORD(bits >> _HALF))
    return word


@_called
def _thin(
    x: Array, out: Array, first: np.uint32, second: np.uint32, limit: np.uint32, scale: Any
) -> None:
    for i in range(x.size):
        out[i] = x[i] * scale if _hash(_WORD(i), first, second) >= limit else x[i] * 0


@_called
def _gate(
    x: Array, start: np.uint32, first: np.uint32, second: np.uint32, limit: np.uint32, scale: Any
) -> None:
    zero = x.dtype.type(0)
    for i in range(x.size):
        kept = (_hash(_WORD(i + start), first, second) >= limit) & (x[i] > zero)
        x[i] = x[i] * scale if kept else zero


@_called
def _gate_back(grad: Array, out: Array, scale: Any, sums: Array) -> None:
    zero = grad.dtype.type(0)
    for row in range(grad.shape[0]):
        for column in range(grad.shape[1]):
            value = grad[row, column] * scale if out[row, column] > zero else zero
            grad[row, column] = value
            sums[column] += value
