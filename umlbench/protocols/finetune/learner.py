"""Who learns: a tower per modality and the shared head behind them.

The target's tower is the backbone. Text has none where its vectors are frozen, else its encoder:
all of it, or adapters (LoRA) on its attention.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from umlbench.encoders.text import Transformer, pool
from umlbench.errors import UserError
from umlbench.models.head import SharedHead, linear_init
from umlbench.seeds import torch_stream

if TYPE_CHECKING:
    from umlbench.encoders import Pooling
    from umlbench.protocols.finetune.settings import Mode, Settings

ADAPTER = "lora_"  # in the name of every weight that LoRA adds


class Learner(nn.Module):
    """`towers[m]` makes the vectors of modality m, which `head` turns into logits.

    What requires a gradient now is what learns. `apart` are the modules whose learning rate is
    their own, and which may learn later than the rest: by default the auxiliary towers.
    """

    def __init__(
        self,
        towers: Sequence[nn.Module],
        head: SharedHead,
        mode: Mode,
        apart: Sequence[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.towers, self.head, self.mode = nn.ModuleList(towers), head, mode
        self.called: list[Any] = list(towers)  # what runs: a tower, or its compiled form
        self.trained = {n for n, p in self.named_parameters() if p.requires_grad}
        self._apart = list(towers[1:] if apart is None else apart)
        self._waits = False
        self.train(mode != "evaluation")

    def logits(self, modality: int, *inputs: Tensor) -> Tensor:
        """Logits (B, C) of one modality's inputs; 0 is the target."""
        return self.head.logits(self.called[modality](*inputs), modality)

    def compile_backbone(self) -> None:
        """Compile the target's tower on its first call (torch.compile)."""
        self.called[0] = torch.compile(self.towers[0])

    def after_validation(self) -> None:
        """Back to training, which the released code forgets."""
        self.train(self.mode == "corrected")

    def learning(self) -> Iterator[nn.Parameter]:
        """The parameters that are trained, those that wait among them."""
        return (p for n, p in self.named_parameters() if n in self.trained)

    def apart(self) -> list[nn.Parameter]:
        """Those of them whose learning rate is their own."""
        mine = {id(p) for module in self._apart for p in module.parameters()}
        return [p for p in self.learning() if id(p) in mine]

    def wait(self, waits: bool) -> None:
        """Whether what learns at a rate of its own stays as it is for now."""
        if waits != self._waits:
            self._waits = waits
            for parameter in self.apart():
                parameter.requires_grad_(not waits)

    def statistics(self) -> dict[str, Tensor]:
        """The buffers that belong to the weights, by name: those of BatchNorm."""
        kept = self.state_dict().keys()
        return {name: buffer for name, buffer in self.named_buffers() if name in kept}

    def state(self) -> dict[str, Tensor]:
        """What training changes, by name: trained parameters and statistics. Not copied."""
        parameters = {n: p.detach() for n, p in self.named_parameters() if n in self.trained}
        return parameters | self.statistics()

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take a `state` over; raises `KeyError` where the names differ."""
        mine = self.state()
        if mine.keys() != state.keys():
            raise KeyError(f"another model's weights: {sorted(mine.keys() ^ state.keys())[:3]}")
        for name, value in state.items():
            mine[name].copy_(value)


class Unit(nn.Module):
    """A tower whose vectors have length 1."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, *inputs: Tensor) -> Tensor:
        """(B, width)."""
        return nn.functional.normalize(self.tower(*inputs), dim=1)


class TextTower(nn.Module):
    """A transformer and its pooling: token numbers and mask (B, L) to vectors (B, width)."""

    def __init__(self, model: Any, pooling: Pooling) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, width) float32."""
        hidden = self.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return pool(hidden.float(), mask, self.pooling)

    def train(self, mode: bool = True) -> TextTower:
        """As usual; layers that save memory go on doing so, which they would in training only."""
        super().train(mode)
        for layer in self.model.modules():
            if getattr(layer, "gradient_checkpointing", False):
                layer.training = True  # of the layer alone: its dropout stays as `mode` says
        return self


def text_tower(encoder: Transformer, settings: Settings, seed: int) -> nn.Module:
    """The text encoder as a tower that learns, by adapters or as a whole.

    Raises `UserError` where adapters are asked for and peft is not installed.
    """
    whole = settings.text_update == "full"
    model = encoder.trainable("float32" if whole else settings.dtype)
    if not whole:
        add_adapters(model, settings.lora_rank, seed)
    if settings.gradient_checkpointing:
        names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")  # its old one
        enable = next(getattr(model, name) for name in names if hasattr(model, name))
        enable({"use_reentrant": False})
    tower = TextTower(model, encoder.pooling)
    return Unit(tower) if settings.text_scaling == "unit" else tower


def add_adapters(model: Any, rank: int, seed: int) -> None:
    """LoRA on the attention projections that peft knows for this kind of model, in place.

    Everything else is frozen. The first factor starts as peft's does, U(-1/sqrt(in), 1/sqrt(in)),
    from a stream of its own; the second at zero, so that training starts at the given model.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        what = "text_update 'lora' needs the package peft"
        raise UserError(what, "pip install 'umlbench[finetune]', or text_update: full") from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, bias="none")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GPT-2's transposed layers, which peft sees to itself
            inject_adapter_in_model(config, model)
    except ValueError as error:
        what = f"peft knows no attention projections of a '{model.config.model_type}'"
        raise UserError(what, "choose text_update: full") from error
    stream = torch_stream("init", seed, layer="lora")
    for name, parameter in model.named_parameters():
        if ADAPTER in name:
            parameter.data = parameter.data.float()  # beside a frozen part in halves too
        if f"{ADAPTER}A" in name:
            parameter.data.copy_(linear_init(parameter.shape[0], parameter.shape[1], stream))
