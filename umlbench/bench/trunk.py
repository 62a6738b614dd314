"""How fast a shared trunk trains here: the protocol's loop beside a plain one, in one run.

The plain loop is the official one as one would write it down: two shuffled loaders that pad on
collation, both branches computed in every step (also where only the target's loss counts),
`nn.TransformerEncoder` with its dropout, and `torch.optim.Adam` as it comes. Contestants take
turns; a figure is the median over the turns.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from umlbench.bench import machine
from umlbench.bench.machine import short
from umlbench.data.sequences import Sequences
from umlbench.errors import UserError
from umlbench.protocols.self_supervised import training
from umlbench.protocols.self_supervised.settings import Settings
from umlbench.seeds import numpy_stream

Method = Literal["unimodal", "uml"]
METHODS: tuple[Method, ...] = ("unimodal", "uml")
Loop = Callable[[int], None]  # trains for so many iterations
BATCHES = 4  # of samples that a set has
TURN = 1.0  # seconds that a turn takes, about


@dataclass(frozen=True)
class Case:
    """Batches of `batch` sequences of `steps` steps of both modalities; a trunk of width `z`."""

    name: str
    batch: int
    width: int
    text_width: int = 300
    steps: int = 50
    z: int = 40

    def settings(self, method: Method, iterations: int) -> Settings:
        """What the protocol is told."""
        return Settings(
            dataset="bench.npz",
            method=method,
            width=self.z,
            batch_size=self.batch,
            iterations=iterations,
        )

    def sequences(self) -> dict[str, Sequences]:
        """Noise of the shapes of a data set."""
        count = BATCHES * self.batch
        starts = self.steps * np.arange(count + 1)
        ids = tuple(map(str, range(count)))
        return {
            name: Sequences(
                numpy_stream("bench", 0, part=name).standard_normal(
                    (starts[-1], width), dtype=np.float32
                ),
                starts,
                np.zeros(count, np.int64),
                ids,
            )
            for name, width in (("vision", self.width), ("text", self.text_width))
        }


CASES = (Case("MOSI", batch=32, width=20), Case("MUStARD", batch=128, width=371))


@dataclass(frozen=True)
class Row:
    """Milliseconds per iteration of one method at one shape: the median, and of every turn."""

    case: Case
    method: Method
    threads: int
    plain: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def times_plain(self) -> float:
        """How many times as fast ours is."""
        return statistics.median(self.plain) / statistics.median(self.ours)

    def cells(self) -> list[str]:
        """For a table."""
        case = self.case
        shape = (case.batch, case.steps, case.width, case.text_width, case.z, self.threads)
        times = [f"{statistics.median(turns):.1f}" for turns in (self.plain, self.ours)]
        return [case.name, *map(str, shape), self.method, *times, f"{self.times_plain:.2f}x"]


@dataclass(frozen=True)
class TrunkResult:
    """One run of the benchmark, and the machine it ran on."""

    machine: dict[str, Any]
    rows: tuple[Row, ...]

    def plain(self) -> dict[str, Any]:
        """The result as plain values, one object per shape, method and number of threads."""
        rows = [
            {
                **asdict(row.case),
                "method": row.method,
                "threads": row.threads,
                "plain_ms": [short(turn) for turn in row.plain],
                "ours_ms": [short(turn) for turn in row.ours],
                "times_plain": short(row.times_plain),
            }
            for row in self.rows
        ]
        return {"machine": self.machine, "rows": rows}

    def to_markdown(self) -> str:
        """The result as a table."""
        text = (
            "Milliseconds per training iteration, median over the turns: the official loop written "
            "plainly, and ours. Jobs train on one thread each, several at once."
        )
        head = ["like", "B", "T", "D", "text", "z", "threads", "method", "plain", "ours", "speed"]
        rows = [row.cells() for row in self.rows]
        return machine.markdown("Training a shared trunk", self.machine, text, head, rows)

    def write(self, folder: Path) -> list[Path]:
        """Writes `trunk-<device>.json` and `.md`; returns their paths."""
        name = f"trunk-{str(self.machine['device']).partition(':')[0]}"
        return machine.write(folder, name, self.plain(), self.to_markdown())


def measure(
    *,
    cases: Sequence[Case] = CASES,
    threads: Sequence[int] = (1,),
    repeats: int = 5,
    turn: float = TURN,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> TrunkResult:
    """Measures every shape, method and number of threads; `say` gets one line for each.

    Raises UserError for counts below 1.
    """
    if min((*threads, repeats)) < 1:
        raise UserError("bench: every count must be at least 1", "see umlbench bench trunk --help")
    facts = machine.describe(device, repeats, {})
    del facts["threads"]  # a column
    rows = []
    for count, case, method in itertools.product(threads, cases, METHODS):
        with machine.threads(count):
            plain, ours = _turns(case, method, repeats, turn, device)
        rows.append(Row(case, method, count, plain, ours))
        say(machine.line(rows[-1].cells()))
    return TrunkResult(facts, tuple(rows))


def _turns(
    case: Case, method: Method, repeats: int, turn: float, device: str
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Milliseconds per iteration of the plain loop and of ours, in turns."""
    sets = case.sequences()
    loops = (_plain(case, method, sets, device), _ours(case, method, sets, device))

    def milliseconds(loop: Loop, count: int) -> float:
        return 1e3 * machine.seconds(lambda: loop(count), device) / count

    counts = [_fitting(loop, turn, device) for loop in loops]
    rounds = [
        [milliseconds(*one) for one in zip(loops, counts, strict=True)] for _ in range(repeats)
    ]
    plain, ours = zip(*rounds, strict=True)
    return plain, ours


