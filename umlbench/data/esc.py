"""ESC-50: 2000 environmental sounds of 5 seconds, 50 classes, 5 folds; or its subset ESC-10.

Its splits are the folds `fold1` to `fold5`, each with all its classes in the table's order: that
order decides the batches of an encoder whose rows depend on their neighbours. Which clips train and
which test is a choice of rows (`imagenet_esc`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from umlbench.data.images import Place
from umlbench.data.layout import Listing, Row, fold_table

NAME = "esc50"
FOLDS = tuple(f"fold{number}" for number in range(1, 6))
CLASSES = 50
CLIPS = 8  # of a class in a fold
FOLDERS = ("esc-50/ESC-50-master", "esc-50")  # as unpacked, or without the archive's own folder
TABLE = "meta/esc50.csv"
ORIGIN = (
    "get ESC-50 from github.com/karolpiczak/ESC-50 (about 0.6 GB; CC BY-NC 3.0, its ESC-10 part "
    "CC BY 3.0) and unpack it below esc-50"
)


def place(root: Path) -> Place:
    """ESC-50 below the data root, in either layout."""
    from umlbench.encoders import sounds

    folder = next((f for name in FOLDERS if (f := root / name).joinpath(TABLE).is_file()), None)
    folder = folder or root / FOLDERS[-1]
    sound = folder / "audio"
    return Place(
        NAME,
        folder,
        sound,
        (folder / TABLE, sound),
        lambda: _listing(folder / TABLE, sound),
        ORIGIN,
        noun="clip",
        fault=sounds.fault,
    )


def expected() -> dict[str, int]:
    """Clips by fold where the set is not here."""
    return dict.fromkeys(FOLDS, CLASSES * CLIPS)


def _listing(table: Path, sound: Path) -> Listing:
    """The table with the files' own endings, its miscounts as faults."""
    found = fold_table(table)
    names = {split: [name for name, _ in rows] for split, rows in found.splits.items()}
    notices = []
    if len(found.classes) != CLASSES:
        notices.append(f"{NAME}: {len(found.classes)} of its {CLASSES} classes")
    if any(rows != sorted(rows) for rows in names.values()):
        what = f"{table.name} is in another order than the published one, by file name"
        notices.append(f"{NAME}: {what}; audioclip's rows depend on it (batch_norm: train)")
    return replace(
        found,
        splits={split: _on_disk(rows, sound) for split, rows in found.splits.items()},
        notices=tuple(notices),
        faults=tuple(_miscounts(found.classes, found.splits)),
    )


def _on_disk(rows: Sequence[Row], sound: Path) -> list[Row]:
    """The same rows; a file that is there with another ending goes by its own name."""
    from umlbench.encoders.sounds import ENDINGS

    found = []
    for name, label in rows:
        ways = [name, *(str(Path(name).with_suffix(ending)) for ending in ENDINGS)]
        found.append((next((way for way in ways if (sound / way).is_file()), name), label))
    return found


def _miscounts(classes: Sequence[str], splits: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    """What differs from 8 clips a class in each of 5 folds."""
    for split in sorted(set(splits) - set(FOLDS)):
        yield f"has clips in {split} ({len(splits[split])}), not only in {FOLDS[0]} to {FOLDS[-1]}"
    for split in FOLDS:
        counts = Counter(label for _, label in splits.get(split, ()))
        if not counts:
            yield f"has no clips in {split}"
            continue
        for label, name in enumerate(classes):
            if counts[label] != CLIPS:
                yield f"has {counts[label]} clips of '{name}' in {split}, not {CLIPS}"
