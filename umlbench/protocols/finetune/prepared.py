"""A job with what it trains on: photos, text, and a training for each of its grid points."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from umlbench.data import draw
from umlbench.data.few_shot import text_rows
from umlbench.encoders.text import Transformer
from umlbench.encoders.vision import Vision
from umlbench.errors import UserError
from umlbench.jobs import Context, Job
from umlbench.models.head import SharedHead
from umlbench.protocols.finetune.feeds import Feed, Photos, Prompts, Vectors, photos
from umlbench.protocols.finetune.learner import Learner, Unit, text_tower
from umlbench.protocols.finetune.ranks import ALONE, Ranks
from umlbench.protocols.finetune.settings import Settings
from umlbench.protocols.finetune.training import Stream, Training, Tuning
from umlbench.protocols.linear_probe.modalities import TARGET, first_head, projection, shuffled
from umlbench.protocols.linear_probe.prepared import (
    Reader,
    check_grid,
    head_width,
    text_labels,
    text_shots,
    text_vectors,
)
from umlbench.protocols.linear_probe.sources import Sources
from umlbench.schema import Scalar
from umlbench.sweep import Samples

if TYPE_CHECKING:
    from umlbench.data.samples import Samples as Data

Texts = dict[int | str | None, Samples]  # by the value of `text_shots`


@dataclass(frozen=True)
class Prepared:
    """One job's feeds: `vectors` of frozen text, `prompts` of text that learns."""

    job: Job
    sources: Sources
    train: Feed
    val: Feed
    test: Feed
    vectors: Texts
    prompts: Mapping[int | str | None, Feed]
    keys: Mapping[str, str]
    drawn: str  # where the few-shot rows come from
    seconds: Mapping[str, float]

    def training(self, at: Mapping[str, Scalar], ranks: Ranks = ALONE) -> Training:
        """The training of one grid point, from the pretrained weights on."""
        point = cast(Settings, self.job.settings.model_copy(update=at))
        seed = self.job.seed
        learner = self._learner(point)
        streams = [Stream(self.train, shuffled(seed, TARGET, len(self.train), point.batch_size))]
        if point.made_of.text:
            text = self._text(point)
            order = shuffled(seed, "text", len(text), point.text_batch)
            streams.append(Stream(text, order, point.alpha))
        tuning = Tuning(
            point.learning_rate,
            point.weight_decay,
            apart_rate=point.text_learning_rate,
            precision=point.precision,
            micro_batch=point.micro_batch,
            seed=seed,
        )
        return Training(learner, streams, self.val, self.test, tuning, point.schedule, ranks=ranks)

    def _text(self, point: Settings) -> Feed:
        if point.text_learns:
            return self.prompts[point.text_shots]
        return Vectors(self.vectors[point.text_shots], self.sources.context.device)

    def _learner(self, point: Settings) -> Learner:
        """The towers with their pretrained weights, and the head where its method starts it."""
        device, vectors = self.sources.context.device, self.vectors.get(point.text_shots)
        encoder = cast(Vision, self.sources.encoder)
        text_width = self.sources.text_encoder.width if point.reads_text else None
        classes, width = (
            len(self.sources.dataset.classes),
            head_width(point, encoder.width, text_width),
        )
        head = first_head(point.starts_from, self.job.seed, (classes, width), vectors)
        way = projection(TARGET, self.job.seed, width, encoder.width)
        towers: list[nn.Module] = [encoder.trainable()]
        if point.scaling == "unit":
            towers = [Unit(towers[0])]
        if point.text_learns:
            towers.append(text_tower(transformer(self.sources), point, self.job.seed))
        elif point.made_of.text:
            towers.append(nn.Identity())
        projections = [way, *(None for _ in towers[1:])]
        shared = SharedHead(head, projections, [point.scale] * len(towers), point.learnable_scale)
        learner = Learner(towers, shared.to(device), point.mode)
        if point.compiled:
            learner.compile_backbone()
        return learner


def transformer(sources: Sources) -> Transformer:
    """The text encoder of text that learns; `UserError` for one of another library."""
    encoder = sources.text_encoder
    if not isinstance(encoder, Transformer):
        what = f"text_training unfrozen: '{encoder.name}' is no model of transformers"
        raise UserError(what, "name one, or keep text_training: frozen")
    return encoder


def prepare(job: Job, context: Context) -> Prepared:
    """Draw a job's rows, decode its photos, read its text (and encode it, where missing)."""
    check_grid(job)
    settings, started = cast(Settings, job.settings), time.perf_counter()
    sources = Sources(settings, context)
    dataset = sources.dataset
    vectors, keys = Texts(), dict[str, str]()
    if settings.reads_vectors:
        vectors, keys = text_vectors(job, sources, Reader(context))
    prompts = _prompts(job, sources) if settings.text_learns else {}
    read = time.perf_counter()
    rows = draw(dataset, shots=settings.shots, seed=job.seed, root=context.data)
    splits = {"train": rows.rows.train, "val": rows.rows.val, "test": None}
    feeds = {n: _photos(sources, dataset.split(n), chosen) for n, chosen in splits.items()}
    return Prepared(
        job=job,
        sources=sources,
        train=feeds["train"],
        val=feeds["val"],
        test=feeds["test"],
        vectors=vectors,
        prompts=prompts,
        keys=keys,
        drawn=rows.source,
        seconds={"features": read - started, "decode": time.perf_counter() - read},
    )


def _photos(sources: Sources, samples: Data, chosen: Sequence[int] | None) -> Photos:
    """Some photos of a split (None: all) as the encoder's transform crops them."""
    encoder = sources.encoder
    if not isinstance(encoder, Vision):
        what = f"encoder '{encoder.name}' has no weights to train"
        raise UserError(what, "name a model of timm or open_clip")
    rows = list(range(len(samples)) if chosen is None else chosen)
    items = [samples.items[row] for row in rows]
    y = torch.from_numpy(samples.labels[rows])
    return photos(items, y, encoder.halves, sources.context.device)


def _prompts(job: Job, sources: Sources) -> dict[int | str | None, Feed]:
    """The sentences for every `text_shots` of the job, under the target's labels."""
    settings, corpus, encoder = sources.settings, sources.texts, transformer(sources)
    labels = torch.from_numpy(corpus.labels.copy())
    y = text_labels(settings, job.seed, labels, len(sources.dataset.classes))
    tokens = encoder.token_ids(corpus.items)

    def feed(rows: Sequence[int]) -> Feed:
        chosen: Tensor = y[list(rows)]
        return Prompts([tokens[r] for r in rows], chosen, encoder.padded, sources.context.device)

    return {
        shots: feed(text_rows(y, shots=cast("int | None", shots), seed=job.seed))
        for shots in text_shots(job)
    }
