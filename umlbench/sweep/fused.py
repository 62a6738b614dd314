"""The engine for CPUs: every trial alone, by compiled code, without an interpreter between steps.

Trials run side by side, one thread each. Those left over when all threads have had their share are
trained one after the other by a team of threads. See `umlbench.sweep.kernel` for the step.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from umlbench.sweep import kernel
from umlbench.sweep.order import Order
from umlbench.sweep.progress import Keep, Progress, drawn, mean_of_batches
from umlbench.sweep.schedule import Schedule, learning_rate
from umlbench.sweep.trial import Samples, Trial, TrialResult, Weights

Array = NDArray[Any]
Value = TypeVar("Value")
CHUNK = 256  # least number of shared coordinates t that a thread of a team works on at once
CHUNKS = 8  # at most; partial sums of logits are added in their order


def train(
    trials: Sequence[Trial],
    schedule: Schedule,
    dtype: torch.dtype,
    keep: Collection[Keep],
    threads: int,
) -> list[TrialResult]:
    """Results in the order of the trials, equal to the bit for any number of threads."""
    shared = _Shared(trials, dtype)
    with _Threads(threads) as pools:

        def run(trial: Trial, team: int) -> TrialResult:
            return _Training(trial, schedule, shared, frozenset(keep), pools, team).finish()

        if threads == 1:
            return [run(trial, 1) for trial in trials]
        alone = len(trials) - len(trials) % threads
        results = pools.each(lambda trial: run(trial, 1), trials[:alone])
        team = threads // max(1, len(trials) - alone)
        return results + pools.each(lambda trial: run(trial, team), trials[alone:])


class Interrupted(Exception):
    """Ends a trial whose results nobody waits for any more."""


class _Threads:
    """Threads for trials, and threads that help those."""

    def __init__(self, threads: int) -> None:
        self.trials = ThreadPoolExecutor(threads)
        self.helpers = ThreadPoolExecutor(threads)
        self._ended = threading.Event()

    def __enter__(self) -> _Threads:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for pool in (self.trials, self.helpers):
            pool.shutdown(cancel_futures=True)

    def each(
        self, run: Callable[[Trial], TrialResult], trials: Sequence[Trial]
    ) -> list[TrialResult]:
        return list(self.trials.map(run, trials))

    def together(self, call: Callable[..., None], *arguments: object, team: int) -> None:
        """`call(..., thread, team)` on all threads of a team, of which this is one."""
        if self._ended.is_set():
            raise Interrupted
        others = [self.helpers.submit(call, *arguments, n, team) for n in range(1, team)]
        call(*arguments, 0, team)
        for other in others:
            other.result()


class _Shared:
    """What trials have in common: samples in the sweep's precision, and batches drawn once."""

    def __init__(self, trials: Sequence[Trial], dtype: torch.dtype) -> None:
        self.torch_dtype = dtype
        self.dtype = np.dtype(str(dtype).removeprefix("torch."))
        self.lanes = kernel.LINE // self.dtype.itemsize
        self._uses = Counter(s.order for trial in trials for s in trial.streams)
        self._kept: dict[object, Any] = {}
        self._lock = threading.RLock()

    def _once(self, key: object, make: Callable[[], Value]) -> Value:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            value: Value = self._kept[key]
            return value

    def x(self, samples: Samples) -> Array:
        """Features (N, width)."""
        return self._once((samples, "x"), lambda: self._plain(samples.x))

    def _plain(self, x: torch.Tensor) -> Array:
        return x.detach().to("cpu", self.torch_dtype).contiguous().numpy()

    def y(self, samples: Samples) -> Array:
        """Labels (N,)."""
        return self._once((samples, "y"), lambda: samples.y.to("cpu", torch.int64).numpy())

    def joined(self, sets: tuple[Samples, ...]) -> Array:
        """Features of several sets, one element after the other."""
        parts = [self.x(samples).reshape(-1) for samples in sets]
        if len(parts) < 2:
            return parts[0] if parts else self.zeros(0)
        return self._once(sets, lambda: np.concatenate(parts))

    def padded(self, samples: Samples) -> Array:
        """Features in whole lines and whole blocks of rows."""
        shape = _up(len(samples), kernel.COLUMNS), _up(samples.x.shape[1], self.lanes)
        return self._once((samples, "padded"), lambda: self.zeros(*shape, holding=self.x(samples)))

    def zeros(self, *shape: int, holding: Array | None = None) -> Array:
        """Zeros with an array in their first corner, aligned to a line."""
        made: Array = torch.zeros(shape, dtype=self.torch_dtype).numpy()
        if holding is not None:
            made[tuple(slice(size) for size in holding.shape)] = holding
        return made

    def rows(self, order: Order, samples: Samples, span: range) -> Array:
        """Batches (iterations, B); kept for the other trials with this order."""
        with self._lock:
            if self._uses[order] == 1:
                return drawn(order, samples, span).numpy()
            key = (order, samples, span.start)
            return self._once(key, lambda: drawn(order, samples, span).to(torch.int32).numpy())


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


