"""The fused engine's arithmetic: a whole training step in one pass over weights and moments.

The pass goes over the T dimension in tiles. W is stored as (T, C), so that a tile of W and the same
tile of P are all that the shared coordinates t of the tile need: their gradients (sums over the
rows of the batch), AdamW, and what they add to the next step's logits

    dW[t, :] = sum_r in[r, t] e[r, :]      dP[t, :] = sum_b (W e_b)[t] x[b, :]
    in'[b, t] = P'[t, :] . x'[b, :]        logits'[r, :] += in'[r, t] W'[t, :]

with e the gradient by the unscaled logits. No gradient is ever written to memory; weights and
moments are read and written once per step. Only the softmax waits for all tiles.

The projections of all modalities are one P = [P_a | P_b | ...], each in lines of its own, and the
projected rows are (x_a, 0, ...), (0, x_b, ...), ...: what only meets zeros is left out.

The inner loops are vector instructions spelled out (llvmlite), a cache line at a time, and not left
to the compiler's vectorizer. Every sum has one order, which depends on shapes alone: neither the
number of threads nor the company of a trial changes a bit. Numbers of columns are padded with zeros
to whole lines, rows to whole blocks; zeros stay zeros under AdamW.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LINE = 64  # bytes: 16 floats or 8 doubles
WIDE = llvmlite.binding.get_host_cpu_features().get("avx512f", False)
ROWS = 8 if WIDE else 4  # of a block, an accumulator or more each: as many as registers hold
COLUMNS = 2  # tile rows that a block of dot products covers
TILE = 16  # shared coordinates per tile: weights and moments of a tile stay in the cache
BLOCK = 32  # samples evaluated together, so that they stay in the cache
SPINS = 2000  # looks at a barrier before the thread offers its core to others

Function = TypeVar("Function", bound=Callable[..., Any])


class Work(NamedTuple):
    """One trial's state. Lower case l stands for the elements of a line.

    A "panel" layout (C/l, R, l) keeps a line's worth of columns of all rows together.
    """

    head: np.ndarray[Any, Any]  # W (T, C) and its moments
    head_mean: np.ndarray[Any, Any]
    head_square: np.ndarray[Any, Any]
    projection: np.ndarray[Any, Any]  # P (T, D) and its moments; D = 0 where nothing is projected
    projection_mean: np.ndarray[Any, Any]
    projection_square: np.ndarray[Any, Any]
    blocks: np.ndarray[Any, Any]  # int64, per projected modality: rows from, to; D from, its width
    scales: np.ndarray[Any, Any]  # (3, M): values, moments
    inputs: np.ndarray[Any, Any]  # (T, R): what goes into the head
    back: np.ndarray[Any, Any]  # (threads, TILE, B): the gradient by the projected rows
    x: np.ndarray[Any, Any]  # (2, D/l, B, l): the B projected rows of this and the next step
    error: np.ndarray[Any, Any]  # (C/l, R, l): gradient by the unscaled logits
    logits: np.ndarray[Any, Any]  # (chunks, C/l, R, l): partial sums, unscaled
    row_loss: np.ndarray[Any, Any]  # (R,) float64
    row_scale: np.ndarray[Any, Any]  # (R,) float64: what a row adds to the gradient of its scale
    sync: np.ndarray[Any, Any]  # (16,) int64: arrivals at the barrier, and how often it opened


class Span(NamedTuple):
    """What a trial sees in some iterations without an evaluation in between."""

    projected: np.ndarray[Any, Any]  # one after the other: samples that are projected
    direct: np.ndarray[Any, Any]  # and samples that go into the head as they are, of width T
    width: int  # T without padding
    starts: np.ndarray[Any, Any]  # (iterations, R) int64: a row's first element; -1: padding
    labels: np.ndarray[Any, Any]  # (iterations, R) int64
    modality: np.ndarray[Any, Any]  # (R,) int64; -1: padding
    weights: np.ndarray[Any, Any]  # (R,): loss weight / B_m
    counts: np.ndarray[Any, Any]  # (M,): B_m
    adam: np.ndarray[Any, Any]  # (iterations, 7), see `adam_constants`
    losses: np.ndarray[Any, Any]  # (iterations, M), written


def _called(function: Function) -> Function:
    """Machine code that Python calls, kept on disk beside this file or in the user's cache."""
    return cast(Function, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


def _compiled(function: Function) -> Function:
    """Machine code within that; without the entrances for Python, which take long to compile."""
    inner = numba.njit(
        nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
    )
    return cast(Function, inner(function))


def _emitted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose instructions we write ourselves."""
    return cast("Callable[..., Any]", intrinsic(function))


class _Emitter:
    """Vector instructions for one element type; addresses and strides are in bytes."""

    def __init__(self, builder: Any, kind: Any) -> None:
        self.builder, self.size = builder, kind.bitwidth // 8
        self.element = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.count = LINE // self.size
        self.vector = ir.VectorType(self.element, self.count)

    def at(self, base: Any, *offsets: tuple[Any, int]) -> Any:
        """`base` plus variable x constant offsets."""
        for variable, factor in offsets:
            step = self.builder.mul(variable, ir.Constant(variable.type, factor))
            base = self.builder.add(base, step)
        return base

    def plus(self, base: Any, offset: int) -> Any:
        return self.builder.add(base, ir.Constant(base.type, offset))

    def pointer(self, address: Any, kind: Any) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, address: Any) -> Any:
        return self.builder.load(self.pointer(address, self.vector), align=self.size)

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.pointer(address, self.vector), align=self.size)

    def scalar(self, address: Any) -> Any:
        """One element, repeated in every lane."""
        return self.repeat(self.builder.load(self.pointer(address, self.element)))

    def repeat(self, value: Any) -> Any:
        nothing = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(one, nothing, self._lanes([0] * self.count))

    def call(self, name: str, *values: Any) -> Any:
        """An LLVM intrinsic on whole vectors."""
        kind = ir.FunctionType(self.vector, [self.vector] * len(values))
        full = f"llvm.{name}.v{self.count}f{8 * self.size}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, full)
        return self.builder.call(function, values)

    def total(self, value: Any) -> Any:
        """The sum of a vector's lanes, by halves."""
        count = self.count
        while count > 1:
            count //= 2
            low = self.builder.shuffle_vector(value, value, self._lanes(range(count)))
            high = self.builder.shuffle_vector(value, value, self._lanes(range(count, 2 * count)))
            value = self.builder.fadd(low, high)
        return self.builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    def accumulators(self, count: int) -> list[Any]:
        """Registers that start at zero."""
        slots = [cgutils.alloca_once(self.builder, self.vector) for _ in range(count)]
        for slot in slots:
            self.builder.store(ir.Constant(self.vector, None), slot)
        return slots

    def accumulate(self, slot: Any, x: Any, y: Any) -> None:
        self.builder.store(self.call("fmuladd", x, y, self.builder.load(slot)), slot)

    @staticmethod
    def _lanes(numbers: Any) -> Any:
        numbers = list(numbers)
        return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)


