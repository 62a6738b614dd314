"""Linear probes on frozen features, alone or with unpaired text (sections 3.2 and B.4.2).

`unimodal` trains one bias-free head on the target's features. `uml` shares that head with text:
the target is projected into the text's width, and each step sums one batch of each modality. In
`uml_init` the head starts at the classes' mean text vectors. All grid points of a job, and all
jobs of a batch, are trained in one sweep.

Methods that are compared share their few-shot draw, their batch orders and, where shapes agree,
their initial weights at one seed; every grid point starts from the same streams, where the released
code seeds once for the whole grid.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, field_validator, model_validator

from umlbench import data, encoders, selection
from umlbench.data.few_shot import few_shot, text_rows
from umlbench.errors import nearest
from umlbench.features import FeatureStore
from umlbench.jobs import Context, Job, Outcome
from umlbench.protocols import Metric
from umlbench.schema import Closed, Scalar
from umlbench.seeds import digest, seed_for, torch_stream

if TYPE_CHECKING:
    from torch import Tensor

    from umlbench.data.samples import Samples as Sentences
    from umlbench.encoders import Encoder
    from umlbench.sweep import Samples, Schedule, Stream, Trial, TrialResult

VERSION = 1
DTYPE = "float32"
WHOLE_BATCHES = False  # a trial computes the same bits in any stack (umlbench.sweep)

METRICS: dict[str, Metric] = {
    "accuracy": Metric("Test accuracy", "percent", higher_is_better=True),
    "val_accuracy": Metric("Validation accuracy", "percent", higher_is_better=True),
}

TEXT_ONLY = ("text_type", "text_encoder", "text_shots", "alpha")  # without effect on unimodal


class Settings(Closed):
    """One cell; the grid of Table 5 usually varies the fields from `learning_rate` on.

    `shots` is the number of training images a class (null: the full training set); `text_shots` of
    sentences a class (null: all; "average": one mean vector). `scale` is the logit scale at the
    start, trained per modality where `learnable_scale` is set.
    """

    dataset: str
    encoder: str
    method: Literal["unimodal", "uml", "uml_init"]
    shots: int | None = Field(default=None, ge=1)
    text_type: str = "descriptions"
    text_encoder: str = "tfidf"
    text_shots: int | Literal["average"] | None = None
    alpha: float = Field(default=1.0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=32, ge=1)
    learnable_scale: bool = False
    scale: float = Field(default=1.0, gt=0)
    max_iterations: int = Field(default=12800, ge=1)
    warmup_iterations: int = Field(default=50, ge=0)
    warmup_min_lr: float = Field(default=1e-5, gt=0)
    eval_every: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)

    @property
    def with_text(self) -> bool:
        """Whether text takes part."""
        return self.method != "unimodal"

    def identity(self) -> dict[str, Any]:
        """All fields, but for `unimodal` none of those that only text reads."""
        return self.model_dump(mode="json", exclude=None if self.with_text else set(TEXT_ONLY))

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, name: str) -> str:
        return _known("dataset", name, data.NAMES)

    @field_validator("encoder", "text_encoder")
    @classmethod
    def _known_encoder(cls, name: str) -> str:
        return _known("encoder", name, encoders.NAMES)

    @model_validator(mode="after")
    def _warmup_ends(self) -> Settings:
        if self.warmup_iterations >= self.max_iterations:
            raise ValueError(
                f"warmup_iterations ({self.warmup_iterations}) is not below max_iterations "
                f"({self.max_iterations})"
            )
        return self


def _known(kind: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise ValueError(f"unknown {kind} '{name}'{nearest(name, names)}")
    return name


def inputs(settings: Closed) -> dict[str, str]:
    """Fingerprints of the data set, the encoder and, where text takes part, of both for text."""
    cell = cast(Settings, settings)
    found = {cell.dataset: _dataset_fingerprint(cell.dataset), cell.encoder: _key(cell.encoder)}
    if cell.with_text:
        found[f"{cell.dataset}/{cell.text_type}"] = _texts(cell.dataset, cell.text_type).fingerprint
        found[cell.text_encoder] = _key(cell.text_encoder, cell.dataset, cell.text_type)
    return found


def batch(job: Job) -> str:
    """Jobs on the same features at one number of shots are trained together, all seeds at once."""
    settings = cast(Settings, job.settings)
    return digest([settings.dataset, settings.encoder, settings.method, settings.shots])


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Encode what is missing, train every grid point of every job, select."""
    from umlbench.sweep import train

    started = time.perf_counter()
    store = FeatureStore(context.cache)
    prepared = [_Prepared.of(job, store, context) for job in jobs]
    extracted = time.perf_counter()
    trials = [trial for one in prepared for trial in one.trials()]
    results = iter(train(trials, _schedule(prepared[0].settings), device=context.device))
    seconds = {
        "features": (extracted - started) / len(jobs),
        "train": (time.perf_counter() - extracted) / len(jobs),
    }
    for one in prepared:
        mine = [next(results) for _ in one.job.trials()]
        yield one.job, _outcome(one, mine, seconds)


