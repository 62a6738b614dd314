"""The settings of a self-supervised cell."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from umlbench import data
from umlbench.data import sequence_sets
from umlbench.encoders import Dtype, Tokens, Transform
from umlbench.errors import nearest
from umlbench.schema import Closed


def _names(given: Any) -> Any:
    """A list of names, or one text `audio+text`, which can be the value of an axis."""
    if isinstance(given, str):
        given = given.split("+")
    return tuple(given) if isinstance(given, list) else given


UML_ONLY = {"auxiliary", "auxiliary_weight", "warmup_epochs", "warmup", "samples"}
"""Without effect on `unimodal`."""
TOKENS_ONLY = {"tokens", "transform", "dtype", "stored"}
TEXT_TOKENS = {"text_encoder", "text_type", "text_aliases"}
"""Without effect on sets of sequences; the latter on `unimodal` too."""


class Settings(Closed):
    """One cell; `dataset` is a set of sequences (`umlbench.data.sequence_sets`).

    With an `encoder` it is a set of photos instead, whose `image` tokens are the target and the
    `text_encoder`'s states of its sentences the auxiliary `text` (section B.4.1, vision and text);
    `stored` is what the feature cache keeps of them. Appendix B.4.1 varies learning rate, width and
    warm-up inside a job.

    `auxiliary` is a list of modalities, or one text, `audio+text`, where it is an axis. `width` is
    the trunk's z. `iterations`, where it is given, counts instead of `epochs`; an epoch is one pass
    over the target. `warmup: auxiliary` is the released code: the auxiliaries
    train alone in epochs 0 to `warmup_epochs`, that is in one more than it says, and -1 means
    together from the start. `warmup: target` is the paper's text: the target trains alone in the
    first `warmup_epochs` epochs, none for 0. `mask_padding` keeps the zeros behind a sequence out
    of losses and means; the released code counts them. `samples` follows every
    neuron's correlation between the target's and an auxiliary's pathway (figure 10), over `all`
    samples or those of one class.
    """

    dataset: str
    encoder: str | None = None
    text_encoder: str = "openlm-research/open_llama_3b_v2"
    text_type: str = "cupl"
    text_aliases: Literal["none", "mapped"] = "none"
    tokens: Tokens = "cls+patches"
    transform: Transform = "clip"
    dtype: Dtype = "float32"
    stored: Dtype = "float32"
    method: Literal["unimodal", "uml"]
    target: str = "vision"
    auxiliary: Annotated[tuple[str, ...], BeforeValidator(_names)] = ("text",)
    width: int = Field(default=40, ge=1)
    layers: int = Field(default=5, ge=1)
    heads: int = Field(default=5, ge=1)
    feedforward: int = Field(default=2048, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    positions: Literal["none", "sinusoidal", "learned"] = "none"
    mask_padding: bool = False
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer: Literal["adam", "adamw"] = "adam"
    schedule: Literal["constant", "cosine"] = "constant"
    epochs: int = Field(default=100, ge=1)
    iterations: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=32, ge=1)
    target_weight: float = Field(default=1.0, gt=0)
    auxiliary_weight: float = Field(default=1.0, gt=0)
    warmup_epochs: int = Field(default=-1, ge=-1)
    warmup: Literal["auxiliary", "target"] = "auxiliary"
    eval_batch_size: int = Field(default=32, ge=1)
    probe: Literal["logistic", "scaled_liblinear"] = "logistic"
    probe_iterations: int = Field(default=200, ge=1)
    samples: str = "none"

    @property
    def others(self) -> tuple[str, ...]:
        """The auxiliary modalities that train."""
        return self.auxiliary if self.method == "uml" else ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """What is trained on, the target first."""
        return (self.target, *self.others)

    @property
    def alone(self) -> int:
        """Epochs in which one side trains alone."""
        if not self.others:
            return 0
        return self.warmup_epochs + 1 if self.warmup == "auxiliary" else max(0, self.warmup_epochs)

    def weights(self, epoch: int) -> dict[str, float]:
        """The loss weight of every modality that trains in an epoch, counted from 0."""
        target = {self.target: self.target_weight}
        others = dict.fromkeys(self.others, self.auxiliary_weight)
        if epoch >= self.alone:
            return target | others
        return others if self.warmup == "auxiliary" else target

    def steps(self, per_epoch: int) -> int:
        """Iterations of a training whose epochs have `per_epoch`."""
        return self.iterations or self.epochs * per_epoch

    def identity(self) -> dict[str, Any]:
        """All fields, without those that have no effect on the method."""
        unused = set() if self.others else set(UML_ONLY)
        if self.iterations:
            unused.add("epochs")
        if self.encoder is None:
            unused |= {"encoder", *TOKENS_ONLY, *TEXT_TOKENS}
        elif not self.others:
            unused |= TEXT_TOKENS
        found = self.model_dump(mode="json", exclude=unused)
        # A file's place is not what it holds: the fingerprint among the inputs says that.
        return {**found, "dataset": self.dataset.partition("@")[0]}

    @model_validator(mode="after")
    def _known_dataset(self) -> Settings:
        photos = self.encoder is not None
        if not (data.is_known if photos else sequence_sets.is_known)(self.dataset):
            known = data.NAMES if photos else sequence_sets.NAMES
            raise ValueError(f"unknown dataset '{self.dataset}'{nearest(self.dataset, known)}")
        return self

    @model_validator(mode="after")
    def _modalities_differ(self) -> Settings:
        if not self.auxiliary or "" in self.auxiliary:
            raise ValueError("auxiliary: names no modality; `method: unimodal` trains without one")
        named = (self.target, *self.auxiliary)
        twice = [name for name in named if named.count(name) > 1]
        if twice and self.others:
            raise ValueError(f"auxiliary: '{twice[0]}' is named twice, as target or auxiliary")
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> Settings:
        if not self.iterations and self.alone >= self.epochs:
            raise ValueError(f"warmup_epochs: {self.alone} of {self.epochs} epochs train one side")
        return self

    @model_validator(mode="after")
    def _width_fits(self) -> Settings:
        if self.width % self.heads:
            raise ValueError(f"width: {self.width} is not divisible by heads ({self.heads})")
        if self.positions == "sinusoidal" and self.width % 2:
            raise ValueError(f"width: {self.width} is odd, sinusoidal positions come in pairs")
        return self
