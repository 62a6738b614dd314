"""One module per experiment family: the algorithm on one page, and the settings it reads.

A protocol is a module with

- `VERSION: int`, raised whenever a change of code changes a figure;
- `DTYPE: str`, the precision it computes in, for the records' provenance;
- `Settings`, a `Closed` model; a recipe's axes and grid vary its fields by name;
- `METRICS: dict[str, Metric]`, the figures a job may return;
- `inputs(settings, context) -> dict[str, str]`, fingerprints of the data and weights a job reads
  (raises `MissingInput` where they are not on this machine);
- `reads(settings) -> Reads` (optional), the same declared without looking: data sets, texts,
  weights and features, which are then listed, downloaded and extracted before any training;
- `HEADS` (optional), true where `Context.heads` makes its outcomes bring the selected head;
- `memory(settings, context) -> int | None` (optional), bytes that a job takes of its device, which
  a plan then states;
- `batch(job) -> str`, jobs with equal keys are trained together (the job's id: alone);
- `WHOLE_BATCHES`, true where a figure's last digits depend on which jobs share its batch: the
  runner then passes a batch whole even if some of its jobs have a record, so that a resumed run
  equals an unbroken one;
- `RANKS` (optional), true where several processes may share one job (`executors.ranks`);
- `run(jobs, context) -> Iterator[tuple[Job, Outcome]]`, which yields each job as it ends.

Nothing above a function's body imports torch: listing and planning must stay quick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast
from typing import Protocol as Interface

from umlbench.errors import unknown
from umlbench.jobs import Context, Job, Outcome
from umlbench.schema import Closed

if TYPE_CHECKING:
    from umlbench.needs import Reads

NAMES = (
    "finetune",
    "gaussian",
    "imagenet_esc",
    "linear_probe",
    "self_supervised",
    "theory",
    "transfer",
)


@dataclass(frozen=True)
class Metric:
    """What one figure means: its label in a report, its unit, its direction, its decimals.

    `over_seeds` says how seeds become one number: a mean with an interval, or the worst case.
    """

    label: str
    unit: str
    higher_is_better: bool
    digits: int = 2
    scientific: bool = False
    over_seeds: Literal["mean", "min", "max"] = "mean"
    log_axis: bool = False  # how a figure draws it

    def show(self, value: float, signed: bool = False) -> str:
        """The value with this metric's decimals; minus zero is zero."""
        sign = "+" if signed else ""
        if math.isinf(value):
            return f"{sign if value > 0 else '-'}∞"
        text = f"{value:{sign}.{self.digits}{'e' if self.scientific else 'f'}}"
        return text if float(text) or not text.startswith("-") else text.replace("-", sign, 1)


class Protocol(Interface):
    """The shape of a protocol module (see the module docstring)."""

    VERSION: int
    DTYPE: str
    WHOLE_BATCHES: bool
    Settings: type[Closed]
    METRICS: Mapping[str, Metric]

    def inputs(self, settings: Closed, context: Context) -> dict[str, str]:
        """Fingerprints of what a cell reads, by name."""
        ...

    def batch(self, job: Job) -> str:
        """The key of the jobs that are trained together."""
        ...

    def run(self, jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
        """Train one batch of jobs; each is yielded as it ends."""
        ...


def reads(protocol: Protocol, settings: Closed) -> Reads:
    """What a cell reads, as its protocol declares it; nothing where it does not."""
    from umlbench.needs import Reads

    declared: Callable[[Closed], Reads] | None = getattr(protocol, "reads", None)
    return declared(settings) if declared else Reads()


def keeps_heads(protocol: Protocol) -> bool:
    """Whether its jobs leave heads that can be stored."""
    return bool(getattr(protocol, "HEADS", False))


def memory(protocol: Protocol, settings: Closed, context: Context) -> int | None:
    """The bytes that a job takes of its device, where its protocol can say."""
    stated: Callable[[Closed, Context], int | None] | None = getattr(protocol, "memory", None)
    return stated(settings, context) if stated else None


def load(name: str) -> Protocol:
    """The protocol module called `name`."""
    if name not in NAMES:
        raise unknown("protocol", name, NAMES)
    return cast(Protocol, import_module(f"umlbench.protocols.{name}"))
