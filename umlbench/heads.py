"""Stored heads: what the selected trial of a job learned, kept for photos and analyses to come.

A head is one file, `<job id>.safetensors`: named tensors and, as JSON in the header, everything
else that its use needs. It lies in `<results>/<recipe>/heads` or in `<cache>/heads`. Nothing in it
depends on time or machine beyond its figures, so that a job run again makes the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pydantic import ValidationError

from umlbench.data.samples import content_digest
from umlbench.encoders import Dtype, Encoder, Modality, Pooling, Transform
from umlbench.errors import MissingInput, StorageError, UserError
from umlbench.features.files import write
from umlbench.models.scaling import Scaling, scaled
from umlbench.needs import EncoderNeed
from umlbench.records import Record, Store
from umlbench.schema import Closed, Scalar
from umlbench.seeds import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from umlbench.recipe import Recipe

Place = Literal["results", "cache"]
PLACES: tuple[Place, ...] = get_args(Place)
FORMAT: Final = 1
HEADER = "umlbench_head"  # the entry of the safetensors header that holds the JSON
ROWS = 4096  # rows of features that are classified at once
SHOWN = 4  # heads named where one was meant


class Frozen(Closed):
    """The frozen encoder whose rows a head reads; `key` digests all that decides those rows."""

    name: str
    modality: Modality
    dtype: Dtype
    transform: Transform
    pooling: Pooling | None
    dataset: str  # of imported rows
    key: str

    @classmethod
    def of(cls, need: EncoderNeed, found: Encoder) -> Frozen:
        """A need and the encoder that it found."""
        named = {name: getattr(need, name) for name in cls.model_fields if name != "key"}
        return cls(**named, key=digest(found.key()))

    @property
    def need(self) -> EncoderNeed:
        """What finds this encoder again, or one of its name with other weights."""
        return EncoderNeed(**self.model_dump(exclude={"key"}))


@dataclass(frozen=True, eq=False)
class Head:
    """A classifier as a protocol hands it over; arrays, because these travel between processes.

    `tensors` holds `head` (C, T), `scales` (M,) with the target modality's logit scale first,
    `projection` (T, D) where there is one, `mean` (D,) and `factor` () where features are centred,
    and `test_predicted` (N,), its classes for the test split in order. A protocol may add others.
    `encoder` is None where the encoder was trained too. Raises `UserError` where the head does not
    fit `classes`.
    """

    tensors: Mapping[str, NDArray[Any]]
    classes: tuple[str, ...]
    encoder: Frozen | None = None
    scaling: Scaling = "raw"

    def __post_init__(self) -> None:
        shape = self.tensors["head"].shape if "head" in self.tensors else None
        if not shape or len(shape) != 2 or shape[0] != len(self.classes):
            raise UserError(f"a head of shape {shape} does not fit {len(self.classes)} classes")

    @property
    def width(self) -> int:
        """Columns of the features that it reads."""
        return int(self.tensors.get("projection", self.tensors["head"]).shape[1])

    def inputs(self, features: Tensor | NDArray[Any]) -> Tensor:
        """What the shared head reads (N, T): frozen features (N, D), scaled and projected."""
        import torch

        x = torch.as_tensor(features)
        if x.ndim != 2 or x.shape[1] != self.width:
            shape = tuple(x.shape)
            raise UserError(f"features of shape {shape}: this head reads {self.width} columns")
        constants = {
            name: self._double(name) for name in ("mean", "factor") if name in self.tensors
        }
        x = scaled(x.double(), self.scaling, **constants)
        return x @ self._double("projection").T if "projection" in self.tensors else x

    def logits(self, features: Tensor | NDArray[Any]) -> Tensor:
        """Logits (N, C) of frozen features (N, D), with the target's scale.

        In float64, so that a near tie does not depend on a machine's order of summation.
        """
        return self.inputs(features) @ self._double("head").T * self._double("scales")[0]

    def classify(
        self, features: Tensor | NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The most probable class (N,) of each row of features (N, D), and its probability (N,)."""
        import torch

        parts = torch.split(torch.as_tensor(features), ROWS)
        best = [self.logits(part).softmax(1).max(1) for part in parts]
        labels, probabilities = (torch.cat([pair[i] for pair in best]).numpy() for i in (1, 0))
        return labels, probabilities

    def _double(self, name: str) -> Tensor:
        import torch

        return torch.tensor(self.tensors[name], dtype=torch.float64)


class About(Closed):
    """The JSON in a file's header: the job, its figures, what the tensors mean."""

    format: Literal[1] = FORMAT
    id: str
    recipe: str
    cell: dict[str, Scalar]
    seed: int
    spec: dict[str, Any]  # with `inputs` (fingerprints of data and weights) what the id is made of
    inputs: dict[str, str]
    metrics: dict[str, float]
    classes: tuple[str, ...]
    encoder: Frozen | None
    scaling: Scaling
    tensors: dict[str, str]  # sha256 by name
    check: str = ""  # digest of everything above

    def sealed(self) -> About:
        """The same with its own digest."""
        return self.model_copy(update={"check": self._digest()})

    @property
    def intact(self) -> bool:
        """Whether nothing changed since it was sealed."""
        return self.check == self._digest()

    def _digest(self) -> str:
        return digest(self.model_dump(mode="json", exclude={"check"}), length=64)

    def __str__(self) -> str:
        return f"{self.recipe} {_at(self.cell, self.seed)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredHead(Head):
    """A head that was read from its file, and the job that left it."""

    about: About


