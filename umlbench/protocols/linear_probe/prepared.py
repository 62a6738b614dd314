"""A job with the features it trains on: drawn, scaled, and as the sweep's trials."""

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
from umlbench.protocols.linear_probe.settings import Settings
from umlbench.protocols.linear_probe.sources import Sources
from umlbench.seeds import seed_for, torch_stream

if TYPE_CHECKING:
    from torch import Tensor

    from umlbench.data.samples import Samples as Data
    from umlbench.encoders import Encoder
    from umlbench.features import Features
    from umlbench.sweep import Samples, Shuffled, Stream, Trial


@dataclass(frozen=True)
class Prepared:
    """One job's samples of both modalities; `texts` by the value of `text_shots`."""

    job: Job
    settings: Settings
    classes: int
    train: Samples
    val: Samples
    test: Samples
    texts: Mapping[int | str | None, Samples]
    text_width: int | None
    text_words: float | None  # a sentence, all of the corpus counted
    keys: Mapping[str, str]
    drawn: str  # where the few-shot rows come from
    sources: Sources
    scaler: Scaler
    frozen: Tensor  # test features (N, D) as the encoder gave them

    def trials(self) -> list[Trial]:
        """One per grid point."""
        return [self._trial(self.settings.model_copy(update=p)) for p in self.job.trials()]

    def _trial(self, point: Settings) -> Trial:
        from umlbench.sweep import Trial

        texts = self.texts.get(point.text_shots)
        shape = Shape(self.classes, self.train.x.shape[1], self.text_width)
        head, projection = initial_weights(self.settings, self.job.seed, shape, texts)
        auxiliary: tuple[Stream, ...] = ()
        if point.made_of.text and texts is not None:
            auxiliary = (self._stream(texts, "text", point.text_batch, point.alpha),)
        return Trial(
            target=self._stream(self.train, "target", point.batch_size, 1.0, projection),
            auxiliary=auxiliary,
            val=self.val,
            test=self.test,
            head=head,
            learning_rate=point.learning_rate,
            weight_decay=point.weight_decay,
            learnable_scale=point.learnable_scale,
            scale=point.scale,
        )

    def _stream(
        self,
        samples: Samples,
        modality: str,
        rows: int,
        weight: float,
        projection: Tensor | None = None,
    ) -> Stream:
        from umlbench.sweep import Stream

        order = shuffled(self.job.seed, modality, len(samples), rows)
        return Stream(samples, order, weight, projection)


@dataclass(frozen=True)
class Shape:
    """What weights must fit: classes C, the target's width D, the text's (None: no text)."""

    classes: int
    width: int
    text_width: int | None


def initial_weights(
    settings: Settings, seed: int, shape: Shape, texts: Samples | None
) -> tuple[Tensor, Tensor | None]:
    """Head (C, T) and projection (T, D) of a method: none where the widths agree already."""
    import torch

    from umlbench.models.head import linear_init, zero_shot_weights

    made_of, width = settings.made_of, shape.width
    through = shape.text_width if made_of.projection and shape.text_width else width
    projection = None
    if through != width:
        projection = linear_init(through, width, torch_stream("init", seed, layer="projection"))
    if made_of.head == "zero":
        return torch.zeros(shape.classes, through), projection
    if made_of.head == "text" and texts is not None:
        return zero_shot_weights(texts.x, texts.y, shape.classes), projection
    stream = torch_stream("init", seed, layer="head")
    return linear_init(shape.classes, through, stream), projection


def shuffled(seed: int, modality: str, samples: int, rows: int) -> Shuffled:
    """The batches of one modality: the same for every method and grid point at a seed."""
    from umlbench.sweep import Shuffled

    stream = seed_for("order", seed, modality=modality, batch_size=rows)
    return Shuffled(samples, rows, stream)


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
        return self._tests.setdefault(place, _rows(features, None, scaler))


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
    return Prepared(
        job=job,
        settings=settings,
        classes=len(dataset.classes),
        train=_rows(found["train"], drawn.rows.train, scaler),
        val=_rows(found["val"], drawn.rows.val, scaler),
        test=reader.test(found["test"], settings, scaler),
        texts=texts,
        text_width=sources.text_encoder.width if settings.reads_text else None,
        text_words=_words(sources.texts.items) if settings.made_of.text else None,
        keys={f"{encoder.name}/{name}": f.key for name, f in found.items()} | keys,
        drawn=drawn.source,
        sources=sources,
        scaler=scaler,
        frozen=found["test"].x,
    )


def check_grid(job: Job) -> None:
    """`UserError` for a grid that mixes trials with and without text: they are other methods."""
    for name, value in cast(Settings, job.settings).no_text.items():
        if value in job.grid.get(name, ()):
            what = f"{name} {value} (no text) is a cell of its own, not a point of the grid"
            raise UserError(what, f"make {name} an axis, or leave {value} out of the grid")


def text_vectors(
    job: Job, sources: Sources, reader: Reader
) -> tuple[dict[int | str | None, Samples], dict[str, str]]:
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


def text_shots(job: Job) -> Sequence[int | str | None]:
    """Every value of `text_shots` that the job's grid has, or the cell's."""
    given = job.grid.get("text_shots", (cast(Settings, job.settings).text_shots,))
    return cast("Sequence[int | str | None]", given)


def _text(
    settings: Settings, seed: int, features: Features, shots: int | str | None, classes: int
) -> Samples:
    """The text vectors that a trial sees, under the target's labels."""
    from umlbench.models.head import class_averages
    from umlbench.sweep import Samples

    y = text_labels(settings, seed, features.y, classes)
    x = Scaler(features.x, settings.text_scaling, settings.centred_norm)(features.x)
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
    return _permuted(y, classes, seed) if settings.made_of.labels == "permuted" else y


def _permuted(y: Tensor, classes: int, seed: int) -> Tensor:
    """Labels under a permutation that leaves no class its own text (Sattolo's cycle)."""
    import torch

    stream = torch_stream("permutation", seed, classes=classes)
    order = list(range(classes))
    for last in range(classes - 1, 0, -1):
        other = int(torch.randint(last, (1,), generator=stream))
        order[last], order[other] = order[other], order[last]
    return torch.tensor(order)[y]


def _rows(features: Features, chosen: Sequence[int] | None, scaler: Scaler) -> Samples:
    from umlbench.sweep import Samples

    rows = slice(None) if chosen is None else list(chosen)
    return Samples(scaler(features.x[rows]), features.y[rows])
