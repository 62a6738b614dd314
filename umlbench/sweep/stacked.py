"""The engine for GPUs, and for CPUs without numba: trials in stacks, one operator for a stack."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from umlbench.sweep.order import Order
from umlbench.sweep.progress import Keep, Progress, cross_entropy, drawn, mean_of_batches
from umlbench.sweep.schedule import Schedule
from umlbench.sweep.step import Batch, Parameters, Stack, folding_pays, gradients
from umlbench.sweep.trial import Samples, Stream, Trial, TrialResult, Weights

CPU_BYTES = 2**23  # a larger stack leaves the cache and gains nothing


def train(
    trials: Sequence[Trial],
    schedule: Schedule,
    device: torch.device,
    dtype: torch.dtype,
    keep: Collection[Keep],
    chunk: int | None,
) -> list[TrialResult]:
    """Results in the order of the trials, stacked where the shapes of their modalities agree.

    Which trials share a stack does not change what a trial computes: in float32 on one CPU thread
    not a bit of it, elsewhere no more than the order of summation in a matrix product does.
    """
    results: dict[int, TrialResult] = {}
    loaded = _Loaded(device, dtype)
    for numbers in _stacks(trials, chunk, loaded):
        run = _Run([trials[n] for n in numbers], schedule, loaded, frozenset(keep))
        results.update(zip(numbers, run.finish(), strict=True))
    return [results[n] for n in range(len(trials))]


class _Loaded:
    """Every set of samples once on the device, in the precision of the sweep."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._sets: dict[Samples, Samples] = {}

    def __getitem__(self, samples: Samples) -> Samples:
        if samples not in self._sets:
            x, y = samples.x.to(self.device, self.dtype), samples.y.to(self.device, torch.int64)
            self._sets[samples] = Samples(x, y)
        return self._sets[samples]

    def parameter(self, parts: Sequence[Tensor]) -> Tensor:
        """Weights of several trials, stacked."""
        return torch.stack([part.to(self.device, self.dtype) for part in parts])


def _stacks(trials: Sequence[Trial], chunk: int | None, loaded: _Loaded) -> Iterator[list[int]]:
    """Trial numbers of every stack: modalities of equal shapes, no more than memory allows."""
    groups: dict[object, list[int]] = {}
    for number, trial in enumerate(trials):
        groups.setdefault(tuple(stream.shape for stream in trial.streams), []).append(number)
    for numbers in groups.values():
        size = chunk or max(1, _budget(loaded.device) // _bytes(trials[numbers[0]], loaded.dtype))
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]


def _budget(device: torch.device) -> int:
    if device.type != "cuda":
        return CPU_BYTES
    return torch.cuda.mem_get_info(device)[0] // 2


def _bytes(trial: Trial, dtype: torch.dtype) -> int:
    """Memory of one trial in a stack: values, gradient, two moments, best; activations."""
    classes, width = trial.head.shape
    parameters, activations = trial.head.numel(), 0
    for stream in trial.streams:
        parameters += 0 if stream.projection is None else stream.projection.numel()
        widths = stream.samples.x.shape[1] + 2 * width + 4 * classes
        activations += stream.order.batch_size * widths
    return (5 * parameters + activations) * dtype.itemsize


def _folded(trial: Trial) -> list[int]:
    """The modalities whose projection is multiplied with the head first."""
    classes, width = trial.head.shape
    shapes = enumerate(stream.shape for stream in trial.streams)
    return [m for m, (b, depth) in shapes if depth and folding_pays(b, classes, width, depth)]


class _Table:
    """The samples of one modality of all trials of a stack, under one numbering of rows."""

    def __init__(self, sets: Sequence[Samples], loaded: _Loaded) -> None:
        unique = list(dict.fromkeys(sets))
        parts = [loaded[samples] for samples in unique]
        self.x = parts[0].x if len(parts) == 1 else torch.cat([part.x for part in parts])
        self.y = parts[0].y if len(parts) == 1 else torch.cat([part.y for part in parts])
        self._offsets: dict[Samples, int] = {}
        total = 0
        for samples in unique:
            self._offsets[samples] = total
            total += len(samples)

    def rows(self, sets: Sequence[Samples], orders: Sequence[Order], span: range) -> Tensor:
        """Row numbers (iterations, K, B) of the trials' batches in `span`."""
        pairs = dict.fromkeys(zip(orders, sets, strict=True))
        batches = {(order, samples): drawn(order, samples, span) for order, samples in pairs}
        parts = []
        for samples, order in zip(sets, orders, strict=True):
            parts.append(batches[order, samples] + self._offsets[samples])
        return torch.stack(parts, 1).to(self.x.device)