class _Rows:
    """Where the samples of a batch lie among the R rows of a step; projected modalities come first.

    A projected modality has whole blocks of rows to itself, and whole lines of the columns of P.
    """

    def __init__(self, trial: Trial, shared: _Shared) -> None:
        streams, sizes = trial.streams, trial.batch_sizes
        self.projected = [m for m, s in enumerate(streams) if s.projection is not None]
        self.direct = [m for m, s in enumerate(streams) if s.projection is None]
        self.slices: dict[int, slice] = {}
        self.columns: dict[int, slice] = {}
        self.blocks = np.empty((len(self.projected), 4), np.int64)
        end = left = 0
        for block, m in zip(self.blocks, self.projected, strict=True):
            width = streams[m].samples.x.shape[1]
            self.slices[m], self.columns[m] = slice(end, end + sizes[m]), slice(left, left + width)
            block[:] = end, end + _up(sizes[m], kernel.ROWS), left, width
            end, left = int(block[1]), left + _up(width, shared.lanes)
        self.projected_rows, self.projected_columns = end, left
        for m in self.direct:
            self.slices[m] = slice(end, end + sizes[m])
            end += sizes[m]
        self.count = _up(end, kernel.ROWS)
        self.modality = np.full(self.count, -1, np.int64)
        self.weights = shared.zeros(self.count)
        for m, part in self.slices.items():
            self.modality[part] = m
            self.weights[part] = streams[m].weight / sizes[m]
        self.counts = np.array(sizes, shared.dtype)