@dataclass(frozen=True)
class Shelf:
    """Where the heads of one recipe may lie: below the folder of its records, or the cache."""

    records: Path
    cache: Path

    def folder(self, place: Place) -> Path:
        """The heads of a place; those of all recipes lie together in the cache."""
        return (self.records if place == "results" else self.cache) / "heads"

    def path(self, place: Place, job: str) -> Path:
        """The file of a job's head, whether or not it is there."""
        return self.folder(place) / f"{job}.safetensors"

    def find(self, job: str) -> Path | None:
        """The file of a job's head in the first place that has it."""
        paths = (self.path(place, job) for place in PLACES)
        return next((path for path in paths if path.is_file()), None)


# Finding


def matching(recipe: Recipe, results: Path, cache: Path) -> list[tuple[Record, Path]]:
    """The recipe's jobs that have a stored head, each once, in plan order; reads records only."""
    shelf = Shelf(results / recipe.id, cache)
    files = ((record, shelf.find(record.id)) for record in _recorded(recipe, results))
    return [(record, path) for record, path in files if path]


def find(recipe: Recipe, results: Path, cache: Path) -> StoredHead:
    """The head of the one cell and seed that a narrowed recipe (`--only`, `--seed`) leaves.

    Raises `MissingInput` where no head of it is stored, `UserError` where several are.
    """
    found = matching(recipe, results, cache)
    if not found:
        done, jobs = len(_recorded(recipe, results)), len({job.spec_id for job in recipe.jobs()})
        what = f"no stored head of {recipe.id}: of {jobs} jobs that match, {done} have a record"
        hint = f"`umlbench run {recipe.source} --heads results` keeps heads, of done jobs too"
        raise MissingInput(f"{what} in {results} and none a head there or in the cache", hint)
    if len(found) > 1:
        names = [_at(record.cell, record.seed) for record, _ in found]
        rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        what = f"{len(names)} stored heads of {recipe.id} match: {'; '.join(names[:SHOWN])}{rest}"
        raise UserError(what, "leave one: --only AXIS=VALUE,... and --seed N")
    return load(found[0][1])


def _recorded(recipe: Recipe, results: Path) -> list[Record]:
    """The records behind the recipe's cells, each once, in plan order."""
    from umlbench import reporting

    report = reporting.build(recipe, Store(results, recipe.id).load())
    return list({record.id: record for record in report.records}.values())


def _at(cell: Mapping[str, Scalar], seed: int) -> str:
    return " ".join([*(f"{axis}={value}" for axis, value in cell.items()), f"seed={seed}"])


# Writing and reading


def save(path: Path, head: Head, record: Record) -> None:
    """Write the head of the job that left `record`; whole or not at all.

    Floating-point tensors become float32. Raises `StorageError` where the disk fails.
    """
    import numpy as np
    from safetensors.numpy import save as packed

    tensors = {
        name: np.asarray(x, np.float32 if np.issubdtype(x.dtype, np.floating) else None, order="C")
        for name, x in head.tensors.items()
    }
    about = About(
        id=record.id,
        recipe=record.recipe,
        cell=dict(record.cell),
        seed=record.seed,
        spec=dict(record.spec),
        inputs=dict(record.inputs),
        metrics=dict(record.metrics),
        classes=head.classes,
        encoder=head.encoder,
        scaling=head.scaling,
        tensors={name: content_digest(x) for name, x in tensors.items()},
    )
    body = packed(tensors, {HEADER: about.sealed().model_dump_json()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, body)
    except (OSError, StorageError) as error:
        what = error.message if isinstance(error, StorageError) else f"cannot write {path}: {error}"
        hint = "free space, or keep heads in the other place (--heads results or cache)"
        raise StorageError(what, f"{hint}; records stored so far are kept") from error


def load(path: Path) -> StoredHead:
    """The head in a file. Raises `MissingInput` without one, `StorageError` where it is damaged."""
    header, tensors = _read(path)
    try:
        about = About.model_validate_json(header)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its header"
        raise _damaged(path, f"does not describe its head: {where}: {first['msg']}") from error
    sums = {name: content_digest(x) for name, x in tensors.items()}
    if not about.intact or sums != about.tensors:
        raise _damaged(path, "differs from its own checksum")
    try:
        return StoredHead(tensors, about.classes, about.encoder, about.scaling, about=about)
    except UserError as error:
        raise _damaged(path, error.message) from error


def _read(path: Path) -> tuple[str, dict[str, NDArray[Any]]]:
    """The JSON in the header, and every tensor."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        hint = "`umlbench run ... --heads results` keeps the heads of a recipe"
        raise MissingInput(f"{path}: no such file", hint)
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise _damaged(path, "is not a whole safetensors file") from error
    if header is None:
        raise UserError(f"{path}: holds no head of umlbench", "name a file of a `heads` folder")
    return header, tensors


def _damaged(path: Path, what: str) -> StorageError:
    hint = "remove it; `umlbench run ... --heads` with its place makes it again"
    return StorageError(f"{path}: {what}", hint)
