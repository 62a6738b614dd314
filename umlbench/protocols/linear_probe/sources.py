"""Data sets, texts and encoders of a cell, found once a process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench import data, encoders
from umlbench.jobs import Context
from umlbench.protocols.linear_probe.settings import Settings
from umlbench.seeds import digest

if TYPE_CHECKING:
    from umlbench.data import Corpus, Dataset
    from umlbench.encoders import Encoder


@dataclass(frozen=True)
class Sources:
    """Where a cell's samples and features come from."""

    settings: Settings
    context: Context

    @property
    def dataset(self) -> Dataset:
        """The target's data set; raises `MissingInput` where its files are not all there."""
        return _dataset(self.settings.dataset, self.context.data, self.context.cache)

    @property
    def encoder(self) -> Encoder:
        """The target's encoder."""
        s = self.settings
        where = (self.context.data, self.context.offline, self.context.device)
        return _encoder(s.encoder, "image", where, dtype=s.dtype, transform=s.transform)

    @property
    def texts(self) -> Corpus:
        """All sentences; labels are those of the data set they describe."""
        s = self.settings
        return _texts(s.texts_of, s.text_type, self.context.data, s.text_aliases)

    @property
    def text_encoder(self) -> Encoder:
        """The text's encoder; one that is fitted sees all the sentences."""
        s = self.settings
        where = (self.context.data, self.context.offline, self.context.device)
        corpus = (s.texts_of, s.text_type, s.text_aliases)
        return _encoder(
            s.text_encoder, "text", where, corpus=corpus, dtype=s.dtype, pooling=s.text_pooling
        )

    def fingerprints(self) -> dict[str, str]:
        """What a job's id holds of its inputs: content of the data, identity of the weights."""
        found = {self.settings.dataset: _fingerprint(self.dataset)}
        found[self.settings.encoder] = digest(self.encoder.key())
        if self.settings.made_of.text:
            found[f"{self.settings.texts_of}/{self.settings.text_type}"] = self.texts.fingerprint
        if self.settings.reads_text:
            found[f"{self.settings.text_encoder} (text)"] = digest(self.text_encoder.key())
        return found


@cache
def _dataset(name: str, root: Path, cache: Path) -> Dataset:
    return data.load(name, root, cache=cache)


@cache
def _fingerprint(dataset: Dataset) -> str:
    return digest({split: samples.fingerprint for split, samples in dataset.splits.items()})


@cache
def _texts(dataset: str, corpus: str, root: Path, aliases: Any) -> Corpus:
    return data.texts(dataset, corpus, root, aliases=aliases)


@cache
def _encoder(
    name: str,
    modality: Any,
    where: tuple[Path, bool, str],
    corpus: tuple[str, str, str] | None = None,
    **how: Any,
) -> Encoder:
    root, offline, device = where
    if name not in encoders.NAMES:
        how["modality"] = modality
    fitted_on = (
        _texts(corpus[0], corpus[1], root, corpus[2]) if name == "tfidf" and corpus else None
    )
    return encoders.load(name, root=root, offline=offline, device=device, corpus=fitted_on, **how)
