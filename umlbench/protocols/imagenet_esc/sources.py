"""Data sets, texts and encoders of a cell, and which of their rows a division of the data takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from umlbench.data import Dataset, esc, imagenet_esc
from umlbench.data.dataset import few
from umlbench.data.imagenet_esc import Division, Part
from umlbench.jobs import Context
from umlbench.needs import (
    IMPORTED,
    DatasetNeed,
    Encoded,
    EncoderNeed,
    Need,
    PhotosNeed,
    Reads,
    TextsNeed,
)
from umlbench.protocols.imagenet_esc.settings import Settings
from umlbench.seeds import digest

if TYPE_CHECKING:
    from umlbench.data import Corpus
    from umlbench.data.samples import Samples
    from umlbench.encoders import Encoder

DIVISIONS = len(esc.FOLDS)


class Helping(NamedTuple):
    """The sounds or photos that help in a division, and what a report must say of them."""

    part: Part
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """Where a cell's samples and features come from, modality by modality."""

    settings: Settings
    context: Context

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(imagenet_esc.members(self.settings.dataset))

    @property
    def texts(self) -> Corpus:
        """All sentences."""
        return cast(TextsNeed, _encoded(self.settings, "text")).find(self.context)

    def encoder(self, modality: str) -> Encoder:
        """The encoder of a modality."""
        return _encoder(self.settings, modality).find(self.context)

    def dataset(self, modality: str) -> Dataset:
        """The sounds or photos that rows are chosen from."""
        return DatasetNeed(_dataset(self.settings, modality)).find(self.context)

    def encoded(self, modality: str) -> tuple[str, dict[str, Samples]]:
        """What is encoded of a modality: its name in the cache, and samples by split."""
        parts = list(_encoded(self.settings, modality).parts(self.context))
        return parts[0][0], {split: samples for _, split, samples in parts}

    def division(self, number: int) -> Division:
        """What the target trains, validates and tests on in division `number` (0 to 4)."""
        s, dataset = self.settings, self.dataset(self.settings.target)
        return _division(s.target, dataset, s.dataset, number, s.shots, self.context.data)

    def helping(self, modality: str, number: int) -> Helping:
        """The sounds or photos that help in that division."""
        s, dataset = self.settings, self.dataset(modality)
        return _helping(modality, dataset, s.dataset, number, s.auxiliary_shots, self.context.data)

    def notices(self, number: int) -> list[str]:
        """What a reader of the figures of one division must know."""
        lines = [*self.division(number).notices, *self.dataset(self.settings.target).notices]
        for name in self.settings.auxiliaries:
            if name == "text":
                lines += self.texts.notices
            else:
                lines += [*self.helping(name, number).notices, *self.dataset(name).notices]
        return list(dict.fromkeys(lines))

    def fingerprints(self) -> dict[str, str]:
        """What a job's id holds of its inputs: content of the data, identity of the weights.

        Raises `UserError` where a class or enough samples of one are not there.
        """
        found: dict[str, str] = {}
        for modality in self.settings.taking_part:
            need = _encoder(self.settings, modality)
            found |= self._fingerprint(modality)
            found[f"{need.described} ({modality})"] = digest(self.encoder(modality).key())
        return found

    def _fingerprint(self, modality: str) -> dict[str, str]:
        """Of a data set or corpus; of ImageNet that of the drawn photos, and of who draws them."""
        need = _encoded(self.settings, modality)
        if isinstance(need, TextsNeed):
            return {str(need): self.texts.fingerprint}
        dataset = self.dataset(modality)
        ids = [
            [dataset.split(part.split).ids[row] for row in part.rows]
            for number in range(DIVISIONS)
            for part in self._chosen(modality, number)
        ]
        if not isinstance(need, PhotosNeed):
            return {need.dataset: dataset.fingerprint}
        drawn = {split: some.fingerprint for split, some in self.encoded(modality)[1].items()}
        role = "target" if need.target else "auxiliary"
        name = f"{need.dataset}/{self.settings.dataset} {need.shots}-shot {role}"
        return {name: digest([drawn, ids], length=32)}

    def _chosen(self, modality: str, number: int) -> Iterator[Part]:
        if modality == self.settings.target:
            division = self.division(number)
            yield from (division.train, division.val, *division.test)
        else:
            yield self.helping(modality, number).part


def reads(settings: Settings) -> Reads:
    """What a cell reads, its target first."""
    needs: list[Need] = []
    features = []
    for modality in settings.taking_part:
        encoder, of = _encoder(settings, modality), _encoded(settings, modality)
        whole = of if isinstance(of, TextsNeed) else DatasetNeed(of.dataset)
        needs += [whole, encoder]
        features.append(Encoded(encoder, of))
    return Reads(tuple(needs), tuple(features))


def _dataset(s: Settings, modality: str) -> str:
    """The data set of a modality's samples; of text the classes it is about."""
    photos = "imagenet_esc_photos" if s.dataset == "esc10" else "imagenet"
    return {"audio": "esc50", "image": photos, "text": s.dataset}[modality]


def _encoded(s: Settings, modality: str) -> DatasetNeed | TextsNeed:
    """What is encoded: whole sets, of ImageNet the drawn photos; imported rows are of all."""
    name = _dataset(s, modality)
    if modality == "text":
        return TextsNeed(name, s.text_type)
    if name != "imagenet" or s.image_encoder.startswith(IMPORTED):
        return DatasetNeed(name)
    target = s.target == "image"
    return PhotosNeed(name, s.shots if target else s.auxiliary_shots, target)


def _encoder(s: Settings, modality: str) -> EncoderNeed:
    name: str = getattr(s, f"{modality}_encoder")
    of = _dataset(s, modality) if name.startswith(IMPORTED) else ""
    if modality == "audio":
        return EncoderNeed(name, "audio", batch_norm=s.batch_norm, dataset=of)
    if modality == "image":
        return EncoderNeed(name, "image", s.dtype, s.transform, dataset=of)
    fitted = TextsNeed(s.dataset, s.text_type) if name == "tfidf" else None
    pooling = s.text_pooling
    return EncoderNeed(name, "text", s.dtype, pooling=pooling, fitted_on=fitted, dataset=of)


@cache
def _division(
    modality: str, dataset: Dataset, name: str, number: int, shots: int, root: Path
) -> Division:
    classes = imagenet_esc.members(name)
    if modality == "audio":
        sounds = [pair.sound for pair in classes]
        return imagenet_esc.sound_target(dataset, sounds, division=number, shots=shots)
    photos = [pair.photo for pair in classes]
    return imagenet_esc.photo_target(dataset, photos, division=number, shots=shots, root=root)


@cache
def _helping(
    modality: str, dataset: Dataset, name: str, number: int, shots: int, root: Path
) -> Helping:
    classes = imagenet_esc.members(name)
    if modality == "audio":
        sounds = [pair.sound for pair in classes]
        clips = imagenet_esc.sound_auxiliary(dataset, sounds, division=number, shots=shots)
        return Helping(clips)
    if dataset.name == "imagenet":
        drawn = _division(modality, dataset, name, number, shots, root)
        return Helping(drawn.train, drawn.notices)
    part = imagenet_esc.photo_samples(dataset, [pair.photo for pair in classes], shots=shots)
    lonely = [pair.sound for label, pair in enumerate(classes) if label not in part.labels]
    return Helping(part, (f"{name}: no photo of {few(lonely)}",) if lonely else ())
