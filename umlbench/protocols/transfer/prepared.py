"""A job with what it trains on: photos, and a training for each of its grid points."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch

from umlbench.data import draw
from umlbench.encoders import images
from umlbench.errors import UserError
from umlbench.jobs import Context, Job
from umlbench.models.head import SharedHead, linear_init
from umlbench.models.vision_from_text import Shape, Stack, VisionFromText
from umlbench.protocols.finetune.crops import RandomCrop
from umlbench.protocols.finetune.feeds import Feed, Photos, photos
from umlbench.protocols.finetune.learner import Learner
from umlbench.protocols.finetune.ranks import ALONE, Ranks
from umlbench.protocols.finetune.training import Stream, Training, Tuning
from umlbench.protocols.linear_probe.modalities import shuffled
from umlbench.protocols.transfer.settings import Settings
from umlbench.protocols.transfer.sources import Sources
from umlbench.schema import Scalar
from umlbench.seeds import seed_for, torch_stream

if TYPE_CHECKING:
    from umlbench.data.samples import Samples

OF_A_CELL = ("dataset", "shots", "text_encoder", "initialisation", "image_size", "augmentation")
MARGIN = 256 / 224  # the side of what is cropped at random, to that of the crop


@dataclass(frozen=True)
class Prepared:
    """One job's photos."""

    job: Job
    sources: Sources
    train: Feed
    val: Feed
    test: Feed
    drawn: str  # where the few-shot rows come from
    seconds: Mapping[str, float]
    keys: Mapping[str, str] = field(default_factory=dict)  # no features are read

    def training(self, at: Mapping[str, Scalar], ranks: Ranks = ALONE) -> Training:
        """The training of one grid point, from its starting weights on."""
        point = cast(Settings, self.job.settings.model_copy(update=at))
        order = shuffled(self.job.seed, "target", len(self.train), point.batch_size)
        tuning = Tuning(
            point.learning_rate,
            point.weight_decay,
            apart_rate=point.stack_learning_rate,
            apart_from=point.frozen_iterations,
            precision=point.precision,
            micro_batch=point.micro_batch,
            seed=self.job.seed,
        )
        learner = self.learner(point)
        streams = [Stream(self.train, order)]
        return Training(learner, streams, self.val, self.test, tuning, point.schedule, ranks=ranks)

    def learner(self, point: Settings) -> Learner:
        """The network at its start; all but the stack is the same for both initialisations."""
        stream = torch_stream("init", self.job.seed, layer="vision")
        device, width = self.sources.context.device, self.sources.encoder.width
        shape = Shape(point.image_size, point.patch_size, width, point.head_width or width)
        tower = VisionFromText(self._stack(point), shape, stream).to(device)
        classes = len(self.sources.dataset.classes)
        last = linear_init(classes, shape.head, stream)
        head = SharedHead(last, [None], [1.0], learnable=False).to(device)
        learner = Learner([tower], head, "corrected", apart=[tower.stack])
        if point.compiled:
            learner.compile_backbone()
        return learner

    def _stack(self, point: Settings) -> Stack:
        encoder = self.sources.encoder
        if point.initialisation == "text":
            model = encoder.trainable("float32")
        else:
            model = encoder.untrained(seed_for("init", self.job.seed, layer="stack"))
        stack = Stack(model, dropout=point.dropout, embedding_norm=point.embedding_norm)
        return stack.requires_grad_(point.stack_learns)


def prepare(job: Job, context: Context) -> Prepared:
    """Draw a job's rows and decode its photos; `UserError` for a grid that varies what is read."""
    for name in OF_A_CELL:
        if name in job.grid:
            raise UserError(f"{name} is not a point of the grid", f"make {name} an axis")
    settings, started = cast(Settings, job.settings), time.perf_counter()
    sources = Sources(settings, context)
    dataset = sources.dataset
    rows = draw(dataset, shots=settings.shots, seed=job.seed, root=context.data)
    crop = None
    if settings.augmentation == "random_resized_crop":
        crop = RandomCrop(settings.image_size, job.seed)
    return Prepared(
        job=job,
        sources=sources,
        train=_photos(sources, dataset.split("train"), rows.rows.train, crop),
        val=_photos(sources, dataset.split("val"), rows.rows.val),
        test=_photos(sources, dataset.split("test")),
        drawn=rows.source,
        seconds={"decode": time.perf_counter() - started},
    )


def _photos(
    sources: Sources,
    samples: Samples,
    chosen: Sequence[int] | None = None,
    crop: RandomCrop | None = None,
) -> Photos:
    """Some photos of a split (None: all), a little larger where they are cropped at random."""
    size = sources.settings.image_size
    side = round(size * MARGIN) if crop else size
    rows = list(range(len(samples)) if chosen is None else chosen)
    y = torch.from_numpy(samples.labels[rows])
    halves = images.halves(images.clip_transform(side))
    items = [samples.items[row] for row in rows]
    return photos(items, y, halves, sources.context.device, side, crop)
