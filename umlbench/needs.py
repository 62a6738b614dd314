"""What a cell reads: data sets, sequences, sentences, encoders, and features of one by another.

A protocol declares it without looking (`reads`). `find` then looks on this machine; with
`Context.offline` it opens no socket, without it weights are downloaded at their pinned revision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from umlbench import data, encoders, features
from umlbench.data import corpora, esc, imagenet_esc, sequence_sets
from umlbench.data.corpora import Aliases
from umlbench.data.sets import SETS
from umlbench.encoders.tokens import without
from umlbench.encoders.weights import split_name
from umlbench.errors import MissingInput
from umlbench.jobs import Context

if TYPE_CHECKING:
    from umlbench.data import Corpus, Dataset
    from umlbench.data.samples import Samples
    from umlbench.data.sequences import SequenceSet
    from umlbench.encoders import BatchNorm, Dtype, Encoder, Modality, Pooling, Tokens, Transform

IMPORTED = "imported:"


@dataclass(frozen=True)
class DatasetNeed:
    """The photos or sounds of one data set, and its lists."""

    dataset: str
    kind: ClassVar[str] = "data set"

    def __str__(self) -> str:
        return self.dataset

    def find(self, context: Context) -> Dataset:
        """The data set, found once a process; `MissingInput` lists everything it lacks."""
        return _dataset(self.dataset, context.data, context.cache)

    def is_absent(self, context: Context) -> bool:
        """Whether nothing of it is here: then it is missing, else what is wrong is broken."""
        return not data.folder(self.dataset, context.data).is_dir()

    def parts(self, context: Context) -> Iterator[tuple[str, str, Samples]]:
        """(data set, split, samples) of every split."""
        found = self.find(context)
        for split, samples in found.splits.items():
            yield found.name, split, samples

    def expected(self) -> dict[str, int | None]:
        """Items by split where the set is not here: as published, as far as that says."""
        if self.dataset in data.SOUNDS:
            return dict(esc.expected())
        if self.dataset not in SETS:
            return {}
        spec = SETS[self.dataset]
        sizes = spec.expected()
        splits = ("test",) if spec.layout == "class_folders" else ("train", "val", "test")
        return {split: sizes.get(split) for split in splits}


@dataclass(frozen=True)
class PhotosNeed(DatasetNeed):
    """Of ImageNet's photos those that ImageNet-ESC draws at `shots` (`imagenet_esc.photo_pool`).

    Those that validate and test are among them for a `target`.
    """

    shots: int = 1
    target: bool = False

    def parts(self, context: Context) -> Iterator[tuple[str, str, Samples]]:
        """(data set, split, drawn samples)."""
        found = self.find(context)
        for split, samples in _photos(found, self.shots, self.target, context.data).items():
            yield found.name, split, samples

    def expected(self) -> dict[str, int | None]:
        """At most so many: two divisions may draw the same photo."""
        drawn = len(esc.FOLDS) * len(imagenet_esc.PAIRS) * self.shots
        if not self.target:
            return {"train": drawn}
        return {"train": drawn, "val": drawn, "test": 50 * len(imagenet_esc.PAIRS)}


@dataclass(frozen=True)
class TextsNeed:
    """The sentences of one corpus about the classes of one data set."""

    dataset: str
    corpus: str
    aliases: Aliases = "none"
    kind: ClassVar[str] = "texts"

    def __str__(self) -> str:
        return f"{self.dataset}/{self.corpus}"

    def find(self, context: Context) -> Corpus:
        """The corpus, found once a process; `MissingInput` names its file first.

        Where the class names of its data set are missing too, the error says that it waits.
        """
        if corpora.SYNONYMS.get(self.corpus, self.corpus) == "cupl" and self.dataset in SETS:
            corpora.locate(self.dataset, SETS[self.dataset].family, context.data)
        try:
            return _texts(self.dataset, self.corpus, context.data, self.aliases)
        except MissingInput as error:
            if corpora.is_path(self.corpus) or self.dataset in imagenet_esc.NAMES:
                raise
            what = f"{self}: waits for the class names of {self.dataset}"
            raise MissingInput(what, error.message) from error

    def parts(self, context: Context) -> Iterator[tuple[str, str, Samples]]:
        """All sentences, under the corpus' name as the recipe says it."""
        yield self.dataset, self.corpus, self.find(context)

    def expected(self) -> dict[str, int | None]:
        """How many sentences there are is known from the files only."""
        return {self.corpus: None}


