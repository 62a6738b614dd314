"""Features made elsewhere join the cache: checked against the data set's split, and named so.

The key of an imported entry holds the name that its user gave and the file's sha256; it says
nothing about an encoder, because nothing here can check such a claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from umlbench.errors import MissingInput, StorageError, UserError
from umlbench.features.files import locked, sha256
from umlbench.features.layout import FORMAT, Entry, KeyFields, read_meta, split_folder
from umlbench.features.upkeep import entry

if TYPE_CHECKING:
    import torch

    from umlbench.data import Dataset
    from umlbench.data.samples import Samples
    from umlbench.encoders import Modality

ROWS = ("features", "x")
LABELS = ("labels", "y")
IDS = ("ids", "paths")


@dataclass(frozen=True)
class Imported:
    """Stands for an encoder whose rows were imported: `FeatureStore.get` reads them.

    `files` has per split's fingerprint the sha256 of its file and the stored dtype.
    """

    name: str
    width: int
    files: Mapping[str, tuple[str, str]]
    modality: Modality = "image"

    def key(self) -> dict[str, Any]:
        """All files of the data set; each entry's own key names its own file only."""
        return _identity(self.name) | {"files": {k: v[0] for k, v in sorted(self.files.items())}}

    def fields(self, samples: Samples) -> KeyFields:
        """The key of the entry that holds `samples`; `MissingInput` where none was imported."""
        if samples.fingerprint not in self.files:
            what = f"no features '{self.name}' were imported for these {len(samples)} samples"
            raise MissingInput(what, "`umlbench features import FILE` for this split")
        file, dtype = self.files[samples.fingerprint]
        return _fields(self.name, file, dtype, samples.fingerprint)

    def encode(self, items: Sequence[Any], tick: Any = None) -> NDArray[np.float32]:
        """Never: `MissingInput` says that there is nothing to encode with."""
        del tick
        what = f"features '{self.name}' were imported; {len(items)} samples cannot be encoded here"
        raise MissingInput(what, "`umlbench features import FILE` for this split")


def import_file(
    path: Path, *, root: Path, dataset: Dataset, split: str, encoder_name: str
) -> Entry:
    """Store the features of `path` as the entry of `encoder_name` for one split.

    `path` is an npz, safetensors or pt file (a dict, read with `weights_only=True`) with
    `features` or `x` (n, width), `labels` or `y` (n,) and, where it can hold text, `ids` or
    `paths` (n,): with ids the rows may have any order, without they must have the split's.
    Raises `MissingInput` for an absent file and `UserError` for one that does not fit.
    """
    from umlbench.features.store import Maker

    path, samples = Path(path), dataset.split(split)
    body = _body(path)
    arrays = _arrays(path, body)
    rows, dtype = _rows(path, arrays, samples)
    fields = _fields(encoder_name, sha256(body), dtype, samples.fingerprint)
    folder = split_folder(root, encoder_name, dataset.name, split) / fields.key
    with locked(root, fields.key):
        if not (folder / "meta.json").exists():
            Maker(folder, fields, _Given(encoder_name, rows), samples, len(samples)).make()
    return entry(folder)


def imported(root: Path, name: str, dataset: str) -> Imported:
    """What was imported under `name` for `dataset`, ready for `FeatureStore.get`.

    Raises `MissingInput` where nothing was, `UserError` where two files claim one split.
    """
    files: dict[str, tuple[str, str]] = {}
    width = 0
    for meta in _metas(root, name, dataset):
        fields, width = meta.fields, meta.shape[1]
        if fields.samples in files:
            what = f"two files were imported as '{name}' for the same split of {dataset}"
            raise UserError(what, "import one of them under another name, or remove it")
        files[fields.samples] = (fields.encoder["sha256"], fields.dtype)
    if not files:
        what = f"no features were imported as '{name}' for {dataset}"
        raise MissingInput(what, f"`umlbench features import FILE` with the name '{name}'")
    return Imported(name, width, files)


def _metas(root: Path, name: str, dataset: str) -> list[Any]:
    """Finished entries that say they were imported under this very name."""
    parent = split_folder(root, name, dataset, "any").parent
    prefix = split_folder(root, name, dataset, "").name.removesuffix("unnamed")
    metas = [read_meta(file.parent) for file in sorted(parent.glob(f"{prefix}*/*/meta.json"))]
    own = _identity(name)
    return [m for m in metas if {k: m.fields.encoder.get(k) for k in own} == own]


@dataclass(frozen=True)
class _Given:
    """Rows that are there already, in the shape of an encoder."""

    name: str
    rows: NDArray[np.float32]
    modality: Modality = "image"

    @property
    def width(self) -> int:
        return int(self.rows.shape[1])

    def key(self) -> dict[str, Any]:
        return _identity(self.name)

    def encode(self, items: Sequence[Any], tick: Any = None) -> NDArray[np.float32]:
        del items, tick  # one shard holds the whole split
        return self.rows


