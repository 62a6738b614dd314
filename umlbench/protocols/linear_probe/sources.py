"""Data sets, texts and encoders of a cell, found once a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from umlbench.data import corpora
from umlbench.errors import UserError, unknown
from umlbench.jobs import Context
from umlbench.needs import IMPORTED, DatasetNeed, Encoded, EncoderNeed, Need, Reads, TextsNeed
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
        return _dataset(self.settings).find(self.context)

    @property
    def encoder(self) -> Encoder:
        """The target's encoder."""
        return self.encoder_need.find(self.context)

    @property
    def encoder_need(self) -> EncoderNeed:
        """Which encoder that is."""
        return _encoder(self.settings)

    @property
    def test_sets(self) -> dict[str, tuple[Dataset, Encoder]]:
        """The further test sets by name, each with the encoder of its photos.

        Raises `UserError` where the classes of one are not the target's, label by label.
        """
        found: dict[str, tuple[Dataset, Encoder]] = {}
        for name in self.settings.test_sets:
            other = DatasetNeed(name).find(self.context)
            _same_classes(self.dataset, other)
            found[name] = (other, _encoder(self.settings, name).find(self.context))
        return found

    @property
    def plane(self) -> tuple[int, int]:
        """The labels of the two classes of `Settings.plane`; `UserError` for an unknown class."""
        first, second = (_label(self.dataset, name) for name in self.settings.plane or ())
        return first, second

    @property
    def texts(self) -> Corpus:
        """All sentences; labels are those of the data set they describe."""
        return _texts(self.settings).find(self.context)

    @property
    def text_encoder(self) -> Encoder:
        """The text's encoder; one that is fitted sees all the sentences."""
        return _text_encoder(self.settings).find(self.context)

    def fingerprints(self) -> dict[str, str]:
        """What a job's id holds of its inputs: content of the data, identity of the weights."""
        found = {self.settings.dataset: self.dataset.fingerprint}
        found[self.encoder_need.described] = digest(self.encoder.key())
        if self.settings.made_of.text:
            found[f"{self.settings.texts_of}/{self.settings.text_type}"] = self.texts.fingerprint
        if self.settings.reads_text:
            found[f"{_text_encoder(self.settings).described} (text)"] = digest(
                self.text_encoder.key()
            )
        for name, (other, _) in self.test_sets.items():
            found[name] = other.fingerprint
        if self.settings.plane:
            _ = self.plane  # a misspelt class is said before anything is trained
        return found


def reads(settings: Settings) -> Reads:
    """What a cell reads: its data set and encoder, and those of text where text takes part."""
    target, encoder = _dataset(settings), _encoder(settings)
    others = [DatasetNeed(name) for name in settings.test_sets]
    needs: list[Need] = [target, *others, encoder]
    features = [Encoded(encoder, target)]
    features += [Encoded(_encoder(settings, other.dataset), other) for other in others]
    if settings.made_of.text or settings.fits_text:
        needs.append(_texts(settings))
    if settings.made_of.text:
        features.append(Encoded(_text_encoder(settings), _texts(settings)))
    if settings.reads_text:
        needs.append(_text_encoder(settings))
    return Reads(tuple(needs), tuple(features))


def _dataset(s: Settings) -> DatasetNeed:
    return DatasetNeed(s.dataset)


def _texts(s: Settings) -> TextsNeed:
    return TextsNeed(s.texts_of, s.text_type, s.text_aliases)


def _encoder(s: Settings, dataset: str = "") -> EncoderNeed:
    of = _of(s.encoder, dataset or s.dataset)
    return EncoderNeed(s.encoder, "image", s.target_dtype, s.transform, dataset=of)


def _text_encoder(s: Settings) -> EncoderNeed:
    return EncoderNeed(
        s.text_encoder,
        "text",
        s.dtype,
        pooling=s.text_pooling,
        fitted_on=_texts(s) if s.fits_text else None,
        dataset=_of(s.text_encoder, s.texts_of),
    )


def _of(encoder: str, dataset: str) -> str:
    """Only imported rows belong to one data set; any other encoder is one for all of them."""
    return dataset if encoder.startswith(IMPORTED) else ""


def _same_classes(dataset: Dataset, other: Dataset) -> None:
    """`UserError` where a label of one means another class in the other."""
    if dataset.classes == other.classes:
        return
    hint = "test_sets need the same classes in the same order"
    start = f"{other.name} cannot be a test set of {dataset.name}"
    counts = [len(one.classes) for one in (other, dataset)]
    if counts[0] != counts[1]:
        raise UserError(f"{start}: it has {counts[0]} classes, not {counts[1]}", hint)
    pairs = enumerate(zip(other.classes, dataset.classes, strict=True))
    label, names = next((label, names) for label, names in pairs if len(set(names)) > 1)
    raise UserError(f"{start}: class {label} is '{names[0]}' there and '{names[1]}' here", hint)


def _label(dataset: Dataset, name: str) -> int:
    """The label of a class, whatever its case and whether spaces are underscores."""
    plain = [corpora.plain(known) for known in dataset.classes]
    if corpora.plain(name) not in plain:
        raise unknown(f"class of {dataset.name}", name, dataset.classes)
    return plain.index(corpora.plain(name))
