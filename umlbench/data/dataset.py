"""What a data set is, and what may be wrong with one before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from umlbench.data.samples import Samples
from umlbench.errors import MissingInput, unknown
from umlbench.seeds import digest


@dataclass(frozen=True, eq=False)
class Dataset:
    """The target modality: `classes[label]` names a label; `splits` has train, val and test.

    ImageNet's variants have a test split only. `notices` are lines a report must show, such as
    counts that differ from the paper's Table 3.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Samples]
    notices: tuple[str, ...] = ()

    def split(self, name: str) -> Samples:
        """One split; `UserError` for a name it does not have."""
        if name not in self.splits:
            raise unknown(f"split of {self.name}", name, self.splits)
        return self.splits[name]

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every split's samples."""
        return digest({split: samples.fingerprint for split, samples in self.splits.items()})


@dataclass(frozen=True)
class Problem:
    """One thing a data set lacks: `where` it was looked for, `what` is wrong, how to `get` it."""

    dataset: str
    where: str
    what: str
    get: str = ""

    def __str__(self) -> str:
        line = f"{self.dataset}: {self.where}: {self.what}"
        return f"{line}; {self.get}" if self.get else line


def missing(problems: Sequence[Problem]) -> MissingInput:
    """One error that lists every problem, a line each."""
    lines = [str(problem) for problem in problems]
    if len(lines) > 1:
        lines.insert(0, f"{len(lines)} problems with the data:")
    return MissingInput(
        "\n  ".join(lines),
        "mend the data, or set UMLBENCH_DATA to the folder that holds all data sets",
    )


def few(names: Sequence[object], limit: int = 3) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