def _identity(name: str) -> dict[str, Any]:
    return {"library": "imported", "name": name}


def _fields(name: str, file: str, dtype: str, samples: str) -> KeyFields:
    encoder = _identity(name) | {"sha256": file}
    return KeyFields(format=FORMAT, encoder=encoder, dtype=dtype, samples=samples)


# Reading the file


def _body(path: Path) -> bytes:
    if not path.is_file():
        raise MissingInput(f"no file {path}", "give an npz, safetensors or pt file of features")
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error


def _arrays(path: Path, body: bytes) -> dict[str, Any]:
    """Its arrays by name, from the bytes that were hashed."""
    readers = {".npz": _npz, ".safetensors": _safetensors, ".pt": _pt, ".pth": _pt}
    if path.suffix not in readers:
        raise UserError(f"{path}: '{path.suffix}' is none of {', '.join(readers)}")
    try:
        return readers[path.suffix](body)
    except Exception as error:  # each library has its own errors for a foreign or torn file
        line = (str(error).splitlines() or [""])[0]
        what = f"{path}: cannot be read as {path.suffix} without running code: {line}"
        raise UserError(what, "save plain arrays by name: features, labels, ids") from error


def _npz(body: bytes) -> dict[str, Any]:
    from io import BytesIO

    with np.load(BytesIO(body), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _safetensors(body: bytes) -> dict[str, Any]:
    from safetensors.torch import load

    return dict(load(body))


def _pt(body: bytes) -> dict[str, Any]:
    from io import BytesIO

    import torch

    found = torch.load(BytesIO(body), map_location="cpu", weights_only=True)
    if not isinstance(found, dict):
        raise TypeError(f"holds a {type(found).__name__}, not a dict of tensors by name")
    return found


# Fitting it to the split


def _rows(
    path: Path, arrays: dict[str, Any], samples: Samples
) -> tuple[NDArray[np.float32], Literal["float32", "float16", "bfloat16"]]:
    """Rows (n, width) in the split's order, and the dtype they have in the file."""
    import torch

    x = _tensor(path, arrays, ROWS)
    labels = _tensor(path, arrays, LABELS).tolist()
    if x.ndim != 2 or not x.is_floating_point() or not x.shape[1]:
        raise UserError(f"{path}: features are {tuple(x.shape)} {x.dtype}, not floats (n, width)")
    if not len(x) == len(labels) == len(samples):
        counts = f"{len(x)} rows and {len(labels)} labels"
        raise UserError(f"{path}: {counts}; the split has {len(samples)} samples")
    order = _order(path, _ids(path, arrays, len(x)), samples)
    _same_labels(path, [labels[i] for i in order], samples)
    half: dict[torch.dtype, Literal["float16", "bfloat16"]] = {
        torch.float16: "float16",
        torch.bfloat16: "bfloat16",
    }
    return x.float()[order].numpy(), half.get(x.dtype, "float32")


def _tensor(path: Path, arrays: dict[str, Any], names: Sequence[str]) -> torch.Tensor:
    import torch

    found = [name for name in names if name in arrays]
    if len(found) != 1:
        has = ", ".join(sorted(map(str, arrays))) or "nothing"
        raise UserError(f"{path}: needs one array named {' or '.join(names)}; it holds {has}")
    try:
        return torch.as_tensor(arrays[found[0]])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: '{found[0]}' is not an array of numbers") from error


def _ids(path: Path, arrays: dict[str, Any], count: int) -> list[str] | None:
    found = next((arrays[name] for name in IDS if name in arrays), None)
    if found is None:
        return None
    ids = [str(one) for one in found]
    if len(ids) != count or len(set(ids)) != count:
        raise UserError(f"{path}: {len(set(ids))} different ids for {count} rows")
    return ids


def _order(path: Path, ids: list[str] | None, samples: Samples) -> list[int]:
    """The file's row of each sample of the split."""
    if ids is None:
        return list(range(len(samples)))
    rows = {name: row for row, name in enumerate(ids)}
    missing = [name for name in samples.ids if name not in rows]
    if missing:
        what = f"{path}: {len(missing)} of the split's ids are not in it, first '{missing[0]}'"
        raise UserError(what, f"ids must be those of the split; the file's first is '{ids[0]}'")
    return [rows[name] for name in samples.ids]


def _same_labels(path: Path, labels: list[Any], samples: Samples) -> None:
    for row, (found, expected) in enumerate(zip(labels, samples.labels.tolist(), strict=True)):
        if found != expected:
            name = samples.ids[row]
            what = f"{path}: label {found} for '{name}', which the split gives {expected}"
            raise UserError(what, "the rows' order or the class numbering differs from the split")
