"""Where samples come from: one module per source, each with `load()` and `texts(corpus)`.

Nothing here imports torch or decodes a file before it must: planning reads names and fingerprints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol as Interface
from typing import cast

from umlbench.data.samples import Samples
from umlbench.errors import unknown

NAMES = ("digits",)


@dataclass(frozen=True, eq=False)
class Dataset:
    """The target modality: `classes[label]` names a label, `splits` has train, val and test."""

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, Samples]

    def split(self, name: str) -> Samples:
        """One split; `UserError` for a name it does not have."""
        if name not in self.splits:
            raise unknown(f"split of {self.name}", name, self.splits)
        return self.splits[name]


class Source(Interface):
    """The shape of a module that brings a data set."""

    CORPORA: Mapping[str, str]  # corpus name -> the file that holds it

    def load(self) -> Dataset:
        """The data set with its splits."""
        ...

    def texts(self, corpus: str) -> Samples:
        """The sentences of one of `CORPORA`; labels index the data set's classes."""
        ...


def load(name: str) -> Dataset:
    """The data set called `name`."""
    return _source(name).load()


def texts(name: str, corpus: str = "descriptions") -> Samples:
    """Sentences about the classes of data set `name`, unpaired with its images."""
    source = _source(name)
    if corpus not in source.CORPORA:
        raise unknown(f"text corpus of {name}", corpus, source.CORPORA)
    return source.texts(corpus)


def _source(name: str) -> Source:
    if name not in NAMES:
        raise unknown("dataset", name, NAMES)
    return cast(Source, import_module(f"umlbench.data.{name}"))
