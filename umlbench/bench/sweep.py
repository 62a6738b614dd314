"""How fast heads train here: every engine of the sweep, the loop a user would write, the hardware.

All of them take turns in one run, and a figure is the median over the turns: milliseconds per
iteration and trial. The roofline is the larger of two times on the same machine: weights and both
moments of AdamW read and written once at the measured copy bandwidth, and the multiplications of a
step at the measured speed of a large matrix product. What fits the caches can beat the former.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench.bench import machine
from umlbench.bench.machine import short
from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

    from umlbench.sweep import Samples, Trial

PLAIN = ("plain", "plain, fused AdamW")
SAMPLES = 512  # of each modality; batches are drawn from them
SECONDS = 2.0  # of training per engine and turn, about


@dataclass(frozen=True)
class Case:
    """One shape: an image and a text batch of `batch` rows each, `trials` heads to train."""

    classes: int
    batch: int
    trials: int
    width: int = 384  # of the target's features (D)
    text_width: int = 3200  # of the head (T)

    @property
    def parameters(self) -> int:
        """Weights of one trial."""
        return self.text_width * (self.width + self.classes)

    @property
    def bytes(self) -> int:
        """Moved by one step that reads and writes weights and moments once, in float32."""
        return 2 * 3 * 4 * self.parameters

    @property
    def flops(self) -> int:
        """Of one step's products, in the cheaper of the two associations of x P^T W^T."""
        c, d, t, b = self.classes, self.width, self.text_width, self.batch
        chain = 2 * b * t * d + 3 * b * t * c
        fold = 3 * c * t * d + 2 * b * c * d
        return 2 * (min(chain, fold) + 2 * b * t * c)


@dataclass(frozen=True)
class Timing:
    """Milliseconds per iteration and trial. `start` is a trial's time before the second step.

    `start` holds what the loop pays once: memory, the first step, a validation, the test.
    """

    engine: str
    milliseconds: float
    fastest: float
    slowest: float
    start: float | None = None


@dataclass(frozen=True)
class Row:
    """What was measured at one shape."""

    case: Case
    roofline: float
    bound: str
    timings: tuple[Timing, ...]

    @property
    def plain(self) -> float:
        """Milliseconds of the plain loop."""
        return next(t.milliseconds for t in self.timings if t.engine == PLAIN[0])


@dataclass(frozen=True)
class BenchResult:
    """One run of the benchmark, and the machine it ran on."""

    machine: dict[str, Any]
    rows: tuple[Row, ...]

    @property
    def device(self) -> str:
        """The kind of device: cpu or cuda."""
        return str(self.machine["device"]).partition(":")[0]

    def plain(self) -> dict[str, Any]:
        """The result as plain values, one object per shape."""
        rows = [
            {
                **asdict(row.case),
                "roofline_ms": short(row.roofline),
                "bound": row.bound,
                "timings": [_timing(timing, row) for timing in row.timings],
            }
            for row in self.rows
        ]
        return {"machine": self.machine, "rows": rows}

    def to_markdown(self) -> str:
        """The result as a table: ms, ratio to the plain loop, share of the roofline."""
        text = (
            "Milliseconds per iteration and trial, median; in brackets the speed as a multiple of "
            "the plain loop's and as a share of the roofline."
        )
        head = ["C", "B", "K", "roofline", *(timing.engine for timing in self.rows[0].timings)]
        rows = [_cells(row) for row in self.rows]
        return machine.markdown("Training many heads", self.machine, text, head, rows)

    def write(self, folder: Path) -> list[Path]:
        """Writes `sweep-<device>.json` and `.md`; returns their paths."""
        name = f"sweep-{self.device}"
        return machine.write(folder, name, self.plain(), self.to_markdown())


def _timing(timing: Timing, row: Row) -> dict[str, Any]:
    return {
        "engine": timing.engine,
        "ms": short(timing.milliseconds),
        "fastest_ms": short(timing.fastest),
        "slowest_ms": short(timing.slowest),
        "start_ms": None if timing.start is None else short(timing.start),
        "times_plain": short(row.plain / timing.milliseconds),
        "of_roofline": short(row.roofline / timing.milliseconds),
    }


