"""Photos of anybody, classified by a stored head on the frozen encoder that it was trained with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from umlbench.data import layout
from umlbench.errors import MissingInput, UserError
from umlbench.heads import Frozen, StoredHead
from umlbench.jobs import Context
from umlbench.seeds import digest

if TYPE_CHECKING:
    from umlbench.encoders import Encoder


@dataclass(frozen=True)
class Prediction:
    """The most probable class of one photo; `photo` is its path below the folder."""

    photo: str
    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Predictions:
    """The photos of a folder in sorted order; `broken` says why others could not be read."""

    head: StoredHead
    photos: tuple[Prediction, ...]
    broken: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        about = self.head.about
        named = {"id", "recipe", "cell", "seed", "metrics", "encoder"}
        return {
            "head": about.model_dump(mode="json", include=named),
            "photos": [{**vars(one)} for one in self.photos],
            "broken": dict(self.broken),
        }


def predict(head: StoredHead, folder: Path, context: Context) -> Predictions:
    """Classify every photo below `folder`; a broken one is named, and the others are classified.

    Raises `MissingInput` where there are no photos or the head's encoder is not on this machine,
    `UserError` for a head that reads no photos.
    """
    paths = _photos(folder)
    encoder = _encoder(head, context)
    context.say(f"encoding {len(paths)} photos with {encoder.name} on {context.device}")
    names = [path.relative_to(folder).as_posix() for path in paths]
    faults = dict(zip(names, _faults(paths), strict=True))
    good = [(path, name) for path, name in zip(paths, names, strict=True) if not faults[name]]
    found: list[Prediction] = []
    if good:
        rows = np.asarray(encoder.encode([path for path, _ in good]))
        labels, probabilities = head.classify(rows)
        found = [
            Prediction(name, int(label), head.classes[label], float(probability))
            for (_, name), label, probability in zip(good, labels, probabilities, strict=True)
        ]
    return Predictions(head, tuple(found), {name: what for name, what in faults.items() if what})


def _photos(folder: Path) -> list[Path]:
    found = layout.photos(folder) if folder.is_dir() else []
    if not found:
        what = "holds no photos" if folder.is_dir() else "no such folder"
        raise MissingInput(
            f"{folder}: {what}", f"photos end in {', '.join(sorted(layout.SUFFIXES))}"
        )
    return found


def _encoder(head: StoredHead, context: Context) -> Encoder:
    """The encoder that the head was trained with, by all that decides its rows."""
    frozen = _of_photos(head)
    encoder = frozen.need.find(context)
    if digest(encoder.key()) != frozen.key:
        what = (
            f"encoder '{frozen.name}' is here with other weights or another transform than "
            f"the head of {head.about} was trained with"
        )
        raise MissingInput(
            what, "put those weights in its place: the head's numbers mean nothing here"
        )
    return encoder


def _of_photos(head: StoredHead) -> Frozen:
    """The head's encoder; `UserError` where it reads no photo files."""
    frozen = head.encoder
    if frozen is None:
        what = "trained its encoder too, which is not stored in a form that reads photos"
    elif frozen.modality != "image":
        what = f"reads {frozen.modality}, no photos"
    elif frozen.need.comes_with_the_package:
        what = f"was trained on '{frozen.name}', which encodes no photo files"
    else:
        return frozen
    raise UserError(f"the head of {head.about} {what}", "name the head of another cell or recipe")


def _faults(paths: list[Path]) -> list[str]:
    """What is wrong with each photo; all are opened before any is encoded."""
    from umlbench.encoders import images

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(images.fault, paths))
