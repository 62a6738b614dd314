"""The shared autoencoder of the Gaussian experiment (section 3.1, appendix E.14), many at once.

Every parameter has a leading model dimension, so that one call trains a whole stack of
independent models of equal shape. Modalities own a linear map in and a linear map out; the encoder
and the decoder between them are shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

Streams = Callable[[str], Sequence[torch.Generator]]


class Affine(NamedTuple):
    """``inputs @ weight + bias`` per model: weight (models, in, out), bias (models, 1, out)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, inputs: Tensor) -> Tensor:
        """Map inputs (models, rows, in) to (models, rows, out)."""
        return torch.baddbmm(self.bias, inputs, self.weight)

    def then(self, after: Affine) -> Affine:
        """The one map that equals `after` applied to this one."""
        return Affine(torch.bmm(self.weight, after.weight), after(self.bias))


class StackedLinear(nn.Module):
    """`models` independent linear layers; zero until `reset`."""

    def __init__(self, models: int, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(models, fan_in, fan_out))
        self.bias = nn.Parameter(torch.zeros(models, 1, fan_out))

    @property
    def affine(self) -> Affine:
        """The layer's map, to compose with others."""
        return Affine(self.weight, self.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs (models, rows, in) to (models, rows, out)."""
        return self.affine(inputs)

    @torch.no_grad()
    def reset(self, streams: Sequence[torch.Generator]) -> None:
        """Draw each model from its own CPU stream, by `nn.Linear`'s law U(-1/sqrt(in), 1/sqrt(in)).

        Raises `ValueError` where there is not one stream per model.
        """
        bound = 1 / math.sqrt(self.weight.shape[1])
        for weight, bias, stream in zip(self.weight, self.bias, streams, strict=True):
            for part in (weight, bias):
                part.copy_(torch.empty(part.shape).uniform_(-bound, bound, generator=stream))


class SharedAutoencoder(nn.Module):
    """A stack of autoencoders with heads per modality around one shared encoder and decoder.

    Per modality Linear(observed -> width); shared Linear(width -> hidden), ReLU,
    Linear(hidden -> latent); shared Linear(latent -> hidden), ReLU, Linear(hidden -> width); per
    modality Linear(width -> observed). `observed` names the modalities and their dimensions.
    """

    def __init__(
        self, models: int, observed: Mapping[str, int], width: int, hidden: int, latent: int
    ) -> None:
        super().__init__()
        self.in_heads = nn.ModuleDict(
            {name: StackedLinear(models, dim, width) for name, dim in observed.items()}
        )
        self.encoder_in = StackedLinear(models, width, hidden)
        self.encoder_out = StackedLinear(models, hidden, latent)
        self.decoder_in = StackedLinear(models, latent, hidden)
        self.decoder_out = StackedLinear(models, hidden, width)
        self.out_heads = nn.ModuleDict(
            {name: StackedLinear(models, width, dim) for name, dim in observed.items()}
        )

    def reset(self, streams: Streams) -> None:
        """Draw every layer: `streams` gives one CPU stream per model for a layer's name.

        Models that differ in their modalities share the layers that both have.
        """
        for name, layer in self.named_modules():
            if isinstance(layer, StackedLinear):
                layer.reset(streams(name))

    def forward(self, modality: str, inputs: Tensor) -> Tensor:
        """Reconstruct inputs (models, rows, observed) of one modality.

        Neighbouring layers without a ReLU between them are multiplied first: the rows then cross
        three narrow maps instead of six wide ones. The function and its gradients are the same.
        """
        encode = _affine(self.in_heads[modality]).then(self.encoder_in.affine)
        code = self.encoder_out.affine.then(self.decoder_in.affine)
        decode = self.decoder_out.affine.then(_affine(self.out_heads[modality]))
        return decode(code(encode(inputs).relu()).relu())


def _affine(layer: nn.Module) -> Affine:
    """The map of a layer taken from a `ModuleDict`, which forgets its values' type."""
    if not isinstance(layer, StackedLinear):
        raise TypeError(f"expected a StackedLinear, got {type(layer).__name__}")
    return layer.affine
