"""Few-shot draws of a data set: the published index files where they fit, else the sampler.

The files are `indices/<dataset>/shot_{k}-seed_{s}.json` of cross-modal adaptation, or the same
inside `indices/<dataset>.tar.gz`. They name photos by path, so they are matched with the split's
ids; the sampler of `few_shot` draws the same photos in the same order from a published split.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umlbench.data.archives import Spot, first
from umlbench.data.dataset import Dataset, few
from umlbench.data.few_shot import FewShot, few_shot
from umlbench.data.samples import Samples
from umlbench.data.sets import SETS, ImageSet, default_root
from umlbench.errors import MissingInput


@dataclass(frozen=True)
class Draw:
    """Row numbers into the splits, where they come from, and what a report must say."""

    rows: FewShot
    source: str  # "published", "sampler" or "all"
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Named:
    """One row of an index file: the photo's path below the image folder, and its class."""

    photo: str
    name: str


def draw(dataset: Dataset, *, shots: int | None, seed: int, root: Path | None = None) -> Draw:
    """Training and validation rows for `shots` photos a class (None: all data, as it is).

    A published file serves when every photo it names is in the right split under the same class.
    In a copy restricted to some classes, its rows of the other classes are left out, with a notice.
    Any other file is set aside, with a notice, and the sampler draws.
    """
    labels = (dataset.split("train").labels, dataset.split("val").labels)
    sampled = few_shot(*labels, shots=shots, seed=seed)
    if shots is None:
        return Draw(sampled, "all")
    spec = SETS.get(dataset.name)
    found = first(_spots(spec, shots, seed, root or default_root())) if spec else None
    if spec is None or found is None:
        return Draw(sampled, "sampler")
    spot, body = found
    return _matched(dataset, _parse(spot, body, spec), spot) or _set_aside(dataset, spot, sampled)


def _spots(spec: ImageSet, shots: int, seed: int, root: Path) -> list[Spot]:
    file = f"{spec.name}/shot_{shots}-seed_{seed}.json"
    archive = root / "indices" / f"{spec.name}.tar.gz"
    return [Spot(root / "indices" / file), Spot(archive, file)]


def _matched(dataset: Dataset, parts: dict[str, list[_Named]], spot: Spot) -> Draw | None:
    """The published rows, None where one of them is not in the split as it says."""
    known = set(dataset.classes)
    absent = sorted({row.name for rows in parts.values() for row in rows} - known)
    kept = {part: [r for r in rows if r.name in known] for part, rows in parts.items()}
    train = _rows(dataset, dataset.split("train"), kept["train"])
    val = _rows(dataset, dataset.split("val"), kept["val"])
    if not train or val is None or {r.name for r in kept["train"]} != known:
        return None
    text = f"{_label(spot)}: rows of {len(absent)} classes left out that this copy of "
    notice = f"{text}{dataset.name} does not have: {few(absent)}"
    return Draw(FewShot(train, val), "published", (notice,) if absent else ())


def _rows(dataset: Dataset, samples: Samples, wanted: Sequence[_Named]) -> tuple[int, ...] | None:
    places = {name: row for row, name in enumerate(samples.ids)}
    found = []
    for row in wanted:
        place = places.get(row.photo)
        if place is None or dataset.classes[samples.labels[place]] != row.name:
            return None
        found.append(place)
    return tuple(found)


def _set_aside(dataset: Dataset, spot: Spot, sampled: FewShot) -> Draw:
    what = f"{_label(spot)} names other photos or classes than the split of {dataset.name}"
    return Draw(sampled, "sampler", (f"{what}; drawn by the same sampler instead",))


def _label(spot: Spot) -> str:
    """The file's name below the data root: notices go into records, which hold no paths."""
    return "indices/" + (spot.member or "/".join(spot.path.parts[-2:]))


def _parse(spot: Spot, body: bytes, spec: ImageSet) -> dict[str, list[_Named]]:
    try:
        raw = json.loads(body)
        return {part: [_named(row, spec) for row in raw[part]["data"]] for part in ("train", "val")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = "is no index file with train and val data of impath and classname"
        raise MissingInput(f"{spot} {what}", "fetch that file again, or remove it") from error


def _named(row: Any, spec: ImageSet) -> _Named:
    """`./data/<folder>/<image folder>/<id>` and its class; any folder may stand before <folder>."""
    prefix = "/".join(part for part in (spec.folder, spec.photos) if part) + "/"
    _, found, photo = f"/{row['impath']}".partition(f"/{prefix}")
    return _Named(photo if found else row["impath"], row["classname"])