class _Training:
    """One trial from the first iteration to the last."""

    def __init__(
        self,
        trial: Trial,
        schedule: Schedule,
        shared: _Shared,
        keep: frozenset[Keep],
        pools: _Threads,
        team: int,
    ) -> None:
        self.trial, self.schedule, self.shared, self.keep = trial, schedule, shared, keep
        self.pools, self.progress = pools, Progress()
        self.rows = _Rows(trial, shared)
        self.work = _work(trial, shared, self.rows, team)
        self.team = min(team, len(self.work.logits))
        self.best = [np.empty_like(part) for part in self._weights()]

    def finish(self) -> TrialResult:
        """Trains to the end and evaluates the best weights on the test set."""
        for span in self.schedule.blocks():
            self._advance(span)
            if self.schedule.evaluates(span[-1]):
                self._evaluate(span[-1])
            if self.progress.stop_iteration is not None:
                break
        test = self._logits(self.trial.test, self.best)
        correct = self._correct(test, self.trial.test)
        best, last = (self._unpacked(weights) for weights in (self.best, self._weights()))
        return self.progress.result(self.trial.sizes, "fused", correct, self.keep, best, last)

    def _weights(self) -> list[Array]:
        work = self.work
        return [work.head, work.projection, work.scales]

    def _unpacked(self, weights: Sequence[Array]) -> Weights:
        """Weights in the shapes they came in."""
        head, projection, scales = (torch.from_numpy(part) for part in weights)
        classes, width = self.trial.head.shape
        columns = [self.rows.columns.get(m) for m in range(len(self.trial.streams))]
        kept = [None if part is None else projection[:width, part].clone() for part in columns]
        return Weights(head[:width, :classes].T.clone(), scales[0].clone(), tuple(kept))

    def _advance(self, iterations: range) -> None:
        span = self._span(iterations)
        arguments = (self.work, span, self.trial.head.shape[0], self.trial.learnable_scale)
        self.pools.together(kernel.train_span, *arguments, team=self.team)
        self.progress.iterations = iterations.stop
        if "losses" in self.keep:
            self.progress.losses.append(torch.from_numpy(span.losses))

    def _span(self, span: range) -> kernel.Span:
        """The batches, labels and rates of a span's iterations."""
        trial, shared, rows = self.trial, self.shared, self.rows
        starts = np.full((len(span), rows.count), -1, np.int64)
        labels = np.zeros((len(span), rows.count), np.int64)
        features = []
        for kind in (rows.projected, rows.direct):
            streams, offset = [trial.streams[m] for m in kind], 0
            for m, stream in zip(kind, streams, strict=True):
                batch = shared.rows(stream.order, stream.samples, span).astype(np.int64)
                starts[:, rows.slices[m]] = offset + batch * stream.samples.x.shape[1]
                labels[:, rows.slices[m]] = shared.y(stream.samples)[batch]
                offset += stream.samples.x.numel()
            features.append(shared.joined(tuple(stream.samples for stream in streams)))
        return kernel.Span(
            projected=features[0],
            direct=features[1],
            width=trial.head.shape[1],
            starts=starts,
            labels=labels,
            modality=rows.modality,
            weights=rows.weights,
            counts=rows.counts,
            adam=_adam_constants(trial, self.schedule, span).astype(shared.dtype),
            losses=shared.zeros(len(span), len(trial.streams)),
        )

    def _evaluate(self, iteration: int) -> None:
        """Validates; keeps the best weights."""
        logits = self._logits(self.trial.val, self._weights())
        correct = self._correct(logits, self.trial.val)
        if self.progress.note(iteration, correct, self.schedule.patience):
            for kept, part in zip(self.best, self._weights(), strict=True):
                np.copyto(kept, part)
        if "val_loss" in self.keep:
            labels = torch.from_numpy(self.shared.y(self.trial.val))
            size = self.trial.batch_sizes[0]
            loss = mean_of_batches(torch.from_numpy(logits), labels, size)
            self.progress.val_loss.append(loss)

    def _logits(self, samples: Samples, weights: Sequence[Array]) -> Array:
        """Logits (N, C) of samples of the target modality."""
        head, projection, scales = weights
        x = self.shared.padded(samples)
        lanes = self.shared.lanes
        folded = self.shared.zeros(x.shape[1] // lanes, head.shape[1], lanes)
        if self.trial.target.projection is None:
            projection = self.shared.zeros(0, 0)
            wide = self.shared.zeros(x.shape[1], head.shape[1])
            wide[:] = head[: x.shape[1]]
            folded[:] = wide.reshape(len(folded), lanes, -1).swapaxes(1, 2)
        out = self.shared.zeros(len(x), head.shape[1])
        arguments = (head, projection, folded, x, scales[0, 0], out, self.work.sync)
        self.pools.together(kernel.target_logits, *arguments, team=self.team)
        return out[: len(samples), : self.trial.head.shape[0]]

    def _correct(self, logits: Array, samples: Samples) -> int:
        return int((logits.argmax(1) == self.shared.y(samples)).sum())


def _work(trial: Trial, shared: _Shared, rows: _Rows, team: int) -> kernel.Work:
    """The state of a trial before its first iteration."""
    classes, width = trial.head.shape
    lanes, zeros = shared.lanes, shared.zeros
    t, c, d = _up(width, kernel.TILE), _up(classes, lanes), rows.projected_columns
    chunks = max(1, min(CHUNKS, t // CHUNK))
    scales = zeros(3, len(trial.streams))
    scales[0] = trial.scale
    projection = zeros(t, d)
    first = [s.projection for s in trial.streams if s.projection is not None]
    for columns, values in zip(rows.columns.values(), first, strict=True):
        projection[:width, columns] = shared._plain(values)
    return kernel.Work(
        head=zeros(t, c, holding=shared._plain(trial.head).T),
        head_mean=zeros(t, c),
        head_square=zeros(t, c),
        projection=projection,
        projection_mean=zeros(t, d),
        projection_square=zeros(t, d),
        blocks=rows.blocks,
        scales=scales,
        inputs=zeros(t, rows.count),
        back=zeros(team, kernel.TILE, rows.projected_rows),
        x=zeros(2, d // lanes, rows.projected_rows, lanes),
        error=zeros(c // lanes, rows.count, lanes),
        logits=zeros(chunks, c // lanes, rows.count, lanes),
        row_loss=np.zeros(rows.count),
        row_scale=np.zeros(rows.count),
        sync=np.zeros(16, np.int64),
    )


def _adam_constants(trial: Trial, schedule: Schedule, span: range) -> NDArray[np.float64]:
    """(iterations, 7): decay factor, 1 - beta1, beta2, 1 - beta2, step size, the root of the second
    moment's correction (its inverse), epsilon.
    """
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    base, cosine = trial.learning_rate, trial.cosine_iterations
    rates = np.array([learning_rate(i, base, schedule, cosine) for i in span])
    steps = np.arange(span.start + 1, span.stop + 1)
    constants = np.empty((len(span), 7))
    constants[:, 0] = 1 - rates * trial.weight_decay
    constants[:, 1:4] = 1 - beta1, beta2, 1 - beta2
    constants[:, 4] = rates / (1 - beta1**steps)
    constants[:, 5] = 1 / np.sqrt(1 - beta2**steps)
    constants[:, 6] = eps
    return constants
