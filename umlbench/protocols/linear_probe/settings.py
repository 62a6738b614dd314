"""The settings of a linear probe's cell, and what its methods are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from umlbench import data, encoders
from umlbench.encoders import Dtype, Pooling, Transform
from umlbench.encoders.weights import PUBLISHED, split_name
from umlbench.errors import nearest
from umlbench.models.scaling import Scaling
from umlbench.needs import IMPORTED
from umlbench.protocols.linear_probe.modalities import Start
from umlbench.schema import Closed

if TYPE_CHECKING:
    from umlbench.sweep import Schedule

NO_TEXT: Mapping[str, str | int] = {  # the value of an axis that takes the text away
    "text_dataset": "none",
    "text_type": "none",
    "text_encoder": "none",
    "text_shots": 0,
}


@dataclass(frozen=True)
class Method:
    """Who takes part in training, and where the head starts.

    `text`: its batches join the loss. `projection`: the target reaches the head through a
    projection of the text's width (where the two widths differ, for a method with text).
    `labels`: whether text keeps its classes, or a permutation of them (a control).
    """

    text: bool = True
    projection: bool = True
    head: Start = "random"
    labels: Literal["true", "permuted"] = "true"


METHODS: Mapping[str, Method] = {
    # The paper's three rows.
    "unimodal": Method(text=False, projection=False),
    "uml": Method(),
    "uml_init": Method(head="means"),
    # Controls that the paper lacks: what is left of a gain without what text says.
    "unimodal_wide": Method(text=False),
    "unimodal_zero": Method(text=False, projection=False, head="zero"),
    "uml_permuted": Method(labels="permuted"),
    "uml_init_permuted": Method(head="means", labels="permuted"),
}

MethodName = Literal[
    "unimodal",
    "uml",
    "uml_init",
    "unimodal_wide",
    "unimodal_zero",
    "uml_permuted",
    "uml_init_permuted",
]

TEXT_ONLY = {  # without effect on a method without text
    "text_dataset",
    "text_type",
    "text_aliases",
    "text_pooling",
    "text_scaling",
    "text_shots",
    "text_ratio",
    "alpha",
}

FITTED = {"text_dataset", "text_type", "text_aliases"}  # of those, what a fitted encoder sees

MEASURES = ("test_sets", "geometry", "plane")  # of the selected head; unset, they are no settings


class Budget(Closed):
    """How long a trial trains: what every classifier's cell has."""

    max_iterations: int = Field(default=12800, ge=1)
    warmup_iterations: int = Field(default=50, ge=0)
    warmup_min_lr: float = Field(default=1e-5, gt=0)
    eval_every: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=1)

    @property
    def schedule(self) -> Schedule:
        """How long a trial trains."""
        from umlbench.sweep import Schedule

        return Schedule(
            max_iterations=self.max_iterations,
            warmup_iterations=self.warmup_iterations,
            warmup_min_lr=self.warmup_min_lr,
            eval_every=self.eval_every,
            patience=self.patience,
        )

    @model_validator(mode="after")
    def _warmup_ends(self) -> Budget:
        if self.warmup_iterations >= self.max_iterations:
            raise ValueError(
                f"warmup_iterations ({self.warmup_iterations}) is not below max_iterations "
                f"({self.max_iterations})"
            )
        return self


def known_dataset(name: str) -> str:
    """The name itself; `ValueError` with the nearest one where there is no such data set."""
    if not data.is_known(name):
        raise ValueError(f"unknown dataset '{name}'{nearest(name, data.NAMES)}")
    return name


def plausible_encoder(name: str) -> str:
    """Any model of timm, open_clip or transformers may be meant, but not a slip of our own."""
    close = get_close_matches(name, encoders.NAMES, n=1, cutoff=0.8)
    if close and name not in encoders.NAMES:
        raise ValueError(f"unknown encoder '{name}', did you mean '{close[0]}'?")
    return name


def not_of_transformers(name: str) -> str:
    """Why an encoder cannot be a model of transformers; empty where it may be one."""
    published = PUBLISHED.get(split_name(name)[0])
    other = published is not None and published.repo.startswith("timm/")
    other = other or name in encoders.NAMES or name.startswith((IMPORTED, "clip:"))
    return f"'{name}' is no model of transformers" if other else ""


