"""MultiBench's files of MOSI, MOSEI, MUStARD, UR-FUNNY and MIMIC (section 4.1 and Table 1).

What the released code does to them, in its order (its loader is MultiBench's, with a normalisation
of vision). Every deviation is a guard: a value that is no finite number becomes 0 where the
official code would train on it, and so does a column that does not vary.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umlbench.data import unpickling
from umlbench.data.sequences import Sequences, Splits
from umlbench.errors import UserError

FILE_SPLITS = {"train": "train", "val": "valid", "test": "test"}  # ours, and the files'
MODALITIES = ("vision", "audio", "text")
MIMIC_ARRAYS = {"adm_features_all": 2, "ep_tdata": 3, "y_icd9": 2}  # and their axes
MIMIC_TASK = 7  # the column of y_icd9 that the paper's code predicts
MIMIC_SEED = 10


def affect(
    path: Path, *, positive_from: float, vision: int, text: int = 300, vision_norm: bool = False
) -> Splits:
    """Vision, audio and text of MOSI, MOSEI, MUStARD or UR-FUNNY; a sample is one utterance.

    The file is `{split: {"vision", "audio", "text", "labels", "id"}}` with arrays (N, T, width)
    that are padded in front. In the official order: samples whose text sums to 0 are left out;
    -inf of audio becomes 0; with `vision_norm` vision is standardised by the split's own mean and
    deviation over all frames, those of padding too; then all three begin where the text does. A
    label (its first value) is class 1 from `positive_from` on. `vision` and `text` are the widths
    that the official code has. Raises `UserError` with all that is wrong.
    """
    raw = unpickling.load(path)
    _refuse(path, _affect_faults(raw, {"vision": vision, "text": text}))
    # Each split is let go of as soon as it is read: MOSEI's file has gigabytes.
    return {
        ours: _utterances(raw.pop(theirs), positive_from, vision_norm)
        for ours, theirs in FILE_SPLITS.items()
    }


def _utterances(
    raw: Mapping[str, Any], positive_from: float, vision_norm: bool
) -> dict[str, Sequences]:
    """One split; the three modalities of a sample have one id and begin together."""
    text = np.asarray(raw["text"])
    kept = _with_text(text)
    begins = [int((text[row] != 0).any(axis=1).argmax()) for row in kept]
    labels = (_first(raw["labels"])[kept] >= positive_from).astype(np.int64)
    ids = _ids(raw.get("id"), len(text), kept)
    left_out = len(text) - len(kept)
    notices = (f"{left_out} samples without text were left out",) if left_out else ()
    found = {}
    for name in MODALITIES:
        frames, mended = np.asarray(raw[name]), 0
        if name == "vision" and vision_norm:
            frames, mended = finite(frames)
            frames = standardised(frames)
        values, starts = _cut(frames, kept, begins)
        if name == "audio":
            values[np.isneginf(values)] = 0
        values, more = finite(values)
        mended += more
        told = (f"{mended} values of {name} are no finite numbers: now 0",) if mended else ()
        found[name] = Sequences(values, starts, labels, ids, notices=notices + told)
    return found


def _with_text(text: NDArray[Any]) -> list[int]:
    """The samples that the official code keeps."""
    return [row for row, one in enumerate(text) if one.sum() != 0]


def _cut(
    frames: NDArray[Any], kept: Sequence[int], begins: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Frames (N, T, width) of the samples `kept` from `begins` on, one after the other."""
    lengths = frames.shape[1] - np.asarray(begins, np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    values = np.empty((int(starts[-1]), frames.shape[2]), np.float32)
    with np.errstate(over="ignore"):
        for place, row, begin in zip(starts[:-1], kept, begins, strict=True):
            values[place : place + frames.shape[1] - begin] = frames[row, begin:]
    return values, starts


def mimic(path: Path, *, clean_test: bool) -> Splits:
    """`static` (flat, 5 wide) and `series` (24 steps, its width as in the file) of MIMIC-III stays.

    What is no finite number becomes 0, then both are standardised over the whole file. The stays
    are shuffled as Python's generator does with seed 10: the first tenth is for validation, the
    next for testing, and four fifths for training. The official code tests on the validation stays;
    `clean_test` tests on those that it sets aside. Raises `UserError` with all that is wrong.
    """
    raw = unpickling.load(path)
    _refuse(path, _mimic_faults(raw))
    static = standardised(finite(raw["adm_features_all"])[0]).astype(np.float32)
    series = standardised(finite(raw["ep_tdata"])[0]).astype(np.float32)
    labels = raw["y_icd9"][:, MIMIC_TASK].astype(np.int64)
    count, steps = series.shape[:2]
    ids = tuple(str(row) for row in range(count))
    flat = Sequences(static, np.arange(count + 1), labels, ids, True)
    timed = Sequences(series.reshape(count * steps, -1), steps * np.arange(count + 1), labels, ids)
    splits = {
        split: {"static": flat.select(rows), "series": timed.select(rows)}
        for split, rows in mimic_rows(count).items()
    }
    if not clean_test:
        told = ("the stays of validation, as in the official code",)
        splits["test"] = {k: replace(one, notices=told) for k, one in splits["val"].items()}
    return splits


def mimic_rows(count: int) -> dict[str, list[int]]:
    """Rows of each split of `count` stays, in the shuffled order."""
    rows = list(range(count))
    random.Random(MIMIC_SEED).shuffle(rows)  # noqa: S311 - the published split
    val, test, train = rows[: count // 10], rows[count // 10 : count // 5], rows[count // 5 :]
    return {"train": train, "val": val, "test": test}


def finite(values: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """The same with 0 for what is no finite number, and how many those are."""
    wrong = ~np.isfinite(values)
    count = int(wrong.sum())
    return (np.where(wrong, values.dtype.type(0), values), count) if count else (values, 0)


def standardised(values: NDArray[Any]) -> NDArray[Any]:
    """(x - mean) / deviation of each column over all other axes; 0 where the deviation is 0.

    The official code divides by that 0. As there, no epsilon, and the precision of the file.
    """
    rows = values.reshape(-1, values.shape[-1])
    deviation = rows.std(axis=0)
    found: NDArray[Any] = (values - rows.mean(axis=0)) / np.where(deviation == 0, 1, deviation)
    return np.where(deviation == 0, deviation.dtype.type(0), found)


# What may be wrong with a file


def _affect_faults(raw: Any, widths: Mapping[str, int]) -> Iterator[str]:
    for split in FILE_SPLITS.values():
        part = raw.get(split) if isinstance(raw, dict) else None
        if isinstance(part, dict):
            yield from (f"{split}: {what}" for what in _split_faults(part, widths))
        else:
            yield f"has no split '{split}'"


def _split_faults(part: Mapping[str, Any], widths: Mapping[str, int]) -> Iterator[str]:
    lacking = [name for name in (*MODALITIES, "labels") if name not in part]
    if lacking:
        yield f"has no {' and no '.join(lacking)}"
        return
    shapes = {name: _shape(part[name], 3) for name in MODALITIES}
    for name, shape in shapes.items():
        if shape is None:
            yield f"{name} is no array of numbers (samples, frames, width)"
        elif shape[2] != widths.get(name, shape[2]):
            yield f"{name} is {shape[2]} wide, not {widths[name]}: another set's or version's file"
    known = [shape for shape in shapes.values() if shape]
    if len({shape[:2] for shape in known}) > 1:
        yield f"samples and frames differ: {', '.join(f'{n} {s}' for n, s in shapes.items())}"
    elif known:
        yield from _text_and_labels(part, known[0][0])


def _text_and_labels(part: Mapping[str, Any], count: int) -> Iterator[str]:
    labels = _first(part["labels"])
    if labels.shape != (count,) or not np.isfinite(labels).all():
        yield f"labels are {len(labels)} values, not {count} finite ones"
    if _shape(part["text"], 3) and not _with_text(np.asarray(part["text"])):
        yield "has no sample with text"


def _mimic_faults(raw: Any) -> Iterator[str]:
    found = raw if isinstance(raw, dict) else {}
    shapes = {name: _shape(found.get(name), axes) for name, axes in MIMIC_ARRAYS.items()}
    yield from (
        f"has no array of numbers '{name}' with {MIMIC_ARRAYS[name]} axes"
        for name, shape in shapes.items()
        if shape is None
    )
    known = {name: shape for name, shape in shapes.items() if shape}
    if len({shape[0] for shape in known.values()}) > 1:
        yield f"stays differ: {', '.join(f'{n} {s}' for n, s in known.items())}"
    label = known.get("y_icd9")
    if label and label[1] <= MIMIC_TASK:
        yield f"y_icd9 has {label[1]} columns, none for task {MIMIC_TASK}"
    elif label and not np.isin(found["y_icd9"][:, MIMIC_TASK], (0, 1)).all():
        yield f"y_icd9 has other values than 0 and 1 in column {MIMIC_TASK}"


def _refuse(path: Path, faults: Iterator[str]) -> None:
    lines = [f"{path}: {fault}" for fault in faults]
    if lines:
        head = f"{len(lines)} faults of {path.name}:\n  " if len(lines) > 1 else ""
        hint = "this is not the file that MultiBench's authors distribute; fetch it again"
        raise UserError(head + "\n  ".join(lines), hint)


def _shape(array: Any, axes: int) -> tuple[int, ...] | None:
    """Of an array of numbers with that many axes, all of some length."""
    found = np.asarray(array)
    good = found.dtype.kind in "biuf" and found.ndim == axes and found.size
    return found.shape if good else None


def _first(labels: Any) -> NDArray[np.float64]:
    """The first value of every sample's label: (N,), (N, 1), (N, 1, 1), and MOSEI's (N, 1, 7)."""
    try:
        found = np.asarray(labels, np.float64)
        return found.reshape(len(found), -1)[:, 0]
    except (ValueError, TypeError, IndexError):
        return np.empty(0)


def _ids(names: Any, count: int, kept: Sequence[int]) -> tuple[str, ...]:
    """The samples' names as text, joined where a name has several parts; else their numbers."""
    found = np.asarray(range(count) if names is None else names, dtype=object)
    if found.shape[:1] != (count,):
        found = np.arange(count)
    return tuple("_".join(_text(part) for part in np.ravel(found[row])) for row in kept)


def _text(part: Any) -> str:
    return part.decode("latin1") if isinstance(part, bytes) else str(part)
