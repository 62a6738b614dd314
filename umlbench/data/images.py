"""Photos in folders: the paper's data sets in the CoOp layout, and any folder of classes.

One loader for all of them, and for sounds (`esc`): look for what must be there, read the lists,
compare them with the files on disk. Payloads are paths; decoding belongs to the encoders.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from umlbench.data import layout
from umlbench.data.dataset import Dataset, Problem, few, missing
from umlbench.data.digests import FileDigests
from umlbench.data.layout import Listing, Malformed
from umlbench.data.samples import Samples
from umlbench.data.sets import ImageSet
from umlbench.seeds import digest


@dataclass(frozen=True)
class Place:
    """A data set on this machine: where it lies, what must be there, how its lists are read."""

    name: str
    folder: Path
    photos: Path  # ids are relative to it
    required: tuple[Path, ...]
    read: Callable[[], Listing]
    origin: str
    spec: ImageSet | None = None  # None: a user's own folder, or sounds
    noun: str = "photo"
    fault: Callable[[Path], str] | None = None  # why a file cannot be decoded; None: as a photo

    def problem(self, path: Path, what: str, get: str = "") -> Problem:
        """A problem of this set."""
        return Problem(self.name, str(path), what, get)


def published(spec: ImageSet, root: Path) -> Place:
    """One of the paper's sets below the data root."""
    folder, photos = root / spec.folder, spec.images(root)
    files = tuple(folder / name for name in spec.files)
    get = f"get {spec.origin}"
    return Place(spec.name, folder, photos, (*files, photos), _reader(spec, root), get, spec)


def own_folder(path: Path) -> Place:
    """Anybody's folder with train/, test/ and perhaps val/, each with one folder a class."""
    folder = path.expanduser()
    required = (folder / "train", folder / "test")
    hint = "a data set of your own has train/, test/ and perhaps val/, each with a folder a class"
    name = f"folder:{folder.resolve().name}"
    return Place(name, folder, folder, required, lambda: layout.image_folder(folder), hint)


def load(place: Place, cache: Path) -> Dataset:
    """The data set, its photos present; `MissingInput` lists everything that is wrong."""
    listing, found = _survey(place)
    if listing is None or found:
        raise missing(found)
    digests = FileDigests(place.photos, cache)
    splits = {
        split: Samples(
            tuple(photo for photo, _ in rows),
            np.fromiter((label for _, label in rows), dtype=np.int64, count=len(rows)),
            [place.photos / photo for photo, _ in rows],
            digests,
        )
        for split, rows in listing.splits.items()
    }
    notices = (*listing.notices, *_differences(place, listing))
    return Dataset(place.name, listing.classes, splits, notices)


def classes(place: Place) -> tuple[str, ...]:
    """Class names by label, from the lists alone; `MissingInput` where those are not there."""
    names_file = place.folder / "classnames.txt"
    lists = [path for path in place.required if path != place.photos]
    if names_file in lists:
        lists = [names_file]  # ImageNet: a name file of 30 kB spares a split file of 100 MB
    found = _lacking(place, lists)
    if found:
        raise missing(found)
    try:
        if names_file in lists:
            return tuple(layout.imagenet_names(names_file).values())
        return _read(place).classes
    except Malformed as error:
        raise missing([_malformed(place, error)]) from error


def problems(place: Place, *, decode: bool = False) -> list[Problem]:
    """Everything that keeps this set from being used; `decode` also opens every photo."""
    listing, found = _survey(place)
    if listing is not None and decode:
        found += _undecodable(place, listing)
    return found


def _reader(spec: ImageSet, root: Path) -> Callable[[], Listing]:
    folder, photos = root / spec.folder, spec.images(root)
    if spec.layout == "aircraft_lists":
        return lambda: layout.aircraft_lists(folder)
    if spec.layout == "class_folders":
        return lambda: layout.imagenet_variant(photos, folder / spec.files[0])
    split, *names = [folder / name for name in spec.files]
    return lambda: layout.split_json(split, names[0] if names else None)


