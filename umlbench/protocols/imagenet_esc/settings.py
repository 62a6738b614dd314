"""The settings of a cell with sounds, photos and text."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from umlbench.encoders import BatchNorm, Dtype, Pooling, Transform
from umlbench.errors import nearest
from umlbench.models.scaling import Scaling
from umlbench.protocols.linear_probe.modalities import Start
from umlbench.protocols.linear_probe.settings import METHODS, Budget, Method, plausible_encoder

MODALITIES = ("audio", "image", "text")
TARGETS = ("audio", "image")
OF_MODALITY = {  # what only one modality reads, whatever its part
    "audio": {"audio_encoder", "audio_scaling", "batch_norm"},
    "image": {"image_encoder", "image_scaling", "transform"},
    "text": {"text_encoder", "text_scaling", "text_type", "text_pooling", "text_shots"},
}


class Settings(Budget):
    """One cell of tables 25 and 26 (protocol 4.5).

    `modalities` are joined by `+`; the first is the target, with `shots` training samples a class,
    the others help: sounds and photos with `auxiliary_shots` a class, text with `text_shots` (null:
    all; "average": one mean vector). An `..._alpha` of 0 takes its modality away: the cell is then
    one job with the cell that does not name it.

    `method` says where the head starts and whether what helps keeps its labels; the means of
    `uml_init` are those of text where it takes part, else of the other modality. `space` is what
    the head reads: the vectors of that same modality ("auxiliary"), or those of the "widest";
    modalities of another width reach it through projections.
    """

    dataset: Literal["esc19", "esc27", "esc10"]
    modalities: str
    method: Literal["uml", "uml_init", "uml_permuted", "uml_init_permuted"] = "uml"
    shots: int = Field(default=1, ge=1)
    auxiliary_shots: int = Field(default=1, ge=1)
    space: Literal["auxiliary", "widest"] = "auxiliary"
    audio_encoder: str = "audioclip"
    batch_norm: BatchNorm = "train"
    image_encoder: str = "vit_small_patch14_dinov2.lvd142m"
    transform: Transform = "clip"
    text_encoder: str = "openlm-research/open_llama_3b_v2"
    text_type: str = "classname"
    text_pooling: Pooling | None = None
    text_shots: int | Literal["average"] | None = None
    dtype: Dtype = "float32"  # of image and text; sounds are encoded in float32
    audio_scaling: Scaling = "raw"
    image_scaling: Scaling = "raw"
    text_scaling: Scaling = "raw"
    centred_norm: float = Field(default=45.0, gt=0)
    audio_alpha: float = Field(default=1.0, ge=0)
    image_alpha: float = Field(default=1.0, ge=0)
    text_alpha: float = Field(default=1.0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=8, ge=1)
    learnable_scale: bool = False
    scale: float = Field(default=1.0, gt=0)
    patience: int = Field(default=5, ge=1)

    @property
    def target(self) -> str:
        """The modality that is classified."""
        return self.modalities.split("+")[0]

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """The modalities that help, text before the others; those of weight 0 do not."""
        named = self.modalities.split("+")[1:]
        return tuple(name for name in reversed(MODALITIES) if name in named and self.alpha(name))

    @property
    def taking_part(self) -> tuple[str, ...]:
        """The target and the modalities that help it."""
        return (self.target, *self.auxiliaries)

    @property
    def made_of(self) -> Method:
        """The parts of the method."""
        return METHODS[self.method if self.auxiliaries else "unimodal"]

    @property
    def starts_from(self) -> Start:
        """Where the head starts."""
        return self.made_of.head

    def alpha(self, modality: str) -> float:
        """The weight of an auxiliary modality's loss."""
        return float(getattr(self, f"{modality}_alpha"))

    def share(self, modality: str) -> tuple[int, float]:
        """Rows of an auxiliary modality a step (as many as of the target), and its loss' weight."""
        return self.batch_size, self.alpha(modality)

    def scaling(self, modality: str) -> Scaling:
        """What is done to the frozen features of one modality."""
        found: Scaling = getattr(self, f"{modality}_scaling")
        return found

    def identity(self) -> dict[str, Any]:
        """All fields that have an effect on who takes part."""
        present = self.taking_part
        unused = {f"{name}_alpha" for name in MODALITIES if name not in self.auxiliaries}
        unused |= {field for m in set(MODALITIES) - set(present) for field in OF_MODALITY[m]}
        unused |= set() if self.auxiliaries else {"method", "space"}
        unused |= set() if set(self.auxiliaries) - {"text"} else {"auxiliary_shots"}
        unused |= set() if {"image", "text"} & set(present) else {"dtype"}
        unused |= set() if "centred" in map(self.scaling, present) else {"centred_norm"}
        found = {**self.model_dump(mode="json"), "modalities": "+".join(present)}
        return {name: value for name, value in found.items() if name not in unused}

    _known_encoders = field_validator("audio_encoder", "image_encoder", "text_encoder")(
        plausible_encoder
    )

    @field_validator("modalities")
    @classmethod
    def _known_modalities(cls, joined: str) -> str:
        names = [name.strip() for name in joined.split("+")]
        for number, name in enumerate(names):
            if name not in MODALITIES:
                known = f"known: {', '.join(MODALITIES)}, joined by +"
                raise ValueError(f"unknown modality '{name}'{nearest(name, MODALITIES)} ({known})")
            if name in names[:number]:
                raise ValueError(f"'{name}' is named twice")
        if names[0] not in TARGETS:
            raise ValueError(f"'{names[0]}' cannot be the target: begin with audio or image")
        return "+".join(names)

    @field_validator("text_shots")
    @classmethod
    def _some_text(cls, shots: int | str | None) -> int | str | None:
        if isinstance(shots, int) and shots < 1:
            raise ValueError(f"must be at least 1, not {shots}: leave text out of modalities")
        return shots

    @model_validator(mode="after")
    def _photos_can_train(self) -> Settings:
        if self.dataset == "esc10" and self.target == "image":
            raise ValueError("esc10 has one photo a class: image cannot be its target")
        return self
