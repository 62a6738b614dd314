"""ImageNet-ESC: sounds of ESC-50 and photos of ImageNet that show the same classes.

Section 4.1 of the protocol pairs 27 classes (19 of them closely); a label is the rank of a class
by ImageNet index. Section 4.3 says which samples train, validate and test, and which one of each
class helps the other modality. Nothing is read or encoded here: rows of the data sets are chosen,
so that every clip and photo is encoded once.

`esc10` is our own: the ten classes of ESC-10 in ESC-50's order, six of them with a photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from umlbench.data import corpora, esc
from umlbench.data.corpora import Corpus, Target
from umlbench.data.dataset import Dataset, few
from umlbench.data.draws import draw
from umlbench.data.samples import Samples
from umlbench.errors import UserError, unknown

Size = Literal[19, 27]
NAMES = ("esc19", "esc27", "esc10")
DESCRIPTIONS = Path(__file__).with_suffix(".json")
ESC10 = (
    "dog",
    "rooster",
    "rain",
    "sea_waves",
    "crackling_fire",
    "crying_baby",
    "sneezing",
    "clock_tick",
    "helicopter",
    "chainsaw",
)


@dataclass(frozen=True)
class Pair:
    """One class: its ImageNet index and name, its name in ESC-50, whether it is one of the 19.

    Outside ImageNet-ESC a class may have no photos: then its index is -1 and its photo "".
    """

    index: int
    photo: str
    sound: str
    close: bool = True


PAIRS = (
    Pair(7, "rooster", "rooster"),
    Pair(8, "hen", "hen"),
    Pair(19, "chickadee", "chirping_birds"),
    Pair(31, "tree frog", "frog"),
    Pair(175, "Otterhound", "dog"),
    Pair(285, "Egyptian Mau", "cat"),
    Pair(308, "fly", "insects"),
    Pair(312, "cricket insect", "crickets"),
    Pair(341, "pig", "pig"),
    Pair(349, "bighorn sheep", "sheep"),
    Pair(404, "airliner", "airplane"),
    Pair(466, "high-speed train", "train"),
    Pair(473, "can opener", "can_opening", close=False),
    Pair(491, "chainsaw", "chainsaw"),
    Pair(497, "church", "church_bells", close=False),
    Pair(508, "computer keyboard", "keyboard_typing"),
    Pair(530, "digital clock", "clock_alarm"),
    Pair(556, "fire screen", "crackling_fire", close=False),
    Pair(673, "computer mouse", "mouse_click"),
    Pair(861, "toilet seat", "toilet_flush", close=False),
    Pair(882, "vacuum cleaner", "vacuum_cleaner"),
    Pair(892, "wall clock", "clock_tick"),
    Pair(896, "sink", "water_drops", close=False),
    Pair(897, "washing machine", "washing_machine"),
    Pair(898, "water bottle", "drinking_sipping", close=False),
    Pair(899, "water jug", "pouring_water", close=False),
    Pair(977, "sandbar", "sea_waves", close=False),
)


def pairs(size: Size) -> tuple[Pair, ...]:
    """The 27 classes or the 19, by label."""
    if size not in (19, 27):
        raise unknown("size of ImageNet-ESC", size, (19, 27))
    return tuple(pair for pair in PAIRS if size == 27 or pair.close)


def members(name: str) -> tuple[Pair, ...]:
    """The classes of `esc19`, `esc27` or `esc10` by label; `UserError` for another name."""
    if name not in NAMES:
        raise unknown("set of ImageNet-ESC", name, NAMES)
    if name != "esc10":
        return pairs(27 if name == "esc27" else 19)
    paired = {pair.sound: pair for pair in PAIRS}
    return tuple(paired.get(sound, Pair(-1, "", sound)) for sound in ESC10)


def texts(name: str, corpus: str, root: Path) -> Corpus:
    """Sentences about the classes of `name`.

    Templates and CuPL know them by ImageNet's names; `descriptions`, which come with the package
    and say what a class sounds like, and files of your own by ESC-50's.
    """
    known = ["descriptions", *corpora.names("imagenet")]
    if corpus not in known and not corpora.is_path(corpus):
        raise unknown(f"text corpus of {name}", corpus, known)
    classes = members(name)
    sounds = tuple(pair.sound for pair in classes)
    if corpus == "descriptions":
        return corpora.own(Target(name, name, sounds, partial=True), DESCRIPTIONS)
    if corpora.is_path(corpus):
        return corpora.build(Target(name, name, sounds), corpus, root)
    photos = tuple(pair.photo or pair.sound for pair in classes)
    return corpora.build(Target(name, "imagenet", photos, partial=True), corpus, root)


@dataclass(frozen=True)
class Part:
    """Chosen rows of one split of a data set, and their labels among the chosen classes."""

    split: str
    rows: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Division:
    """What a target modality trains, validates and tests on; `notices` belong into a report.

    `source` says where the rows come from: a fold, or how photos were drawn.
    """

    train: Part
    val: Part
    test: tuple[Part, ...]
    notices: tuple[str, ...] = ()
    source: str = ""


# Sounds


def sound_target(sounds: Dataset, classes: Sequence[str], *, division: int, shots: int) -> Division:
    """The first `shots` clips a class of fold `division` (0 to 4) train, the next ones validate.

    All clips of the four other folds test. `classes` are names of ESC-50 by label. Raises
    `UserError` for a class or fold that is not there, or too few clips.
    """
    fold = _fold(division)
    chosen = _chosen(sounds, fold, classes)
    others = tuple(_chosen(sounds, name, classes) for name in esc.FOLDS if name != fold)
    train, val = _nth(chosen, 0, shots), _nth(chosen, shots, shots)
    return Division(train, val, others, source=fold)


def sound_auxiliary(
    sounds: Dataset, classes: Sequence[str], *, division: int, shots: int = 1
) -> Part:
    """The first `shots` clips a class of fold `division` (0 to 4), as help for another modality."""
    return _nth(_chosen(sounds, _fold(division), classes), 0, shots)


# Photos


def photo_target(
    photos: Dataset,
    classes: Sequence[str],
    *,
    division: int,
    shots: int,
    root: Path | None = None,
) -> Division:
    """The few-shot draw of seed `division` + 1 and ImageNet's validation photos, restricted.

    `classes` are class names of `photos` by label. The draw's own validation rows (at most 4 a
    class) validate, the whole test split tests. Raises `UserError` for a class that is not there.
    """
    drawn = draw(photos, shots=shots, seed=division + 1, root=root)
    return Division(
        _chosen(photos, "train", classes, drawn.rows.train),
        _chosen(photos, "val", classes, drawn.rows.val),
        (_chosen(photos, "test", classes),),
        drawn.notices,
        f"{drawn.source}, seed {division + 1}",
    )


def photo_auxiliary(
    photos: Dataset,
    classes: Sequence[str],
    *,
    division: int,
    shots: int = 1,
    root: Path | None = None,
) -> Part:
    """The training photos of the draw of seed `division` + 1, as help for another modality."""
    return photo_target(photos, classes, division=division, shots=shots, root=root).train


def photo_samples(photos: Dataset, classes: Sequence[str], *, shots: int = 1) -> Part:
    """The first `shots` photos of each class that has any, for a set without draws (`esc10`)."""
    return _nth(_chosen(photos, "train", classes), 0, shots, "photos")


def photo_pool(
    photos: Dataset, *, shots: int, target: bool, root: Path | None = None
) -> dict[str, Samples]:
    """The photos of ImageNet's that the five divisions draw at `shots`, by split, each once.

    All 27 classes, in the order of `photos`; those that validate and test for a `target` only.
    """
    names = [pair.photo for pair in PAIRS]
    rows: dict[str, set[int]] = {}
    for division in range(len(esc.FOLDS)):
        drawn = photo_target(photos, names, division=division, shots=shots, root=root)
        for part in (drawn.train, drawn.val, *drawn.test) if target else (drawn.train,):
            rows.setdefault(part.split, set()).update(part.rows)
    return {split: photos.split(split).select(sorted(some)) for split, some in rows.items()}


def _fold(division: int) -> str:
    if division not in range(len(esc.FOLDS)):
        raise unknown("division of ESC-50", division, range(len(esc.FOLDS)))
    return esc.FOLDS[division]


def _chosen(
    dataset: Dataset, split: str, classes: Sequence[str], rows: Sequence[int] | None = None
) -> Part:
    """Those of `rows` (None: all) whose class is one of `classes`, in their order.

    A class called "" has none.
    """
    absent = [name for name in classes if name and name not in dataset.classes]
    if absent:
        what = f"{dataset.name} has no class {few([repr(name) for name in absent])}"
        raise UserError(what, "its classes go by other names, or this copy has fewer of them")
    labels = {dataset.classes.index(name): label for label, name in enumerate(classes) if name}
    own = dataset.split(split).labels.tolist()
    kept = [row for row in (range(len(own)) if rows is None else rows) if own[row] in labels]
    return Part(split, tuple(kept), tuple(labels[own[row]] for row in kept))


def _nth(part: Part, start: int, count: int, noun: str = "clips") -> Part:
    """`count` rows a class after the first `start`, by class, then in the part's order."""
    rows: list[int] = []
    labels: list[int] = []
    for label in sorted(set(part.labels)):
        mine = [r for r, own in zip(part.rows, part.labels, strict=True) if own == label]
        if len(mine) < start + count:
            what = f"{part.split} has {len(mine)} {noun} of a class, {start + count} are needed"
            raise UserError(what, "take fewer shots")
        rows += mine[start : start + count]
        labels += [label] * count
    return Part(part.split, tuple(rows), tuple(labels))