def _survey(place: Place) -> tuple[Listing | None, list[Problem]]:
    """What the lists say, where they can be read, and everything that is wrong."""
    found = _lacking(place, place.required)
    if found:
        return None, found
    try:
        listing = _read(place)
    except Malformed as error:
        return None, [_malformed(place, error)]
    photos = (photo for rows in listing.splits.values() for photo, _ in rows)
    faults = [place.problem(place.required[0], what) for what in listing.faults]
    return listing, faults + list(_absent(place, photos))


def _read(place: Place) -> Listing:
    """The lists; a file that the disk does not give counts as malformed."""
    try:
        return place.read()
    except OSError as error:
        path = Path(error.filename or place.folder)
        raise Malformed(path, f"cannot be read: {error.strerror or error}") from error


def _lacking(place: Place, required: Iterable[Path]) -> list[Problem]:
    """Files and folders that are not there; of a set that is not there at all, its folder only."""
    if not place.folder.is_dir():
        return [place.problem(place.folder, "no such folder", place.origin)]
    absent = [path for path in required if not path.exists()]
    return [
        place.problem(path, f"no such {'file' if path.suffix else 'folder'}", place.origin)
        for path in absent
    ]


def _malformed(place: Place, error: Malformed) -> Problem:
    return place.problem(error.path, error.what, place.origin if error.path.suffix else "")


def _absent(place: Place, photos: Iterable[str]) -> Iterator[Problem]:
    """A line for each missing class folder, and one for all other missing photos."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        by_folder[photo.rpartition("/")[0]].append(photo)
    lost, total = [], 0
    for folder, members in by_folder.items():
        total += len(members)
        present = _names(place.photos / folder)
        if present is None:
            what = f"no such folder, and the split names {len(members)} {place.noun}s in it"
            yield place.problem(place.photos / folder, what)
        else:
            lost += [photo for photo in members if photo.rpartition("/")[2] not in present]
    if lost:
        listed = f"{len(lost)} of {total} {place.noun}s of the split"
        what = f"{listed} are not there: {few(sorted(lost))}"
        yield place.problem(place.photos, what)


def _names(folder: Path) -> set[str] | None:
    """One look at a folder instead of one at each photo: ImageNet has 1.3 million."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return None


def _undecodable(place: Place, listing: Listing) -> list[Problem]:
    """Files that cannot be decoded or end too early, one line each."""
    ids = [photo for rows in listing.splits.values() for photo, _ in rows]
    paths = [place.photos / photo for photo in ids if (place.photos / photo).exists()]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        faults = list(pool.map(place.fault or _fault, paths))
    return [
        place.problem(path, fault, f"fetch that {place.noun} again")
        for path, fault in zip(paths, faults, strict=True)
        if fault
    ]


def _fault(path: Path) -> str:
    """That PIL cannot read a photo, and why; empty where it can."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large photos and odd EXIF are not this check's business
        try:
            with Image.open(path) as image:
                image.verify()
            with Image.open(path) as image:
                image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            reason = str(error).replace(str(path), path.name) or type(error).__name__
            return f"not a whole image: {reason}"
    return ""


def _differences(place: Place, listing: Listing) -> list[str]:
    """How the lists differ from the published ones: counts first, then rows and their order."""
    if place.spec is None:
        return []
    labels = {label for rows in listing.splits.values() for _, label in rows}
    ours = {"classes": len(labels), **{k: len(rows) for k, rows in listing.splits.items()}}
    expected = place.spec.expected()
    other = [f"{ours[k]} {k} (not {n})" for k, n in expected.items() if ours[k] != n]
    if other:
        source = "the published set" if place.spec.sizes else "Table 3 of the paper"
        return [f"{place.name} differs from {source}: {', '.join(other)}"]
    pinned = place.spec.rows_digest
    if pinned and _rows_digest(listing) != pinned:
        names = ", ".join(place.spec.files)
        return [f"{place.name}: {names} has the published counts, but other rows or another order"]
    return []


def _rows_digest(listing: Listing) -> str:
    return digest([listing.classes, dict(listing.splits)])
