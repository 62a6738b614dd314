"""Reading the lists of a data set: CoOp's split JSON, aircraft lists, folders, tables of folds.

A list that cannot be read as it should raises `Malformed` with one line; photos are not opened.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from umlbench.data.dataset import few
from umlbench.seeds import numpy_stream

Row = tuple[str, int]  # a photo's path below the image folder, and its label

SPLITS = ("train", "val", "test")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
)  # those of torchvision's ImageFolder
VAL_SHARE = 0.2  # of each class, as where CoOp carves a validation split out of a training split


class Malformed(Exception):
    """A list is not what its format says: the file, and what is wrong with it."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


@dataclass(frozen=True)
class Listing:
    """What the lists of a data set say; `faults` keep it from being used, a line each."""

    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Row]]
    notices: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def split_json(path: Path, names_file: Path | None = None) -> Listing:
    """CoOp's `{"train": [[path, label, class name], ...], "val": ..., "test": ...}`.

    `names_file` (ImageNet's classnames.txt), where given, has the last word on class names.
    """
    raw = _json(path)
    if not isinstance(raw, dict) or not all(isinstance(raw.get(name), list) for name in SPLITS):
        raise Malformed(path, "has no lists 'train', 'val' and 'test'")
    names: dict[int, str] = {}
    splits: dict[str, list[Row]] = {}
    for split in SPLITS:
        rows = [_row(path, split, number, entry) for number, entry in enumerate(raw[split])]
        for _, label, name in rows:
            if names.setdefault(label, name) != name:
                raise Malformed(path, f"label {label} is both '{names[label]}' and '{name}'")
        splits[split] = [(photo, label) for photo, label, _ in rows]
    classes = _contiguous(path, names)
    _once(path, splits)
    if names_file is None:
        return Listing(classes, splits)
    return _renamed(classes, splits, names_file)


def aircraft_lists(folder: Path) -> Listing:
    """FGVC's `variants.txt` (labels in its order) and `images_variant_{train,val,test}.txt`."""
    classes = tuple(_lines(folder / "variants.txt"))
    labels = {name: label for label, name in enumerate(classes)}
    splits: dict[str, list[Row]] = {}
    for split in SPLITS:
        path = folder / f"images_variant_{split}.txt"
        splits[split] = []
        for line in _lines(path):
            photo, _, variant = line.partition(" ")
            if variant not in labels:
                raise Malformed(path, f"'{line}' names no variant of variants.txt")
            splits[split].append((f"{photo}.jpg", labels[variant]))
    _once(folder, splits)
    return Listing(classes, splits)


def imagenet_variant(photos: Path, names_file: Path) -> Listing:
    """One folder a class, named by wnid or by ImageNet index; labels are ImageNet's indices.

    Sets with fewer classes keep ImageNet's labels too, so that the head trained on ImageNet serves:
    the labels that occur are the rows of the head to compare.
    """
    named = imagenet_names(names_file)
    by_folder = {key: label for label, wnid in enumerate(named) for key in (wnid, str(label))}
    rows: list[Row] = []
    for folder in _folders(photos):
        if folder.name not in by_folder:
            raise Malformed(photos / folder.name, f"is no class of {names_file.name}")
        rows += _photos(photos, folder, by_folder[folder.name])
    if not rows:
        raise Malformed(photos, "holds no class folder with photos")
    return Listing(tuple(named.values()), {"test": rows})


def imagenet_names(path: Path) -> dict[str, str]:
    """`classnames.txt`: one `wnid name` a line, in ImageNet's index order."""
    found: dict[str, str] = {}
    for line in _lines(path):
        wnid, _, name = line.partition(" ")
        if not name or wnid in found:
            raise Malformed(path, f"'{line}' is not one wnid with a name")
        found[wnid] = name
    return found


