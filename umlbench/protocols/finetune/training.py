"""One training of a backbone: a linear probe's, with autograd where the sweep has closed forms.

Sections 1.9 and 1.10 of the protocol: a batch of every modality, one optimizer step, an evaluation
after every `eval_every` steps from the first one on, the best weights kept, patience.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from umlbench.encoders import Dtype
from umlbench.encoders.batches import is_out_of_memory
from umlbench.errors import UserError
from umlbench.protocols.finetune.feeds import Feed, Inputs
from umlbench.protocols.finetune.learner import Learner
from umlbench.protocols.finetune.ranks import ALONE, Ranks
from umlbench.seeds import seed_for
from umlbench.sweep import Keep, Order, Schedule, TrialResult, Weights, learning_rate
from umlbench.sweep.progress import Progress, drawn


@dataclass(frozen=True, eq=False)
class Stream:
    """A modality in training: where its inputs come from, in which order, its loss's weight."""

    feed: Feed
    order: Order
    weight: float = 1.0


@dataclass(frozen=True)
class Tuning:
    """The optimizer's settings; see `finetune.settings`. `seed` is that of dropout.

    What the learner keeps apart has the rate `apart_rate` (None: the common one), and waits for
    the iteration `apart_from`.
    """

    learning_rate: float
    weight_decay: float = 0.0
    apart_rate: float | None = None
    apart_from: int = 0
    precision: Dtype = "float32"
    micro_batch: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Moment:
    """Where a training stands after an evaluation: all that it needs to go on."""

    progress: Progress
    now: Mapping[str, Tensor]  # weights and the optimizer's moments
    best: Mapping[str, Tensor]  # the weights of the best evaluation
    scaler: Mapping[str, Any]  # of the loss, in float16
    seconds: Mapping[str, float]