def _outer(emit: _Emitter, a: Any, down: Any, along: Any, line: Any, step: Any, n: Any) -> Any:
    """ROWS lines: sum over k < n of a[i * down + k * along] times the line at line + k * step."""
    slots = emit.accumulators(ROWS)
    rows = [emit.at(a, (down, i)) for i in range(ROWS)]
    with cgutils.for_range(emit.builder, n) as loop:
        k = loop.index
        values = emit.load(emit.builder.add(line, emit.builder.mul(k, step)))
        offset = emit.builder.mul(k, along)
        for slot, row in zip(slots, rows, strict=True):
            emit.accumulate(slot, emit.scalar(emit.builder.add(row, offset)), values)
    return [emit.builder.load(slot) for slot in slots]


@_emitted
def _add_outer(
    _: Any,
    zero: Any,
    _a: Any,
    _down: Any,
    _along: Any,
    _line: Any,
    _step: Any,
    _n: Any,
    _out: Any,
) -> Any:
    """Adds `_outer` to ROWS adjacent lines at `out`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(builder, signature.args[0])
        for i, value in enumerate(_outer(emit, *args[1:7])):
            address = emit.plus(args[7], i * LINE)
            emit.store(builder.fadd(emit.load(address), value), address)
        return context.get_dummy_value()

    return types.void(zero, *[types.intp] * 7), generate


@_emitted
def _adam_outer(
    _: Any,
    zero: Any,
    _a: Any,
    _down: Any,
    _along: Any,
    _line: Any,
    _step: Any,
    _n: Any,
    _value: Any,
    _mean: Any,
    _square: Any,
    _width: Any,
    _constants: Any,
) -> Any:
    """AdamW on ROWS lines `width` apart, `_outer` being their gradient."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _Emitter(builder, signature.args[0])
        gradient = _outer(emit, *args[1:7])
        constants = [emit.scalar(emit.plus(args[11], i * emit.size)) for i in range(7)]
        for i in range(ROWS):
            _adam(emit, gradient[i], [emit.at(x, (args[10], i)) for x in args[7:10]], constants)
        return context.get_dummy_value()

    return types.void(zero, *[types.intp] * 11), generate