class _Run:
    """One stack of trials from the first iteration to the last; ended trials leave it."""

    def __init__(
        self, trials: Sequence[Trial], schedule: Schedule, loaded: _Loaded, keep: frozenset[Keep]
    ) -> None:
        self.trials, self.schedule, self.loaded, self.keep = trials, schedule, loaded, keep
        self.progress = [Progress() for _ in trials]
        self.best: dict[int, Weights] = {}
        self.last: dict[int, Weights] = {}
        self.live = list(range(len(trials)))
        sets = zip(*([s.samples for s in trial.streams] for trial in trials), strict=True)
        self.tables = [_Table(list(modality), loaded) for modality in sets]
        self.stack = self._stack()
        self.fold = _folded(trials[0])
        sizes = trials[0].batch_sizes
        modality = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        self.modality = modality.to(loaded.device)

    def _stack(self) -> Stack:
        modalities = len(self.trials[0].streams)
        scales = torch.tensor([[t.scale] * modalities for t in self.trials])
        projections = (
            [stream.projection for stream in streams if stream.projection is not None]
            for streams in self._streams()
        )
        values = Parameters(
            self.loaded.parameter([t.head for t in self.trials]),
            scales.to(self.loaded.device, self.loaded.dtype),
            tuple(self.loaded.parameter(parts) if parts else None for parts in projections),
        )
        return Stack(values, self.trials)

    def finish(self) -> list[TrialResult]:
        """Trains to the end and evaluates the best weights on the test sets."""
        for span in self.schedule.blocks():
            self._advance(span)
            if self.schedule.evaluates(span[-1]):
                self._evaluate(span[-1])
            if not self.live:
                break
        self._leave(range(len(self.live)))
        return [self._result(number) for number in range(len(self.trials))]

    def _alive(self) -> list[Trial]:
        return [self.trials[n] for n in self.live]

    def _advance(self, span: range) -> None:
        """Trains the live trials through the iterations of `span`."""
        weights = self._loss_weights()
        rows = [
            table.rows([s.samples for s in streams], [s.order for s in streams], span)
            for table, streams in zip(self.tables, self._streams(), strict=True)
        ]
        labels = torch.cat([t.y[r] for t, r in zip(self.tables, rows, strict=True)], 2)[..., None]
        kept: list[Tensor] = []
        for step, iteration in enumerate(span):
            x = tuple(
                table.x.index_select(0, r[step].view(-1)).view(*r.shape[1:], -1)
                for table, r in zip(self.tables, rows, strict=True)
            )
            batch = Batch(x, labels[step], weights, self.modality)
            logits = gradients(self.stack.values, batch, self.stack.gradient, self.fold)
            if "losses" in self.keep:
                kept.append(self._losses(logits, labels[step]))
            self.stack.update(iteration, self.schedule)
        self._close(span, kept)

    def _close(self, span: range, losses: list[Tensor]) -> None:
        """Notes the losses of a span that was trained."""
        stacked = torch.stack(losses).cpu() if losses else None
        for position, number in enumerate(self.live):
            self.progress[number].iterations = span.stop
            if stacked is not None:
                self.progress[number].losses.append(stacked[:, position])

    def _streams(self) -> Iterator[list[Stream]]:
        """Per modality, its stream in every live trial."""
        return (list(s) for s in zip(*(t.streams for t in self._alive()), strict=True))

    def _loss_weights(self) -> Tensor:
        """(K, R, 1): what every row of a batch adds to its trial's loss, loss weight / B_m."""
        per_row = [
            [w for s in t.streams for w in [s.weight / s.order.batch_size] * s.order.batch_size]
            for t in self._alive()
        ]
        rows = torch.tensor(per_row, dtype=torch.float64)[..., None]
        return rows.to(self.loaded.device, self.loaded.dtype)

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss (K, M) of every modality's batch."""
        rows = cross_entropy(logits, labels)
        parts = torch.split(rows, list(self.trials[0].batch_sizes), 1)
        return torch.stack([part.mean(1) for part in parts], 1)

    def _evaluate(self, iteration: int) -> None:
        """Validates the live trials, keeps the best weights, lets go of the stopped ones."""
        weights = [self._weights(position) for position in range(len(self.live))]
        logits = [self._logits(w, t.val) for w, t in zip(weights, self._alive(), strict=True)]
        pairs = zip(logits, self._alive(), strict=True)
        counts = torch.stack([self._correct(x, t.val) for x, t in pairs]).tolist()
        for position, (number, count) in enumerate(zip(self.live, counts, strict=True)):
            progress = self.progress[number]
            if progress.note(iteration, count, self.schedule.patience):
                self.best[number] = weights[position]
            if "val_loss" in self.keep:
                trial = self.trials[number]
                labels, size = self.loaded[trial.val].y, trial.batch_sizes[0]
                progress.val_loss.append(mean_of_batches(logits[position], labels, size))
        stopped = [
            position
            for position, number in enumerate(self.live)
            if self.progress[number].stop_iteration is not None
        ]
        self._leave(stopped)

    def _weights(self, position: int) -> Weights:
        """A copy of a live trial's parameters."""
        head, scales, projections = self.stack.values
        kept = tuple(None if part is None else part[position].clone() for part in projections)
        return Weights(head[position].clone(), scales[position].clone(), kept)

    def _logits(self, weights: Weights, samples: Samples) -> Tensor:
        """Logits (N, C) of samples of the target modality."""
        head, projection = weights.head, weights.projections[0]
        folded = head if projection is None else head @ projection
        return self.loaded[samples].x @ folded.T * weights.scales[0]

    def _correct(self, logits: Tensor, samples: Samples) -> Tensor:
        return (logits.argmax(1) == self.loaded[samples].y).sum()

    def _leave(self, positions: Sequence[int]) -> None:
        """Takes trials out of the stack; the others do not notice."""
        if "last" in self.keep:
            for position in positions:
                self.last[self.live[position]] = self._weights(position)
        staying = [p for p in range(len(self.live)) if p not in set(positions)]
        if positions and staying:
            self.stack.select(staying)
        self.live = [self.live[p] for p in staying]

    def _result(self, number: int) -> TrialResult:
        """The first evaluation follows the first step, so there always are best weights."""
        trial, best = self.trials[number], self.best[number]
        correct = int(self._correct(self._logits(best, trial.test), trial.test))
        progress, last = self.progress[number], self.last.get(number)
        return progress.result(trial.sizes, "stacked", correct, self.keep, best, last)
