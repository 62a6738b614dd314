"""Sequences in one `.npz`: the format of a user's own sets, and of `mosi_utterances`.

Arrays are named after a modality M (of your choice, as many as you have) and a split S, which is
train, val or test:

    M_S                      the samples: (N, T, width), padded at the end; or (rows, width), all
                             steps one after the other; or (N, width), single vectors
    length_M_S or length_S   (N,) steps of each sample; without it all T count, and each row of an
                             array with two axes is a sample
    label_M_S or label_S     one class a sample, (N,); or one a step, (N, T) or (rows,)
    id_M_S or id_S           (N,) names, if there are any; modalities with equal names are paired
    classes                  (C,) names of the classes, if there are any; labels count from 0

What lies behind a sample's length is not looked at. Without any `M_val`, a fifth of the training
samples is held out for validation: those whose names have the smallest sha256. The rule knows names
only, so that everybody who has the file holds out the same samples whole, at every seed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umlbench.data.dataset import few
from umlbench.data.layout import SPLITS, VAL_SHARE
from umlbench.data.sequences import Sequences, Splits
from umlbench.errors import MissingInput, UserError

Arrays = Mapping[str, NDArray[Any]]

HINT = (
    "for each modality M and split S (train, val, test) the file has M_S (N, T, width), "
    "length_S (N,) and label_S; umlbench/data/sequence_npz.py says it all"
)


def read(path: Path, *, names: str = "id") -> tuple[tuple[str, ...], Splits]:
    """The classes and splits of a file; `names` is what its arrays of names are called.

    Raises `MissingInput` where there is no file, and `UserError` with everything that is wrong.
    """
    arrays, faults = _open(path)
    modalities = _modalities(arrays, names)
    parts = {
        (split, modality): _Part.of(arrays, modality, split, names)
        for split in SPLITS
        for modality in modalities
        if f"{modality}_{split}" in arrays
    }
    faults += _misnamed(arrays, modalities, names)
    faults += _absent(modalities, [split for split, _ in parts], parts)
    faults += [fault for part in parts.values() for fault in part.faults()]
    _refuse(path, faults)
    classes = _classes(arrays, parts.values())
    _refuse(path, [fault for part in parts.values() for fault in part.outside(len(classes))])
    splits: dict[str, dict[str, Sequences]] = {split: {} for split in SPLITS}
    for (split, modality), part in parts.items():
        splits[split][modality] = part.sequences(modality)
    if not splits["val"]:
        single = (name for name, one in splits["train"].items() if len(one) == 1)
        _refuse(path, [f"{name}_train has one sample: none to hold out" for name in single])
        for modality, sequences in splits["train"].items():
            splits["train"][modality], splits["val"][modality] = hold_out(sequences)
    return classes, splits


def hold_out(sequences: Sequences) -> tuple[Sequences, Sequences]:
    """(training, validation): the fifth of the samples whose names have the smallest sha256."""
    digests = [hashlib.sha256(name.encode()).digest() for name in sequences.ids]
    order = sorted(range(len(sequences)), key=digests.__getitem__)
    count = max(1, round(VAL_SHARE * len(sequences)))
    val, train = sorted(order[:count]), sorted(order[count:])
    notice = f"{count} training samples, those of the smallest sha256 of their names"
    return sequences.select(train), replace(sequences.select(val), notices=(notice,))


@dataclass(frozen=True)
class _Part:
    """One modality of one split, as the file has it; `key` is its array's name."""

    key: str
    values: NDArray[Any]
    length: NDArray[Any] | None
    label: NDArray[Any] | None
    names: NDArray[Any] | None

    @classmethod
    def of(cls, arrays: Arrays, modality: str, split: str, names: str) -> _Part:
        """The modality's own arrays go before those of the whole split."""
        key = f"{modality}_{split}"
        length, label, own = (
            arrays.get(f"{role}_{key}", arrays.get(f"{role}_{split}"))
            for role in ("length", "label", names)
        )
        return cls(key, arrays[key], length, label, own)

    @property
    def padded(self) -> bool:
        """Whether each sample has T steps in the file."""
        return self.values.ndim == 3

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of every sample (N,)."""
        if self.length is not None:
            return self.length.astype(np.int64)
        return np.full(len(self.values), self.values.shape[1] if self.padded else 1, np.int64)

    @property
    def labels(self) -> NDArray[np.int64]:
        """One class a sample or one a step."""
        label = np.asarray(self.label, np.int64)
        return label if label.shape == self.lengths.shape else self.steps(label)

    def steps(self, array: NDArray[Any]) -> NDArray[Any]:
        """All steps of an array one after the other, without padding."""
        inside = np.arange(array.shape[1]) < self.lengths[:, None] if self.padded else slice(None)
        steps: NDArray[Any] = array[inside]
        return steps

    def sequences(self, modality: str) -> Sequences:
        """The same; samples without names are called `text/7`, like those of no other modality."""
        numbers = [f"{modality}/{row}" for row in range(len(self.lengths))]
        names = numbers if self.names is None else map(str, self.names.tolist())
        starts = np.concatenate([[0], np.cumsum(self.lengths)])
        values = self.steps(self.values).astype(np.float32)
        flat = not self.padded and self.length is None
        return Sequences(values, starts, self.labels, tuple(names), flat)

    def faults(self) -> list[str]:
        """What is wrong with it; each check relies on those before."""
        return (
            [*self._wrong_values()]
            or [*self._wrong_lengths()]
            or [*self._wrong_companions()]
            or [*self._wrong_contents()]
        )

    def outside(self, classes: int) -> Iterator[str]:
        """Labels that are no class."""
        wrong = np.setdiff1d(self.labels, np.arange(classes))
        if len(wrong):
            yield f"labels of {self.key} are not from 0 to {classes - 1}: {few(wrong.tolist())}"

    def _wrong_values(self) -> Iterator[str]:
        dtype, shape = self.values.dtype, self.values.shape
        if dtype.kind not in "fiub" or len(shape) not in (2, 3) or not self.values.size:
            yield f"{self.key} is {dtype} {shape}, not numbers (N, T, width) or (rows, width)"

    def _wrong_lengths(self) -> Iterator[str]:
        length, shape = self.length, self.values.shape
        if length is None:
            return
        if length.dtype.kind not in "iu" or length.ndim != 1:
            yield f"length of {self.key} is {length.dtype} {length.shape}, not whole numbers (N,)"
            return
        most = shape[1] if self.padded else shape[0]
        if ((length < 1) | (length > most)).any():
            yield f"length of {self.key} is not from 1 to {most} throughout"
        if len(length) != shape[0] if self.padded else length.sum() != shape[0]:
            yield (
                f"length of {self.key} has {len(length)} samples of {length.sum()} steps, not "
                + (f"{shape[0]} samples" if self.padded else f"{shape[0]} steps")
            )

    def _wrong_companions(self) -> Iterator[str]:
        label, names, count = self.label, self.names, len(self.lengths)
        shapes = dict.fromkeys([(count,), self.values.shape[:-1]])
        if label is None:
            yield f"{self.key} has no labels"
        elif label.dtype.kind not in "iub" or label.shape not in shapes:
            good = f"whole numbers {' or '.join(map(str, shapes))}"
            yield f"labels of {self.key} are {label.dtype} {label.shape}, not {good}"
        if names is not None and (names.dtype.kind not in "Uiu" or names.shape != (count,)):
            yield f"names of {self.key} are {names.dtype} {names.shape}, not text ({count},)"

    def _wrong_contents(self) -> Iterator[str]:
        with np.errstate(over="ignore"):
            wrong = ~np.isfinite(self.steps(self.values).astype(np.float32))
        if wrong.any():
            yield f"{self.key} has {wrong.sum()} values that are no finite 32-bit numbers"
        names = Counter([] if self.names is None else self.names.tolist())
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            yield f"names of {self.key} occur twice: {few(twice)}"


def _open(path: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The arrays that can be read, and a line for each that cannot; no pickle is opened."""
    if not path.is_file():
        raise MissingInput(f"no sequences at {path}", HINT)
    arrays, faults = {}, []
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                try:
                    arrays[name] = file[name]
                except ValueError:
                    faults.append(f"'{name}' holds objects, not numbers or text")
    except Exception as error:  # torn archives fail in every way that there is
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path}: is no .npz that can be read: {line}", HINT) from error
    return arrays, faults