@dataclass(eq=False)
class Training:
    """One trial from the first iteration to the last; the target's stream comes first."""

    learner: Learner
    streams: Sequence[Stream]
    val: Feed
    test: Feed
    tuning: Tuning
    schedule: Schedule
    keep: Collection[Keep] = ()
    ranks: Ranks = ALONE
    progress: Progress = field(default_factory=Progress)
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "wait": 0.0})

    def __post_init__(self) -> None:
        for stream in self.streams:
            self.ranks.check(stream.order.batch_size)
        self.device = self.learner.head.head.device
        self.optimizer = _optimizer(self.learner, self.tuning)
        half = self.tuning.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=half)
        self.best: dict[str, Tensor] = {}

    def finish(
        self, resume: Moment | None = None, save: Callable[[Moment], None] | None = None
    ) -> TrialResult:
        """Train to the end and evaluate the best weights on the test set.

        `save` gets the moment after every evaluation; `resume` is one of these, of an equal
        training. Raises `UserError` where a step does not fit into the device's memory.
        """
        if resume:
            self._take(resume)
        with self._fits(), self._inputs() as inputs:
            for span in self._spans():
                with self._training():
                    self._advance(span, inputs)
                    if self.schedule.evaluates(span[-1]):
                        self._evaluate(span[-1])
                if save and self.schedule.evaluates(span[-1]):
                    save(self._moment())
                if self.progress.stop_iteration is not None:
                    break
            last = self._weights()
            self.learner.restore(self.best)
            with self._training():
                correct = self._correct(self.test)
        sizes = (len(self.val), len(self.test))
        return self.progress.result(sizes, "autograd", correct, self.keep, self._weights(), last)

    # --- steps --------------------------------------------------------------------------------

    def _spans(self) -> Iterator[range]:
        """The runs of iterations that are still to do; none after the last one or a stop."""
        if self.progress.stop_iteration is None:
            begun = self.progress.iterations
            yield from (span for span in self.schedule.blocks() if span.stop > begun)

    @contextmanager
    def _inputs(self) -> Iterator[list[Iterator[tuple[Inputs, Tensor]]]]:
        """Per stream, inputs and labels of the steps to come; readers end with the block."""
        made = [self._read(stream) for stream in self.streams]
        try:
            yield made
        finally:
            for one in made:
                one.close()

    def _read(self, stream: Stream) -> Any:
        """A generator of (inputs, labels) of every step to come, drawn as the steps are."""
        spans = list(self._spans())

        def rows() -> Iterator[Tensor]:
            whole = (row for span in spans for row in drawn(stream.order, stream.feed, span))
            return (self.ranks.part(row) for row in whole)

        batches = self._awaited(stream.feed.batches(rows(), self.progress.iterations))
        for inputs, row in zip(batches, rows(), strict=True):
            yield inputs, stream.feed.y[row].to(self.device, non_blocking=True)

    def _advance(self, span: range, inputs: Sequence[Iterator[tuple[Inputs, Tensor]]]) -> None:
        """Train through the iterations of `span`."""
        losses = []
        for iteration in span:
            batches = [next(one) for one in inputs]
            self.learner.wait(iteration < self.tuning.apart_from)
            self.optimizer.zero_grad()
            with self._dropout(iteration):
                losses.append(torch.stack([self._backward(m, *b) for m, b in enumerate(batches)]))
            self._step(iteration)
        self.progress.iterations = span.stop
        if "losses" in self.keep:
            stacked = torch.stack(losses)
            self.ranks.add_up([stacked])
            self.progress.losses.append(stacked.cpu())

    def _backward(self, modality: int, inputs: Inputs, labels: Tensor) -> Tensor:
        """Add one modality's gradients, micro-batch by micro-batch; its mean loss, unweighted.

        The mean is over the rows of all ranks; here is this one's share of it.
        """
        stream = self.streams[modality]
        weight, rows = stream.weight, stream.order.batch_size
        size = self.tuning.micro_batch or rows
        total = torch.zeros((), device=self.device, dtype=self.learner.head.head.dtype)
        for start in range(0, len(labels), size):
            part = slice(start, start + size)
            with self._autocast():
                logits = self.learner.logits(modality, *(x[part] for x in inputs))
                loss = cross_entropy(logits, labels[part], reduction="sum") / rows
            torch.autograd.backward(self.scaler.scale(weight * loss))
            total += loss.detach()
        return total

    def _step(self, iteration: int) -> None:
        """One update, at the learning rate of `iteration`."""
        self.ranks.add_up([p.grad for p in self.learner.learning() if p.grad is not None])
        if self.learner.training:
            statistics = self.learner.statistics().values()
            self.ranks.average([one for one in statistics if one.is_floating_point()])
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(iteration, group["base"], self.schedule)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _autocast(self) -> torch.autocast:
        precision = self.tuning.precision
        enabled = precision != "float32"
        dtype = getattr(torch, precision) if enabled else None
        return torch.autocast(self.device.type, dtype=dtype, enabled=enabled)

    @contextmanager
    def _dropout(self, iteration: int) -> Iterator[None]:
        """A stream of its own for each step's dropout, so that a resumed training draws the same.

        The library's layers draw from the global generator, which gets its state back.
        """
        if not self.learner.training:
            yield
            return
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            mine = {"rank": self.ranks.rank} if self.ranks.rank else {}
            torch.manual_seed(seed_for("dropout", self.tuning.seed, iteration=iteration, **mine))
            yield

    # --- evaluation ---------------------------------------------------------------------------

    def _evaluate(self, iteration: int) -> None:
        """Validate; keep the best weights."""
        if self.progress.note(iteration, self._correct(self.val), self.schedule.patience):
            state = self.learner.state()
            self.best = {n: v.to("cpu", copy=True).contiguous() for n, v in state.items()}
        self.learner.after_validation()

    def _correct(self, feed: Feed) -> int:
        """How many samples of the target the learner, now in evaluation mode, gets right."""
        self.learner.eval()
        size = self.tuning.micro_batch or self.streams[0].order.batch_size
        rows = torch.split(self.ranks.part(torch.arange(len(feed))), size)
        count = torch.zeros((), dtype=torch.int64, device=self.device)
        with torch.no_grad():
            for inputs, row in zip(self._awaited(feed.batches(rows)), rows, strict=True):
                with self._autocast():
                    logits = self.learner.logits(0, *inputs)
                count += (logits.argmax(1) == feed.y[row].to(self.device)).sum()
        self.ranks.add_up([count])
        return int(count)

    def _weights(self) -> Weights:
        """A copy of the head's parameters."""
        head = self.learner.head
        projections = tuple(None if p is None else p.detach().clone() for p in head.projections)
        return Weights(head.head.detach().clone(), head.scales.detach().clone(), projections)

    # --- a moment to go on from ---------------------------------------------------------------

    def _moment(self) -> Moment:
        weights = {f"weights.{name}": value for name, value in self.learner.state().items()}
        moments = {
            f"moments.{number}.{name}": value
            for number, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        now = {name: v.detach().cpu().contiguous() for name, v in (weights | moments).items()}
        return Moment(self.progress, now, self.best, self.scaler.state_dict(), dict(self.seconds))

    def _take(self, moment: Moment) -> None:
        """Go on from a moment; raises `KeyError` where it belongs to another model."""
        self.progress, self.best = moment.progress, dict(moment.best)
        self.seconds.update(moment.seconds)
        self.scaler.load_state_dict(dict(moment.scaler))
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "moments": {}}
        for name, value in moment.now.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = value
        self.learner.restore(parts["weights"])
        _restore(self.optimizer, parts["moments"])
        self.learner.after_validation()

    # --- around -------------------------------------------------------------------------------

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Count a block's wall time as training, but for what it waits for data."""
        started, waited = time.perf_counter(), self.seconds["wait"]
        try:
            yield
        finally:
            inside = self.seconds["wait"] - waited
            self.seconds["train"] += time.perf_counter() - started - inside

    def _awaited(self, batches: Iterator[Inputs]) -> Iterator[Inputs]:
        """The same batches; the time until each is there is noted.

        On a GPU that is an upper bound of its idleness: it may still be at the last step.
        """
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.seconds["wait"] += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    @contextmanager
    def _fits(self) -> Iterator[None]:
        """Memory that ends becomes one clear line."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        size = self.tuning.micro_batch or self.streams[0].order.batch_size
        what = f"{size} rows at once do not fit into the memory of {self.device}"
        raise UserError(what, f"set micro_batch={max(1, size // 2)}, or precision=bfloat16")


def _optimizer(learner: Learner, tuning: Tuning) -> torch.optim.AdamW:
    """AdamW on everything that learns; what is kept apart may have a rate of its own."""
    apart = learner.apart()
    others = {id(p) for p in apart}
    rest = [p for p in learner.learning() if id(p) not in others]
    rate = tuning.learning_rate
    groups: list[dict[str, Any]] = [{"params": rest, "base": rate}]
    if apart:
        groups.append({"params": apart, "base": tuning.apart_rate or rate})
    return torch.optim.AdamW(groups, lr=rate, weight_decay=tuning.weight_decay, fused=True)


def _restore(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Moments as `state_dict` numbers them, each laid out in memory as its parameter is.

    The fused kernel goes through parameter and moments side by side.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in moments.items():
        number, _, kind = name.partition(".")
        parameter = parameters[int(number)]
        if kind == "step":
            optimizer.state[parameter][kind] = value.to(parameter.device)
        else:
            optimizer.state[parameter][kind] = torch.empty_like(parameter).copy_(value)