@dataclass(frozen=True)
class EncoderNeed:
    """One frozen encoder with its weights.

    `tokens` asks for several rows an item (`umlbench.encoders.tokens`), unpooled.
    `fitted_on` is what `tfidf` learns its words from. `imported:NAME` stands for the rows that were
    imported under that name for the data set `dataset` (`umlbench features import`).
    """

    name: str
    modality: Modality
    dtype: Dtype = "float32"
    transform: Transform = "clip"
    pooling: Pooling | None = None
    batch_norm: BatchNorm = "train"
    tokens: Tokens | None = None
    fitted_on: TextsNeed | None = None
    dataset: str = ""
    kind: ClassVar[str] = "weights"

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """The name without the place of its weights."""
        return split_name(self.name)[0]

    @property
    def described(self) -> str:
        """The name among a job's inputs: with what it is fitted on or belongs to, without a place.

        Of one name there may be several encoders in a table then, and inputs still agree.
        """
        of = self.fitted_on or self.dataset
        return f"{self.label} of {of}" if of else self.label

    @property
    def comes_with_the_package(self) -> bool:
        """Whether there is nothing to fetch."""
        return self.name in encoders.NAMES or self.name.startswith(IMPORTED)

    def find(self, context: Context) -> Encoder:
        """The encoder, whose weights are all on this machine now; looked for once a process.

        Raises `MissingInput` with every place that was looked at.
        """
        return _encoder(self, context.data, context.cache, context.offline, context.device)

    def load(self, context: Context) -> Encoder:
        """A new one, whose memory is free again with it."""
        if self.name.startswith(IMPORTED):
            if self.tokens:
                raise without(self.name, self.tokens)
            return features.imported(context.cache, self.name.removeprefix(IMPORTED), self.dataset)
        how: dict[str, Any] = {"dtype": self.dtype, "transform": self.transform}
        how["tokens"] = self.tokens
        if not self.comes_with_the_package:
            how |= {"modality": self.modality, "pooling": self.pooling}
            how["batch_norm"] = self.batch_norm
        if self.name == "tfidf" and self.fitted_on is not None:
            how["corpus"] = self.fitted_on.find(context)
        found = encoders.load(
            self.name, root=context.data, offline=context.offline, device=context.device, **how
        )
        encoders.fetch(found)
        return found


@dataclass(frozen=True)
class SequencesNeed:
    """The sequences of one data set in all its modalities."""

    dataset: str
    kind: ClassVar[str] = "sequences"

    def __str__(self) -> str:
        return self.dataset

    def find(self, context: Context) -> SequenceSet:
        """The set, found once a process; `MissingInput` names its file and where to get it.

        Samples of a published set are read when they are first asked for (`sequence_sets.load`).
        """
        return _sequences(self.dataset, context.data, context.cache)


Need = DatasetNeed | SequencesNeed | TextsNeed | EncoderNeed


@dataclass(frozen=True)
class Encoded:
    """The features of all samples of `of` as `encoder` sees them, kept in the dtype `stored`."""

    encoder: EncoderNeed
    of: DatasetNeed | TextsNeed
    stored: Dtype = "float32"


@dataclass(frozen=True)
class Reads:
    """Everything that one cell reads, in the order in which a user should care for it."""

    needs: tuple[Need, ...] = ()
    features: tuple[Encoded, ...] = ()


@cache
def _dataset(name: str, root: Path, cache: Path) -> Dataset:
    return data.load(name, root, cache=cache)


@cache
def _photos(photos: Dataset, shots: int, target: bool, root: Path) -> dict[str, Samples]:
    return imagenet_esc.photo_pool(photos, shots=shots, target=target, root=root)


@cache
def _sequences(name: str, root: Path, cache: Path) -> SequenceSet:
    return sequence_sets.load(name, root, cache)


@cache
def _texts(dataset: str, corpus: str, root: Path, aliases: Aliases) -> Corpus:
    return data.texts(dataset, corpus, root, aliases=aliases)


@cache
def _encoder(need: EncoderNeed, root: Path, cache: Path, offline: bool, device: str) -> Encoder:
    return need.load(Context(device=device, data=root, cache=cache, offline=offline))