def _modalities(arrays: Arrays, names: str) -> list[str]:
    """In the file's order."""
    ends = (name.rpartition("_")[::2] for name in arrays)
    taken = ("length", "label", names)
    found = dict.fromkeys(stem for stem, split in ends if split in SPLITS)
    return [stem for stem in found if not f"{stem}_".startswith(tuple(f"{t}_" for t in taken))]


def _misnamed(arrays: Arrays, modalities: Sequence[str], names: str) -> Iterator[str]:
    """Arrays that nothing would read: a slip, or a modality without its samples."""
    known = {f"{modality}_{split}" for modality in modalities for split in SPLITS}
    whole = {*known, *SPLITS}
    known |= {f"{role}_{name}" for role in ("length", "label", names) for name in whole}
    for name in arrays:
        if name not in known and name != "classes":
            yield f"'{name}' is no name of this format"


def _absent(
    modalities: Sequence[str], splits: Sequence[str], parts: Mapping[tuple[str, str], _Part]
) -> Iterator[str]:
    if not modalities:
        yield "has no samples of any modality"
    needed = [split for split in SPLITS if split != "val" or split in splits]
    for modality in modalities:
        lacking = [f"{modality}_{split}" for split in needed if (split, modality) not in parts]
        if lacking:
            yield f"has no {' and no '.join(lacking)}"


def _classes(arrays: Arrays, parts: Iterable[_Part]) -> tuple[str, ...]:
    """Their names; those of numbers where the file has none."""
    if "classes" in arrays:
        return tuple(map(str, arrays["classes"].ravel().tolist()))
    return tuple(map(str, range(1 + max(int(part.labels.max()) for part in parts))))


def _refuse(path: Path, faults: Sequence[str]) -> None:
    if faults:
        head = f"{len(faults)} faults of the sequences:\n  " if len(faults) > 1 else ""
        raise UserError(head + "\n  ".join(f"{path}: {fault}" for fault in faults), HINT)