def _fitting(loop: Loop, turn: float, device: str) -> int:
    """Iterations that take about a turn; the first of all is a warm-up."""
    loop(1)
    return max(1, round(turn / machine.seconds(lambda: loop(1), device)))


def _ours(case: Case, method: Method, sets: dict[str, Sequences], device: str) -> Loop:
    """The protocol's own loop, on a trunk that goes on training."""
    settings = case.settings(method, 1)
    names = settings.modalities
    trunk = training.build({name: sets[name].width for name in names}, settings, 1).to(device)
    feeds = {name: training.feed(name, sets[name], settings, 1, device) for name in names}
    masks = training.dropouts(settings, 1)

    def loop(steps: int) -> None:
        training.train(trunk, feeds, case.settings(method, steps), BATCHES, masks)

    return loop


def _plain(case: Case, method: Method, sets: dict[str, Sequences], device: str) -> Loop:
    """The official loop: both branches in every step."""
    model = _Plain(case).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    batches = _loaders(case, sets)

    def loop(steps: int) -> None:
        for vision, text in itertools.islice(batches, steps):
            optimizer.zero_grad()
            own, other = model(vision.to(device), text.to(device))
            loss = own + other if method == "uml" else own
            torch.autograd.backward(loss)
            optimizer.step()

    return loop


def _loaders(case: Case, sets: dict[str, Sequences]) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch of both loaders, zipped."""
    loaders: list[DataLoader[Tensor]] = [
        DataLoader(
            [torch.from_numpy(one.padded([row])[0]) for row in range(len(one))],  # type: ignore[arg-type]
            batch_size=case.batch,
            shuffle=True,
            collate_fn=lambda samples: pad_sequence(samples, batch_first=True),
        )
        for one in sets.values()
    ]
    while True:
        yield from zip(*loaders, strict=True)


class _Plain(nn.Module):
    """The official modules (section 3.2): linear, shared convolution and transformer, linear."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        widths, z = (case.width, case.text_width), case.z
        self.inputs = nn.ModuleList(nn.Linear(width, z) for width in widths)
        self.conv = nn.Conv1d(z, z, 1, bias=False)
        layer = nn.TransformerEncoderLayer(z, nhead=5)
        self.transformer = nn.TransformerEncoder(layer, 5, enable_nested_tensor=False)
        self.decoders = nn.ModuleList(nn.Linear(z, width) for width in widths)

    def forward(self, *modalities: Tensor) -> list[Tensor]:
        """The loss of every modality, each (B, T, D)."""
        return [self._loss(number, x) for number, x in enumerate(modalities)]

    def _loss(self, number: int, x: Tensor) -> Tensor:
        hidden = self.conv(self.inputs[number](x).transpose(1, 2)).permute(2, 0, 1)
        ahead = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device)
        states = self.transformer(hidden, mask=ahead, is_causal=True).transpose(0, 1)
        return mse_loss(self.decoders[number](states)[:, :-1], x[:, 1:])