@dataclass(frozen=True)
class _Prepared:
    """A job with the features it trains on."""

    job: Job
    settings: Settings
    classes: int
    train: Samples
    val: Samples
    test: Samples
    texts: Samples | None
    keys: Mapping[str, str]

    @classmethod
    def of(cls, job: Job, store: FeatureStore, context: Context) -> _Prepared:
        settings = cast(Settings, job.settings)
        dataset = data.load(settings.dataset)
        encoder = _encoder(settings.encoder, device=context.device)
        found = {
            name: store.get(encoder, samples, dataset=dataset.name, split=name)
            for name, samples in dataset.splits.items()
        }
        keys = {f"{encoder.name}/{name}": features.key for name, features in found.items()}
        drawn = few_shot(found["train"].y, found["val"].y, shots=settings.shots, seed=job.seed)
        texts = None
        if settings.with_text:
            texts, keys[f"{settings.text_encoder}/text"] = _text(settings, job.seed, store, context)
        return cls(
            job=job,
            settings=settings,
            classes=len(dataset.classes),
            train=_rows(found["train"].x, found["train"].y, drawn.train),
            val=_rows(found["val"].x, found["val"].y, drawn.val),
            test=_rows(found["test"].x, found["test"].y, None),
            texts=texts,
            keys=keys,
        )

    def trials(self) -> list[Trial]:
        """One per grid point."""
        return [self._trial(self.settings.model_copy(update=p)) for p in self.job.trials()]

    def _trial(self, point: Settings) -> Trial:
        from umlbench.sweep import Trial

        head, projection = self._start()
        auxiliary = () if self.texts is None else (self._stream(self.texts, "text", point),)
        return Trial(
            target=self._stream(self.train, "target", point),
            auxiliary=auxiliary,
            val=self.val,
            test=self.test,
            head=head,
            projection=projection,
            learning_rate=point.learning_rate,
            weight_decay=point.weight_decay,
            learnable_scale=point.learnable_scale,
            scale=point.scale,
        )

    def _stream(self, samples: Samples, modality: str, point: Settings) -> Stream:
        from umlbench.sweep import Shuffled, Stream

        seed = seed_for("order", self.job.seed, modality=modality, batch_size=point.batch_size)
        order = Shuffled(len(samples), point.batch_size, seed)
        return Stream(samples, order, 1.0 if modality == "target" else point.alpha)

    def _start(self) -> tuple[Tensor, Tensor | None]:
        """Initial head and projection; the head of `uml_init` is the mean text of each class."""
        from umlbench.models.head import linear_init, zero_shot_weights

        width = self.train.x.shape[1]
        stream = torch_stream("init", self.job.seed, layer="head")
        if self.texts is None:
            return linear_init(self.classes, width, stream), None
        text_width = self.texts.x.shape[1]
        head = linear_init(self.classes, text_width, stream)
        if self.settings.method == "uml_init":
            head = zero_shot_weights(self.texts.x, self.texts.y, self.classes)
        stream = torch_stream("init", self.job.seed, layer="projection")
        return head, linear_init(text_width, width, stream)


def _text(
    settings: Settings, seed: int, store: FeatureStore, context: Context
) -> tuple[Samples, str]:
    """The text vectors that a job sees, and their features' key."""
    from umlbench.models.head import class_averages
    from umlbench.sweep import Samples

    corpus = _texts(settings.dataset, settings.text_type)
    encoder = _encoder(
        settings.text_encoder, settings.dataset, settings.text_type, device=context.device
    )
    found = store.get(encoder, corpus, dataset=settings.dataset, split=settings.text_type)
    if settings.text_shots == "average":
        classes = int(found.y.max()) + 1
        return Samples(*class_averages(found.x, found.y, classes)), found.key
    return _rows(
        found.x, found.y, text_rows(found.y, shots=settings.text_shots, seed=seed)
    ), found.key


def _rows(x: Tensor, y: Tensor, chosen: Sequence[int] | None) -> Samples:
    from umlbench.sweep import Samples

    return Samples(x, y) if chosen is None else Samples(x[list(chosen)], y[list(chosen)])


def _schedule(settings: Settings) -> Schedule:
    from umlbench.sweep import Schedule

    return Schedule(
        max_iterations=settings.max_iterations,
        warmup_iterations=settings.warmup_iterations,
        warmup_min_lr=settings.warmup_min_lr,
        eval_every=settings.eval_every,
        patience=settings.patience,
    )


def _outcome(one: _Prepared, results: list[TrialResult], seconds: dict[str, float]) -> Outcome:
    val = [100 * result.best_val_accuracy for result in results]
    test = [100 * result.test_accuracy for result in results]
    chosen = selection.RULES[one.job.selection or "val_accuracy"](val, test)
    point: Mapping[str, Scalar] = one.job.trials()[chosen.index]
    return Outcome(
        metrics={"accuracy": test[chosen.index], "val_accuracy": val[chosen.index]},
        selection={
            **point,
            "trial": chosen.index,
            "best_iteration": results[chosen.index].best_iteration,
            "ties": chosen.ties,
            "tied_spread": chosen.tied_spread,
        },
        trials={
            "val_accuracy": val,
            "test_accuracy": test,
            "iterations": [result.iterations for result in results],
        },
        features=one.keys,
        seconds=seconds,
    )


# Planning asks for the same fingerprints for every cell.


@cache
def _dataset_fingerprint(name: str) -> str:
    dataset = data.load(name)
    return digest({split: samples.fingerprint for split, samples in dataset.splits.items()})


@cache
def _texts(dataset: str, corpus: str) -> Sentences:
    return data.texts(dataset, corpus)


@cache
def _encoder(name: str, dataset: str = "", corpus: str = "", device: str = "cpu") -> Encoder:
    """The encoder; fitted on a corpus where one is named."""
    return encoders.load(name, device=device, corpus=_texts(dataset, corpus) if corpus else None)


def _key(name: str, dataset: str = "", corpus: str = "") -> str:
    return digest(_encoder(name, dataset, corpus).key())