def _adam(emit: _Emitter, gradient: Any, addresses: list[Any], constants: list[Any]) -> None:
    """One line of values and moments; the operations and their order are PyTorch's."""
    b = emit.builder
    keep, one_beta1, beta2, one_beta2, rate, correction, eps = constants
    value, mean, square = (emit.load(address) for address in addresses)
    mean = emit.call("fmuladd", one_beta1, b.fsub(gradient, mean), mean)
    square = emit.call("fmuladd", b.fmul(gradient, gradient), one_beta2, b.fmul(square, beta2))
    root = emit.call("fmuladd", emit.call("sqrt", square), correction, eps)
    value = b.fsub(b.fmul(value, keep), b.fdiv(b.fmul(rate, mean), root))
    for new, address in zip((value, mean, square), addresses, strict=True):
        emit.store(new, address)


@_emitted
def _dots(
    _: Any,
    zero: Any,
    _x: Any,
    _panel: Any,
    _w: Any,
    _width: Any,
    _n: Any,
    _out: Any,
    _step: Any,
) -> Any:
    """Dot products of ROWS rows of the panels at x and COLUMNS rows of w, over n lines.

    Row i and row j go to out + j * step, element i.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, x, panel, w, width, n, out, step = args
        emit = _Emitter(builder, signature.args[0])
        slots = [emit.accumulators(COLUMNS) for _ in range(ROWS)]
        with cgutils.for_range(builder, n) as loop:
            left = builder.add(x, builder.mul(loop.index, panel))
            right = emit.at(w, (loop.index, LINE))
            columns = [emit.load(emit.at(right, (width, j))) for j in range(COLUMNS)]
            for i, row in enumerate(slots):
                values = emit.load(emit.plus(left, i * LINE))
                for slot, column in zip(row, columns, strict=True):
                    emit.accumulate(slot, values, column)
        for i, row in enumerate(slots):
            for j, slot in enumerate(row):
                address = emit.plus(emit.at(out, (step, j)), i * emit.size)
                builder.store(emit.total(builder.load(slot)), emit.pointer(address, emit.element))
        return context.get_dummy_value()

    return types.void(zero, *[types.intp] * 7), generate


@_emitted
def _fetch_add(_: Any, _address: Any, _amount: Any) -> Any:
    """Adds to an int64 that threads share; the value before."""

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.intp, types.int64), generate


_sched_yield = types.ExternalFunction("sched_yield", types.int32())
YIELDS = os.name == "posix"


@_compiled
def _wait(sync: Any, team: int) -> None:
    """A barrier: returns when all threads of the team are here, and what they wrote is visible."""
    if team == 1:
        return
    arrived = sync.ctypes.data
    opened = arrived + 64
    before = _fetch_add(opened, 0)
    if _fetch_add(arrived, 1) == team - 1:
        _fetch_add(arrived, -team)
        _fetch_add(opened, 1)
        return
    spins = 0
    while _fetch_add(opened, 0) == before:
        spins += 1
        if YIELDS and spins > SPINS:
            _sched_yield()


@_compiled
def _block(work: Any, n: int) -> tuple[int, int, int, int]:
    """A projected modality: its rows from and to, its first column of P and how many."""
    return work.blocks[n, 0], work.blocks[n, 1], work.blocks[n, 2], work.blocks[n, 3]


@_compiled
def _update_tile(work: Any, t: int, thread: int, current: int, k: Any) -> None:
    """Gradients of the tile at t and AdamW; the head's old values give the projection's."""
    zero = work.head.dtype.type(0)
    size = work.head.itemsize
    rows, batch = work.inputs.shape[1], work.x.shape[2]
    classes, columns = work.head.shape[1] * size, work.projection.shape[1] * size
    error = work.error.ctypes.data
    back = work.back[thread].ctypes.data
    inputs = work.inputs.ctypes.data + t * rows * size
    x = work.x[current].ctypes.data
    head = work.head.ctypes.data
    for j in range(0, TILE, COLUMNS):
        for b in range(0, batch, ROWS):
            w = head + (t + j) * classes
            out = back + (j * batch + b) * size
            panel = rows * LINE
            _dots(zero, error + b * LINE, panel, w, classes, classes // LINE, out, batch * size)
    constants = k.ctypes.data
    for j in range(0, TILE, ROWS):
        a, down = inputs + j * rows * size, rows * size
        for q in range(0, classes, LINE):
            o = (t + j) * classes + q
            v, m, s = head + o, work.head_mean.ctypes.data + o, work.head_square.ctypes.data + o
            e = error + q * rows
            _adam_outer(zero, a, down, size, e, LINE, rows, v, m, s, classes, constants)
        for n in range(len(work.blocks)):
            first, stop, left, width = _block(work, n)
            a, down = back + (j * batch + first) * size, batch * size
            for q in range(left * size, (left + width) * size, LINE):
                o = (t + j) * columns + q
                v = work.projection.ctypes.data + o
                m = work.projection_mean.ctypes.data + o
                s = work.projection_square.ctypes.data + o
                e = x + q * batch + first * LINE
                _adam_outer(zero, a, down, size, e, LINE, stop - first, v, m, s, columns, constants)


@_compiled
def _forward_tile(work: Any, span: Any, t: int, chunk: int, it: int) -> None:
    """The head's inputs at the tile for iteration `it`, and their part of its logits."""
    zero = work.head.dtype.type(0)
    size = work.head.itemsize
    rows, batch = work.inputs.shape[1], work.x.shape[2]
    classes, columns = work.head.shape[1] * size, work.projection.shape[1] * size
    inputs = work.inputs.ctypes.data + t * rows * size
    x = work.x[it % 2].ctypes.data
    for n in range(len(work.blocks)):
        first, stop, left, width = _block(work, n)
        lines, q = -(-width * size // LINE), left * size
        for j in range(0, TILE, COLUMNS):
            p = work.projection.ctypes.data + (t + j) * columns + q
            for b in range(first, stop, ROWS):
                out, panel = inputs + (j * rows + b) * size, batch * LINE
                _dots(zero, x + q * batch + b * LINE, panel, p, columns, lines, out, rows * size)
    for r in range(batch, rows):
        start = span.starts[it, r]
        if start >= 0:
            for j in range(min(TILE, span.width - t)):
                work.inputs[t + j, r] = span.direct[start + t + j]
    logits = work.logits[chunk].ctypes.data
    for q in range(0, classes, LINE):
        w = work.head.ctypes.data + t * classes + q
        for r in range(0, rows, ROWS):
            a, out = inputs + r * size, logits + q * rows + r * LINE
            _add_outer(zero, a, size, rows * size, w, classes, TILE, out)


@_compiled
def _pass(work: Any, span: Any, it: int, thread: int, team: int, update: bool, ahead: bool) -> None:
    """One pass over this thread's chunks of T: the update of `it`, the products of the next."""
    chunks, tiles = work.logits.shape[0], work.head.shape[0] // TILE
    for chunk in range(thread, chunks, team):
        if ahead:
            work.logits[chunk] = 0
        for tile in range(tiles * chunk // chunks, tiles * (chunk + 1) // chunks):
            if update:
                _update_tile(work, tile * TILE, thread, it % 2, span.adam[it])
            if ahead:
                _forward_tile(work, span, tile * TILE, chunk, it + 1)


@_compiled
def _gather_projected(work: Any, span: Any, it: int, thread: int, team: int) -> None:
    """The projected rows of iteration `it` in panels."""
    lanes = work.x.shape[3]
    if it >= len(span.starts):
        return
    for n in range(len(work.blocks)):
        first, stop, left, width = _block(work, n)
        for b in range(first + thread, stop, team):
            start = span.starts[it, b]
            if start >= 0:
                for d in range(width):
                    c = left + d
                    work.x[it % 2, c // lanes, b, c % lanes] = span.projected[start + d]


@_compiled
def _error_row(work: Any, span: Any, it: int, r: int, classes: int) -> None:
    """Row r: the logits from their parts, cross-entropy, its gradient by the unscaled logits.

    The sum of the exponentials is kept in double precision, where it costs nothing.
    """
    panels, _, lanes = work.error.shape
    kind = work.head.dtype.type
    scale, weight = work.scales[0, span.modality[r]], span.weights[r]
    top = kind(-np.inf)
    for q in range(panels):
        raw = work.logits[0, q, r]
        for chunk in range(1, work.logits.shape[0]):
            part = work.logits[chunk, q, r]
            for h in range(lanes):
                raw[h] += part[h]
        for h in range(min(lanes, classes - q * lanes)):
            top = max(top, raw[h] * scale)
    total = 0.0
    for q in range(panels):
        raw, error = work.logits[0, q, r], work.error[q, r]
        for h in range(min(lanes, classes - q * lanes)):
            error[h] = math.exp(raw[h] * scale - top)
            total += error[h]
    label = span.labels[it, r]
    right = work.logits[0, label // lanes, r, label % lanes]
    work.row_loss[r] = math.log(total) - (np.float64(right * scale) - top)
    share, gradient = kind(1 / total), 0.0
    for q in range(panels):
        work.error[q, r] *= share
    work.error[label // lanes, r, label % lanes] -= kind(1)
    for q in range(panels):
        raw, error = work.logits[0, q, r], work.error[q, r]
        for h in range(min(lanes, classes - q * lanes)):
            error[h] *= weight
            gradient += error[h] * raw[h]
            error[h] *= scale
    work.row_scale[r] = gradient


@_compiled
def _close_step(work: Any, span: Any, it: int, learnable: bool) -> None:
    """The batch's mean losses, and AdamW on the scales."""
    k = span.adam[it]
    for m in range(len(span.counts)):
        loss, gradient = 0.0, 0.0
        for r in range(len(span.modality)):
            if span.modality[r] == m:
                loss += work.row_loss[r]
                gradient += work.row_scale[r]
        span.losses[it, m] = loss / span.counts[m]
        if learnable:
            mean, square = work.scales[1, m], work.scales[2, m]
            mean += k[1] * (gradient - mean)
            square = square * k[2] + gradient * gradient * k[3]
            root = math.sqrt(square) * k[5] + k[6]
            work.scales[0, m] = work.scales[0, m] * k[0] - k[4] * mean / root
            work.scales[1, m], work.scales[2, m] = mean, square


@_called
def train_span(work: Any, span: Any, classes: int, learnable: bool, thread: int, team: int) -> None:
    """Trains through a span. Each thread of the team makes this call; alone it is 0 of 1."""
    last = len(span.losses) - 1
    _gather_projected(work, span, 0, thread, team)
    _wait(work.sync, team)
    _pass(work, span, -1, thread, team, False, True)
    _wait(work.sync, team)
    for it in range(last + 1):
        for r in range(thread, len(span.modality), team):
            if span.modality[r] >= 0:
                _error_row(work, span, it, r, classes)
        _gather_projected(work, span, it + 1, thread, team)
        _wait(work.sync, team)
        if thread == 0:
            _close_step(work, span, it, learnable)
        _pass(work, span, it, thread, team, True, it < last)
        _wait(work.sync, team)


@_called
def target_logits(
    head: Any,
    projection: Any,
    folded: Any,
    x: Any,
    scale: Any,
    out: Any,
    sync: Any,
    thread: int,
    team: int,
) -> None:
    """Logits (N, C) of the target's samples x (N, D), all padded; `folded` (D/l, C, l) is W P.

    P begins with the target's projection. `folded` starts at zero; where the target has none, P is
    empty and `folded` W itself, written by the caller.
    """
    zero = head.dtype.type(0)
    size = head.itemsize
    classes, columns = head.shape[1], x.shape[1] * size
    step = projection.shape[1] * size
    if step:
        for q in range(thread * LINE, columns, team * LINE):
            for c in range(0, classes, ROWS):
                a, line = head.ctypes.data + c * size, projection.ctypes.data + q
                place = folded.ctypes.data + q * classes + c * LINE
                _add_outer(zero, a, size, classes * size, line, step, head.shape[0], place)
    _wait(sync, team)
    for start in range(thread * BLOCK, x.shape[0], team * BLOCK):
        stop = min(start + BLOCK, x.shape[0])
        for c in range(0, classes, ROWS):
            f = folded.ctypes.data + c * LINE
            for n in range(start, stop, COLUMNS):
                w = x.ctypes.data + n * columns
                place = out.ctypes.data + (n * classes + c) * size
                _dots(zero, f, classes * LINE, w, columns, columns // LINE, place, classes * size)
        out[start:stop] *= scale
