"""The settings of a cell of Figure 7: which layers start a vision model, and what learns."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from umlbench.encoders import Dtype
from umlbench.protocols.linear_probe.settings import (
    Budget,
    known_dataset,
    not_of_transformers,
    plausible_encoder,
)

Augmentation = Literal["none", "random_resized_crop"]

UNFROZEN = ("stack_learning_rate", "frozen_iterations")  # read where the stack learns only


class Settings(Budget):
    """One cell of section B.4.4.

    The paper states patches, class token, positions, dropout, a two-layer head and the 2000 frozen
    steps; the other defaults are ours.

    The layers of `text_encoder`, a model of transformers, follow the patches: with its weights
    (`initialisation` text), or drawn anew from the seed as its library does (scratch). `backbone`
    says whether they learn: never (frozen), or from step `frozen_iterations` on, at a rate of their
    own (full_finetune). `embedding_norm` keeps the norm of the language model's embeddings, where
    it has one, as part of these layers. `dropout` is that of the embedded patches; the layers' own
    is the language model's.

    Photos are resized and cropped to `image_size` with CLIP's mean and deviation.
    `random_resized_crop` trains on random parts of 8 to 100 percent of the middle of a photo,
    mirrored half of the time. `head_width` is the width between the head's two layers (null: that
    of the language model). `shots`, `precision`, `micro_batch` and `compiled` are those of
    `finetune`.
    """

    dataset: str
    text_encoder: str = "bert-large-uncased"
    initialisation: Literal["text", "scratch"] = "text"
    backbone: Literal["full_finetune", "frozen"] = "full_finetune"
    embedding_norm: bool = True
    frozen_iterations: int = Field(default=2000, ge=0)
    image_size: int = Field(default=224, ge=1)
    patch_size: int = Field(default=16, ge=1)
    head_width: int | None = Field(default=None, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    augmentation: Augmentation = "random_resized_crop"
    shots: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    stack_learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=1024, ge=1)
    precision: Dtype = "float32"
    micro_batch: int | None = Field(default=None, ge=1)
    compiled: bool = False

    @property
    def stack_learns(self) -> bool:
        """Whether the layers learn at all."""
        return self.backbone == "full_finetune"

    def identity(self) -> dict[str, Any]:
        """All fields, without those that only a stack that learns reads."""
        unused = () if self.stack_learns else UNFROZEN
        return {n: v for n, v in super().identity().items() if n not in unused}

    _known_dataset = field_validator("dataset")(known_dataset)

    @field_validator("text_encoder")
    @classmethod
    def _of_transformers(cls, name: str) -> str:
        if wrong := not_of_transformers(name):
            raise ValueError(f"{wrong}: name one that has layers")
        return plausible_encoder(name)

    @model_validator(mode="after")
    def _whole_patches(self) -> Settings:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size ({self.image_size}) is no multiple of patch_size ({self.patch_size})"
            )
        return self
