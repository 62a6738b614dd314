"""A job with the features it trains on, of every modality that takes part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from umlbench.errors import UserError
from umlbench.jobs import Job
from umlbench.models.scaling import Scaler
from umlbench.protocols.imagenet_esc.settings import MODALITIES, Settings
from umlbench.protocols.imagenet_esc.sources import DIVISIONS, Sources
from umlbench.protocols.linear_probe.modalities import Auxiliary, Modalities
from umlbench.protocols.linear_probe.prepared import (
    Reader,
    chosen_rows,
    permuted,
    text_samples,
    text_shots,
)

if TYPE_CHECKING:
    from torch import Tensor

    from umlbench.data.imagenet_esc import Part
    from umlbench.features import Features
    from umlbench.sweep import Samples


@dataclass(frozen=True)
class Prepared(Modalities):
    """One job's samples; `notices` are for who reads its record."""

    division: int
    notices: tuple[str, ...]


def division_of(seed: int) -> int:
    """Which of the five divisions of the data a seed stands for: 1 to 5, then over again."""
    return (seed - 1) % DIVISIONS


def prepare(job: Job, reader: Reader) -> Prepared:
    """Read (and encode, where missing) a job's features, and choose its division's rows."""
    check_grid(job)
    settings, number = cast(Settings, job.settings), division_of(job.seed)
    sources = Sources(settings, reader.context)
    rows, division = _Rows(sources, reader), sources.division(number)
    target, reference = settings.target, division.train.split
    train, val, test = (
        rows.of(target, parts, reference)
        for parts in ([division.train], [division.val], division.test)
    )
    auxiliaries = tuple(_auxiliary(job, name, rows) for name in settings.auxiliaries)
    return Prepared(
        job=job,
        classes=sources.classes,
        width=_width(settings, train, auxiliaries),
        train=train,
        val=val,
        test=test,
        auxiliaries=auxiliaries,
        keys=rows.keys,
        drawn=division.source,
        division=number + 1,
        notices=tuple(sources.notices(number)),
    )


def check_grid(job: Job) -> None:
    """`UserError` for a grid that takes a modality away: without it, a cell is another one."""
    for modality in MODALITIES:
        if 0 in job.grid.get(f"{modality}_alpha", ()):
            what = f"{modality}_alpha 0 (no {modality}) is a cell of its own, not a point of a grid"
            raise UserError(what, f"leave {modality} out of modalities, or 0 out of the grid")


class _Rows:
    """Scaled rows of the modalities, and the keys of the features they are from."""

    def __init__(self, sources: Sources, reader: Reader) -> None:
        self.sources, self.reader = sources, reader
        self.keys: dict[str, str] = {}

    def of(self, modality: str, parts: Sequence[Part], reference: str) -> Samples:
        """The chosen rows, one part after the other; centred, if they are, on a whole split."""
        import torch

        from umlbench.sweep import Samples

        scaler = self._scaler(modality, self._features(modality, reference))
        chosen = [
            chosen_rows(self._features(modality, part.split), self._places(modality, part), scaler)
            for part in parts
        ]
        labels = [label for part in parts for label in part.labels]
        return Samples(torch.cat([one.x for one in chosen]), torch.tensor(labels))

    def texts(self) -> tuple[Tensor, Tensor]:
        """The vectors (N, T) and labels (N,) of all sentences."""
        features = self._features("text", self.sources.settings.text_type)
        return self._scaler("text", features)(features.x), features.y

    def _places(self, modality: str, part: Part) -> list[int]:
        """Where the rows of a part stand among those that are encoded."""
        dataset, (_, encoded) = self.sources.dataset(modality), self.sources.encoded(modality)
        place = {name: row for row, name in enumerate(encoded[part.split].ids)}
        ids = dataset.split(part.split).ids
        return [place[ids[row]] for row in part.rows]

    def _features(self, modality: str, split: str) -> Features:
        dataset, encoded = self.sources.encoded(modality)
        encoder = self.sources.encoder(modality)
        found = self.reader.features(encoder, encoded[split], dataset, split)
        self.keys[f"{encoder.name}/{'text' if modality == 'text' else split}"] = found.key
        return found

    def _scaler(self, modality: str, reference: Features) -> Scaler:
        settings = self.sources.settings
        return Scaler(reference.x, settings.scaling(modality), settings.centred_norm)


def _auxiliary(job: Job, modality: str, rows: _Rows) -> Auxiliary:
    """What helps a job's target, under its labels or, as a control, under permuted ones."""
    from umlbench.sweep import Samples

    settings, classes = cast(Settings, job.settings), rows.sources.classes

    def labels(y: Tensor) -> Tensor:
        own = settings.made_of.labels == "true"
        return y if own else permuted(y, classes, job.seed)

    if modality == "text":
        x, y = rows.texts()
        by_shots = {
            shots: text_samples(x, labels(y), shots, job.seed, classes) for shots in text_shots(job)
        }
        return Auxiliary(modality, by_shots, "text_shots")
    part = rows.sources.helping(modality, division_of(job.seed)).part
    found = rows.of(modality, [part], part.split)
    return Auxiliary(modality, {None: Samples(found.x, labels(found.y))}, unit=True)


def _width(settings: Settings, train: Samples, auxiliaries: Sequence[Auxiliary]) -> int:
    """Columns of the head, by `Settings.space`; the target's own where nothing helps."""
    widths = [one.width for one in auxiliaries]
    if settings.space == "widest" or not widths:
        return max([train.x.shape[1], *widths])
    return widths[0]
