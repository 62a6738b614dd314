"""The settings of a fine-tuning cell: a linear probe's, and how backbone and text learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from umlbench import encoders
from umlbench.encoders import Dtype
from umlbench.models.scaling import Scaling
from umlbench.needs import IMPORTED
from umlbench.protocols.linear_probe.settings import MEASURES, NO_TEXT, not_of_transformers
from umlbench.protocols.linear_probe.settings import Settings as ProbeSettings

Mode = Literal["faithful", "corrected", "evaluation"]

UNFROZEN = ("text_update", "text_learning_rate", "lora_rank")  # read where text learns only


class Settings(ProbeSettings):
    """A linear probe's cell whose backbone learns (section B.4.2; Tables 6 to 9, 20, 28, 29).

    `dtype` is that of the frozen text encoder; the backbone's weights are float32, and `precision`
    what it computes in (autocast). `mode` says when layers such as BatchNorm and dropout behave as
    in training: `faithful` up to the first validation only, as the released code does by mistake;
    `corrected` in every step; `evaluation` in none. `micro_batch` rows go through the network at
    once, their gradients summed: the same step up to rounding, except that BatchNorm in training
    sees these rows alone. `compiled` is torch.compile.

    `text_training` says whether the text encoder learns too, by `text_update`: adapters of
    `lora_rank` on its attention (their scale is twice the rank), or all of it. Its learning rate is
    the common one unless `text_learning_rate` names another. `gradient_checkpointing` trades its
    time for memory and changes no figure.
    """

    no_text: ClassVar[Mapping[str, str | int]] = {**NO_TEXT, "text_training": "none"}

    learning_rate: float = Field(default=5e-5, gt=0)
    batch_size: int = Field(default=64, ge=1)
    mode: Mode = "faithful"
    precision: Dtype = "float32"
    micro_batch: int | None = Field(default=None, ge=1)
    compiled: bool = False
    text_training: Literal["none", "frozen", "unfrozen"] = "frozen"
    text_update: Literal["lora", "full"] = "lora"
    text_learning_rate: float | None = Field(default=None, gt=0)
    lora_rank: int = Field(default=16, ge=1)
    gradient_checkpointing: bool = True

    @property
    def target_dtype(self) -> Dtype:
        """The backbone's weights are float32 whatever it computes in."""
        return "float32"

    @property
    def text_learns(self) -> bool:
        """Whether text takes part, and its encoder is trained with it."""
        return self.made_of.text and self.text_training == "unfrozen"

    @property
    def reads_vectors(self) -> bool:
        """Whether sentences are encoded once, before training: to be read, or to start the head."""
        return self.made_of.text and (not self.text_learns or self.starts_from == "means")

    def identity(self) -> dict[str, Any]:
        """See `ProbeSettings.identity`."""
        unused = {"gradient_checkpointing"}
        unused |= set() if self.made_of.text else {"dtype", "text_training"}
        unused |= set() if self.text_learns else set(UNFROZEN)
        unused |= {"lora_rank"} if self.text_update == "full" else set()
        return {name: v for name, v in super().identity().items() if name not in unused}

    @field_validator("encoder")
    @classmethod
    def _can_learn(cls, name: str) -> str:
        if name in encoders.NAMES or name.startswith(IMPORTED):
            raise ValueError(f"'{name}' has no weights to train: name a model of timm or open_clip")
        return name

    @field_validator("scaling")
    @classmethod
    def _of_moving_features(cls, scaling: Scaling) -> Scaling:
        if scaling == "centred":
            raise ValueError("'centred' needs frozen features: take raw or unit")
        return scaling

    @field_validator(*MEASURES)
    @classmethod
    def _not_measured(cls, asked: Any) -> Any:
        if asked:
            raise ValueError("is measured on frozen features: it is the linear probe's alone")
        return asked

    @model_validator(mode="after")
    def _text_can_learn(self) -> Settings:
        if self.text_learns:
            faults = list(self._faults_of_learning_text())
            if faults:
                raise ValueError(f"text_training unfrozen: {'; '.join(faults)}")
        return self

    def _faults_of_learning_text(self) -> list[str]:
        faults = []
        if wrong := not_of_transformers(self.text_encoder):
            faults.append(f"text_encoder {wrong}")
        if self.text_shots == "average":
            faults.append("text_shots 'average' needs frozen vectors, take a number or null")
        if self.text_scaling == "centred":
            faults.append("text_scaling 'centred' needs frozen vectors")
        return faults