class Settings(Budget):
    """One cell; the grid of Table 5 usually varies the fields from `alpha` on.

    `shots` is the number of training images a class (null: the full training set); `text_shots` of
    sentences a class (null: all; "average": one mean vector). Tables and figures that set text
    beside no text vary one of the fields of `NO_TEXT`: at its value, a method with text is the
    unimodal one, and is one job with it. `text_ratio` is text rows per image
    row of a step. `scale` is the logit scale at the start, trained per modality where
    `learnable_scale` is set. `scaling` and `text_scaling` say what is done to frozen features: as
    they are, each of length 1, or centred on the training set's mean and brought to a mean length
    of `centred_norm`.

    What else is measured with the selected head: its accuracy on `test_sets` of the same classes,
    its `geometry` on the test split, and the `plane` of two classes there, by name.
    """

    no_text: ClassVar[Mapping[str, str | int]] = NO_TEXT

    dataset: str
    encoder: str
    transform: Transform = "clip"
    dtype: Dtype = "float32"
    method: MethodName
    shots: int | None = Field(default=None, ge=1)
    scaling: Scaling = "raw"
    centred_norm: float = Field(default=45.0, gt=0)
    text_dataset: str | None = None  # whose sentences, where not the target's own
    text_type: str = "cupl"
    text_aliases: Literal["none", "mapped"] = "none"
    text_encoder: str = "openlm-research/open_llama_3b_v2"
    text_pooling: Pooling | None = None
    text_scaling: Scaling = "raw"
    text_shots: int | Literal["average"] | None = None
    text_ratio: float = Field(default=1.0, gt=0)
    alpha: float = Field(default=1.0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=32, ge=1)
    learnable_scale: bool = False
    scale: float = Field(default=1.0, gt=0)
    test_sets: list[str] = Field(default_factory=list)
    geometry: bool = False
    plane: list[str] | None = Field(default=None, min_length=2, max_length=2)

    @property
    def made_of(self) -> Method:
        """The parts of the method that is trained."""
        return METHODS[self.trained]

    @property
    def trained(self) -> MethodName:
        """The method, or `unimodal` where the text of a method with text is taken away."""
        absent = any(getattr(self, name) == value for name, value in self.no_text.items())
        return "unimodal" if absent and METHODS[self.method].text else self.method

    @property
    def reads_text(self) -> bool:
        """Whether text is encoded at all: `unimodal_wide` needs its width."""
        return self.made_of.text or self.made_of.projection

    @property
    def fits_text(self) -> bool:
        """Whether the text encoder is made from the sentences, its width included."""
        return self.reads_text and self.text_encoder == "tfidf"

    @property
    def starts_from(self) -> Start:
        """Where the head starts."""
        return self.made_of.head

    def share(self, modality: str) -> tuple[int, float]:
        """Rows of text a step, and the weight of its loss; there is no other `modality`."""
        del modality
        return self.text_batch, self.alpha

    @property
    def target_dtype(self) -> Dtype:
        """What the target's encoder computes in."""
        return self.dtype

    @property
    def texts_of(self) -> str:
        """The data set whose sentences are read."""
        return self.text_dataset or self.dataset

    @property
    def text_batch(self) -> int:
        """Text rows of a step (Tables 27 and 28: the ratio times the image rows)."""
        return max(1, round(self.text_ratio * self.batch_size))

    @property
    def measures(self) -> list[str]:
        """What else is measured with the selected head."""
        return [name for name in MEASURES if getattr(self, name)]

    def identity(self) -> dict[str, Any]:
        """All fields, without those that have no effect on the method or ask for nothing."""
        unused = set() if self.made_of.text else set(TEXT_ONLY)
        unused -= FITTED if self.fits_text else set()
        unused |= set(MEASURES) - set(self.measures)
        unused |= set() if self.reads_text else {"text_encoder"}
        if "centred" not in (self.scaling, self.text_scaling):
            unused.add("centred_norm")
        found = {**self.model_dump(mode="json"), "method": self.trained}
        if self.texts_of == self.dataset:
            found["text_dataset"] = None  # its own, named or not
        return {name: value for name, value in found.items() if name not in unused}

    @field_validator("text_dataset")
    @classmethod
    def _known_text_dataset(cls, name: str | None) -> str | None:
        return name if name in (None, NO_TEXT["text_dataset"]) else known_dataset(str(name))

    @field_validator("test_sets")
    @classmethod
    def _known_test_sets(cls, names: list[str]) -> list[str]:
        for number, name in enumerate(names):
            if known_dataset(name) in names[:number]:
                raise ValueError(f"repeats '{name}'")
        return names

    @field_validator("plane")
    @classmethod
    def _two_classes(cls, names: list[str] | None) -> list[str] | None:
        if names and names[0] == names[1]:
            raise ValueError(f"needs two classes, not '{names[0]}' twice")
        return names

    _known_dataset = field_validator("dataset")(known_dataset)
    _known_encoders = field_validator("encoder", "text_encoder")(plausible_encoder)

    @field_validator("text_shots")
    @classmethod
    def _some_text(cls, shots: int | str | None) -> int | str | None:
        if isinstance(shots, int) and shots < 0:
            raise ValueError(f"must be at least 0 (no text), not {shots}")
        return shots
