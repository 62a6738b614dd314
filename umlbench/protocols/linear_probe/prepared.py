"""A job with the features it trains on: drawn and scaled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, cast

from umlbench.data import draw
from umlbench.data.few_shot import text_rows
from umlbench.errors import UserError
from umlbench.features import FeatureStore
from umlbench.jobs import Context, Job
from umlbench.models.scaling import Scaler
from umlbench.protocols.linear_probe.modalities import Auxiliary, Choice, Modalities
from umlbench.protocols.linear_probe.settings import Settings
from umlbench.protocols.linear_probe.sources import Sources
from umlbench.seeds import torch_stream

if TYPE_CHECKING:
    from torch import Tensor

    from umlbench.data.samples import Samples as Data
    from umlbench.encoders import Encoder
    from umlbench.features import Features
    from umlbench.sweep import Samples


@dataclass(frozen=True)
class Prepared(Modalities):
    """One job's samples of the target and, where it takes part, of text."""

    settings: Settings
    text_words: float | None  # a sentence, all of the corpus counted
    sources: Sources
    scaler: Scaler
    frozen: Tensor  # test features (N, D) as the encoder gave them

    @property
    def texts(self) -> Mapping[Choice, Samples]:
        """By the value of `text_shots`."""
        return self.auxiliaries[0].samples if self.auxiliaries else {}


class Reader:
    """Features and test samples, read once for all jobs of a batch."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._store = FeatureStore(context.cache)
        self._features: dict[tuple[str, ...], Features] = {}
        self._tests: dict[tuple[str, ...], Samples] = {}

    def features(self, encoder: Encoder, samples: Data, dataset: str, split: str) -> Features:
        """The features of one split, encoded where they are missing."""
        place = (self._store.key(encoder, samples), dataset, split)
        if place not in self._features:
            self._features[place] = self._store.get(
                encoder, samples, dataset=dataset, split=split, say=self.context.say
            )
        return self._features[place]

    def test(self, features: Features, settings: Settings, scaler: Scaler) -> Samples:
        """The scaled test set: one object, so that a sweep loads it once."""
        place = (features.key, settings.scaling, str(settings.centred_norm))
        return self._tests.setdefault(place, chosen_rows(features, None, scaler))


def prepare(job: Job, reader: Reader) -> Prepared:
    """Read (and encode, where missing) a job's features and draw its rows."""
    check_grid(job)
    settings, context = cast(Settings, job.settings), reader.context
    sources = Sources(settings, context)
    dataset, encoder = sources.dataset, sources.encoder
    found = {
        name: reader.features(encoder, dataset.split(name), dataset.name, name)
        for name in ("train", "val", "test")
    }
    scaler = Scaler(found["train"].x, settings.scaling, settings.centred_norm)
    drawn = draw(dataset, shots=settings.shots, seed=job.seed, root=context.data)
    texts, keys = text_vectors(job, sources, reader)
    text_width = sources.text_encoder.width if settings.reads_text else None
    return Prepared(
        job=job,
        settings=settings,
        classes=len(dataset.classes),
        width=head_width(settings, encoder.width, text_width),
        train=chosen_rows(found["train"], drawn.rows.train, scaler),
        val=chosen_rows(found["val"], drawn.rows.val, scaler),
        test=reader.test(found["test"], settings, scaler),
        auxiliaries=(Auxiliary("text", texts, "text_shots"),) if texts else (),
        text_words=_words(sources.texts.items) if settings.made_of.text else None,
        keys={f"{encoder.name}/{name}": f.key for name, f in found.items()} | keys,
        drawn=drawn.source,
        sources=sources,
        scaler=scaler,
        frozen=found["test"].x,
    )


def head_width(settings: Settings, own: int, text: int | None) -> int:
    """Columns of the head: the text's width for a method that projects, else the target's own."""
    return text if settings.made_of.projection and text else own


def check_grid(job: Job) -> None:
    """`UserError` for a grid that mixes trials with and without text: they are other methods."""
    for name, value in cast(Settings, job.settings).no_text.items():
        if value in job.grid.get(name, ()):
            what = f"{name} {value} (no text) is a cell of its own, not a point of the grid"
            raise UserError(what, f"make {name} an axis, or leave {value} out of the grid")


def text_vectors(
    job: Job, sources: Sources, reader: Reader
) -> tuple[dict[Choice, Samples], dict[str, str]]:
    """The text vectors for every `text_shots` of the job, and their features' key."""
    settings = sources.settings
    if not settings.made_of.text:
        return {}, {}
    features = reader.features(
        sources.text_encoder, sources.texts, settings.texts_of, settings.text_type
    )
    classes = len(sources.dataset.classes)
    texts = {
        shots: _text(settings, job.seed, features, shots, classes) for shots in text_shots(job)
    }
    return texts, {f"{settings.text_encoder}/text": features.key}


def _words(sentences: Sequence[str]) -> float:
    """The mean number of words, parted by white space."""
    return fmean(len(sentence.split()) for sentence in sentences)


def text_shots(job: Job) -> Sequence[Choice]:
    """Every value of `text_shots` that the job's grid has, or the cell's."""
    given = job.grid.get("text_shots", (cast(Settings, job.settings).text_shots,))
    return cast("Sequence[Choice]", given)


def _text(
    settings: Settings, seed: int, features: Features, shots: Choice, classes: int
) -> Samples:
    """The text vectors that a trial sees, under the target's labels."""
    y = text_labels(settings, seed, features.y, classes)
    x = Scaler(features.x, settings.text_scaling, settings.centred_norm)(features.x)
    return text_samples(x, y, shots, seed, classes)


def text_samples(x: Tensor, y: Tensor, shots: Choice, seed: int, classes: int) -> Samples:
    """Those of the vectors x (N, T) with labels y (N,) that `text_shots` asks for."""
    from umlbench.models.head import class_averages
    from umlbench.sweep import Samples

    if shots == "average":
        return Samples(*class_averages(x, y, classes))
    rows = list(text_rows(y, shots=cast("int | None", shots), seed=seed))
    return Samples(x[rows], y[rows])


def text_labels(settings: Settings, seed: int, y: Tensor, classes: int) -> Tensor:
    """The text's labels (N,) as classes of the target; `UserError` where it has more of them."""
    if int(y.max()) >= classes:
        raise UserError(
            f"text of {settings.texts_of} has {int(y.max()) + 1} classes, "
            f"{settings.dataset} only {classes}",
            "text labels are used as class indices: choose a text_dataset with fewer classes",
        )
    return permuted(y, classes, seed) if settings.made_of.labels == "permuted" else y


def permuted(y: Tensor, classes: int, seed: int) -> Tensor:
    """Labels under a permutation that leaves no class its own text (Sattolo's cycle)."""
    import torch

    stream = torch_stream("permutation", seed, classes=classes)
    order = list(range(classes))
    for last in range(classes - 1, 0, -1):
        other = int(torch.randint(last, (1,), generator=stream))
        order[last], order[other] = order[other], order[last]
    return torch.tensor(order)[y]


def chosen_rows(features: Features, chosen: Sequence[int] | None, scaler: Scaler) -> Samples:
    """Some rows of a split (None: all), scaled."""
    from umlbench.sweep import Samples

    rows = slice(None) if chosen is None else list(chosen)
    return Samples(scaler(features.x[rows]), features.y[rows])