def fold_table(path: Path) -> Listing:
    """ESC-50's table: a CSV file with the columns filename, fold, target and category.

    The splits are `fold1`, `fold2` ... with rows in the table's order; a label is the rank of its
    target among those that occur.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [_table_row(row) for row in csv.DictReader(file)]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        what = f"is no table of filename, fold, target and category ({error})"
        raise Malformed(path, what) from error
    names: dict[int, str] = {}
    for _, _, target, name in rows:
        if names.setdefault(target, name) != name:
            raise Malformed(path, f"target {target} is both '{names[target]}' and '{name}'")
    labels = {target: label for label, target in enumerate(sorted(names))}
    splits: dict[str, list[Row]] = {f"fold{n}": [] for n in sorted({fold for _, fold, *_ in rows})}
    for file_name, fold, target, _ in rows:
        splits[f"fold{fold}"].append((file_name, labels[target]))
    _once(path, splits)
    return Listing(tuple(names[target] for target in labels), splits)


def _table_row(row: Mapping[str, str]) -> tuple[str, int, int, str]:
    name = row["filename"].strip()
    if not name or name != Path(name).name:
        raise ValueError(f"'{name}' is no file name")
    return name, int(row["fold"]), int(row["target"]), row["category"].strip()


def image_folder(folder: Path) -> Listing:
    """Anybody's photos: train/, test/ and perhaps val/, each with one folder a class.

    Labels are the ranks of train/'s folder names. Without val/, a fifth of each training class is
    set aside by a fixed draw that knows class names and counts only.
    """
    classes = tuple(entry.name for entry in _folders(folder / "train"))
    parts = [split for split in SPLITS if (folder / split).is_dir()]
    splits = {split: _class_rows(folder, split, classes) for split in parts}
    notices = []
    if not classes or not splits["test"]:
        raise Malformed(folder, "train/ and test/ need one folder a class, with photos in it")
    if "val" not in splits:
        splits["train"], splits["val"] = _set_aside(splits["train"], classes)
        notices.append(f"no val/: {len(splits['val'])} training photos were set aside for it")
    for split in ("val", "test"):
        present = {label for _, label in splits[split]}
        absent = [name for label, name in enumerate(classes) if label not in present]
        if absent:
            notices.append(f"{split} has no photos of {few(absent)}")
    return Listing(classes, {split: splits[split] for split in SPLITS}, tuple(notices))


def _class_rows(folder: Path, split: str, classes: Sequence[str]) -> list[Row]:
    labels = {name: label for label, name in enumerate(classes)}
    rows: list[Row] = []
    for entry in _folders(folder / split):
        if entry.name not in labels:
            raise Malformed(entry, "is a class without a folder in train/")
        found = _photos(folder, entry, labels[entry.name])
        if not found and split == "train":
            raise Malformed(entry, "holds no photos")
        rows += found
    return rows


def _set_aside(rows: Sequence[Row], classes: Sequence[str]) -> tuple[list[Row], list[Row]]:
    """(training rows, validation rows); a class of one photo keeps it for training."""
    chosen: set[Row] = set()
    for label, name in enumerate(classes):
        mine = [row for row in rows if row[1] == label]
        count = max(1, round(VAL_SHARE * len(mine))) if len(mine) > 1 else 0
        order = numpy_stream("split", 0, dataset="folder", name=name).permutation(len(mine))
        chosen.update(mine[number] for number in order[:count])
    return [row for row in rows if row not in chosen], [row for row in rows if row in chosen]


def _folders(path: Path) -> list[Path]:
    return sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def photos(folder: Path) -> list[Path]:
    """The photos below `folder`, sorted; by their names, none is opened."""
    found = (f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    return [f for f in sorted(found) if f.name[0] != "."]


def _photos(base: Path, folder: Path, label: int) -> list[Row]:
    """The photos below `folder` with their label, their paths relative to `base`."""
    return [(f.relative_to(base).as_posix(), label) for f in photos(folder)]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Malformed(path, f"is not JSON: {error}") from error


def _lines(path: Path) -> list[str]:
    """Lines that are not blank, each without the space around it."""
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise Malformed(path, f"is not UTF-8 text: {error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _row(path: Path, split: str, number: int, entry: Any) -> tuple[str, int, str]:
    """One checked row; ImageNet has 1.3 million, so nothing slow happens here."""
    if isinstance(entry, list) and [type(value) for value in entry] == [str, int, str]:
        photo, label, name = entry
        outside = photo.startswith("/") or (".." in photo and ".." in photo.split("/"))
        if photo and label >= 0 and not outside:
            return photo, label, name
    raise Malformed(path, f"{split}[{number}] is not [relative path, label, class name]")


def _contiguous(path: Path, names: Mapping[int, str]) -> tuple[str, ...]:
    """Class names by label; a copy with fewer classes must be numbered anew from 0."""
    for label in range(len(names)):
        if label not in names:
            raise Malformed(path, f"no row has label {label}: labels must run from 0 without a gap")
    return tuple(names[label] for label in range(len(names)))


def _once(path: Path, splits: Mapping[str, Sequence[Row]]) -> None:
    """A photo belongs to one split, once."""
    seen: dict[str, str] = {}
    for split, rows in splits.items():
        for photo, _ in rows:
            if photo in seen:
                raise Malformed(path, f"'{photo}' is listed in {seen[photo]} and in {split}")
            seen[photo] = split


def _renamed(
    classes: Sequence[str], splits: Mapping[str, Sequence[Row]], names_file: Path
) -> Listing:
    """The same with the names of `names_file`, and a notice where the split has others."""
    names = tuple(imagenet_names(names_file).values())
    if len(names) != len(classes):
        raise Malformed(names_file, f"names {len(names)} classes, the split {len(classes)}")
    pairs = zip(classes, names, strict=True)
    other = [f"'{old}' ('{new}')" for old, new in pairs if old != new]
    notice = f"{len(other)} classes are named otherwise in {names_file.name}: {few(other)}"
    return Listing(names, splits, (notice,) if other else ())