def _cells(row: Row) -> list[str]:
    cells = [str(n) for n in (row.case.classes, row.case.batch, row.case.trials)]
    cells.append(f"{row.roofline:.2f} ({row.bound})")
    for timing in row.timings:
        ratio, share = row.plain / timing.milliseconds, row.roofline / timing.milliseconds
        cells.append(f"{timing.milliseconds:.2f} ({ratio:.1f}x, {share:.0%})")
    return cells


def measure(
    *,
    classes: Sequence[int] = (37, 397, 1000),
    batch_sizes: Sequence[int] = (8, 32),
    trials: Sequence[int] = (1, 12, 96),
    width: int = 384,
    text_width: int = 3200,
    repeats: int = 5,
    seconds: float = SECONDS,
    device: str = "cpu",
    threads: int | None = None,
    quick: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> BenchResult:
    """Measures every shape of classes x batch size x trials on one device.

    `quick` keeps the two smaller class counts, 12 trials and three short turns. `threads` is what
    the plain loop and the engines may use (default: PyTorch's own number). `say` gets one line per
    shape. Raises UserError for counts below 1.
    """
    if quick:
        classes, trials, repeats, seconds = classes[:2], (12,), min(repeats, 3), seconds / 4
    counts = (*classes, *batch_sizes, *trials, width, text_width, repeats)
    if min(counts) < 1 or (threads is not None and threads < 1):
        raise UserError("bench: every count must be at least 1", "see umlbench bench sweep --help")
    with machine.threads(threads):
        peaks = _peaks(device)
        rows = []
        for c, b, k in itertools.product(classes, batch_sizes, trials):
            case = Case(c, b, k, width, text_width)
            rows.append(_measure(case, peaks, device, repeats, seconds))
            say(machine.line(_cells(rows[-1])))
        facts = machine.describe(device, repeats, peaks.facts)
        return BenchResult(facts, tuple(rows))


@dataclass(frozen=True)
class _Peaks:
    """Bytes and floating-point operations per second."""

    bandwidth: float
    flops: float

    def floor(self, case: Case) -> tuple[float, str]:
        """Milliseconds per step, and what bounds them."""
        memory, products = case.bytes / self.bandwidth, case.flops / self.flops
        return 1e3 * max(memory, products), "memory" if memory > products else "products"

    @property
    def facts(self) -> dict[str, float]:
        """For the machine's description."""
        return {
            "copy bandwidth, GB/s": self.bandwidth / 1e9,
            "matrix product, GFLOP/s": self.flops / 1e9,
        }


def _peaks(device: str) -> _Peaks:
    """The best of several copies of 256 MiB and of several square products of float32."""
    import torch

    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    copy = min(machine.seconds(lambda: target.copy_(source), device) for _ in range(8))
    size = 2048 if device == "cpu" else 8192
    a = torch.ones(size, size, device=device)
    out = torch.empty_like(a)
    product = min(machine.seconds(lambda: torch.mm(a, a, out=out), device) for _ in range(8))
    return _Peaks(2 * source.nbytes / copy, 2 * size**3 / product)


def _measure(case: Case, peaks: _Peaks, device: str, repeats: int, seconds: float) -> Row:
    """All contestants at one shape, in turns."""
    from umlbench.sweep import engines

    trials = _trials(case)
    runs: dict[str, Callable[[], tuple[float, float | None]]] = {
        name: _plain_run(trials[0], name == PLAIN[1], device, seconds) for name in PLAIN
    }
    for engine in engines(device):
        runs[engine] = _engine_run(trials, engine, device, seconds)
    turns = [{name: run() for name, run in runs.items()} for _ in range(repeats)]
    floor, bound = peaks.floor(case)
    return Row(case, floor, bound, tuple(_summary(n, [t[n] for t in turns]) for n in runs))


def _summary(name: str, turns: Sequence[tuple[float, float | None]]) -> Timing:
    times = [1e3 * step for step, _ in turns]
    starts = [1e3 * start for _, start in turns if start is not None]
    start = statistics.median(starts) if starts else None
    return Timing(name, statistics.median(times), min(times), max(times), start)


def _trials(case: Case) -> list[Trial]:
    """Random features, labels and weights; learning rate and decay of the paper's grid in turn."""
    from umlbench.models.head import linear_init
    from umlbench.seeds import torch_stream
    from umlbench.sweep import Shuffled, Stream, Trial

    image, text, val = (
        _samples(count, width, case.classes, name)
        for count, width, name in (
            (SAMPLES, case.width, "image"),
            (SAMPLES, case.text_width, "text"),
            (case.batch, case.width, "val"),  # few: a step is timed here, not an evaluation
        )
    )
    stream = torch_stream("bench", 0, part="weights")
    head = linear_init(case.classes, case.text_width, stream)
    projection = linear_init(case.text_width, case.width, stream)
    orders = [Shuffled(SAMPLES, case.batch, seed) for seed in range(2)]
    grid = itertools.cycle(itertools.product((1e-3, 1e-4), (0.0, 0.01, 0.001)))
    return [
        Trial(
            target=Stream(image, orders[0], projection=projection),
            auxiliary=(Stream(text, orders[1]),),
            val=val,
            test=val,
            head=head,
            learning_rate=rate,
            weight_decay=decay,
        )
        for _, (rate, decay) in zip(range(case.trials), grid, strict=False)
    ]


def _samples(count: int, width: int, classes: int, name: str) -> Samples:
    import torch

    from umlbench.seeds import torch_stream
    from umlbench.sweep import Samples

    stream = torch_stream("bench", 0, part=name)
    labels = torch.randint(0, classes, (count,), generator=stream)
    return Samples(torch.randn(count, width, generator=stream), labels)


def _engine_run(
    trials: Sequence[Trial], engine: Any, device: str, seconds: float
) -> Callable[[], tuple[float, float | None]]:
    """A turn of an engine: seconds per iteration and trial after the first step, and before."""
    from umlbench.sweep import Schedule, train

    def timed(iterations: int) -> float:
        schedule = Schedule(iterations=iterations, eval_every=12800)
        return machine.seconds(
            lambda: train(trials, schedule, device=device, engine=engine), device
        )

    timed(1)
    steps = _steps(timed(5), 5, seconds)  # the start counts as steps: rather too few than too many

    def turn() -> tuple[float, float | None]:
        start = timed(1)
        return (timed(1 + steps) - start) / steps / len(trials), start / len(trials)

    return turn


def _steps(elapsed: float, steps: int, seconds: float) -> int:
    """Iterations that take about `seconds`, where `steps` took `elapsed`.

    At least 20: what a call takes besides, a few steps' time, is subtracted and varies by itself.
    """
    return min(400, max(20, int(seconds * steps / max(elapsed, 1e-6))))


def _plain_run(
    trial: Trial, fused: bool, device: str, seconds: float
) -> Callable[[], tuple[float, float | None]]:
    """A turn of the plain loop: seconds per iteration of one trial."""
    loop = _plain_loop(trial, fused, device)
    loop(2)
    steps = _steps(machine.seconds(lambda: loop(4), device), 4, seconds)
    return lambda: (machine.seconds(lambda: loop(steps), device) / steps, None)


def _plain_loop(trial: Trial, fused: bool, device: str) -> Callable[[int], None]:
    """The loop over cached features that most would write for one grid point."""
    import torch
    from torch.nn.functional import cross_entropy

    head, projection = _linear(trial.head, device), _linear(trial.target.projection, device)
    optimizer = torch.optim.AdamW(
        [*head.parameters(), *projection.parameters()],
        lr=trial.learning_rate,
        weight_decay=trial.weight_decay,
        fused=fused or None,
    )
    (image, image_y), (text, text_y) = (
        (stream.samples.x.to(device), stream.samples.y.to(device)) for stream in trial.streams
    )
    rows = [stream.order.rows(0, 400).to(device) for stream in trial.streams]

    def loop(steps: int) -> None:
        for own, other in zip(rows[0][:steps], rows[1][:steps], strict=True):
            optimizer.zero_grad()
            loss = cross_entropy(head(projection(image[own])), image_y[own])
            loss = loss + cross_entropy(head(text[other]), text_y[other])
            torch.autograd.backward(loss)
            optimizer.step()

    return loop


def _linear(weight: torch.Tensor | None, device: str) -> torch.nn.Linear:
    import torch

    if weight is None:
        raise ValueError("the plain loop has a projection")
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=device)
    layer.weight.data.copy_(weight)
    return layer
