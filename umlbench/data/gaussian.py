"""The Gaussian two-modality data of the paper's section 3.1 and appendix E.14.

One modality observes ``A_c theta_c + A_p theta_p + noise``: a common latent, a private latent and
isotropic noise, all Gaussian and drawn anew for every row. Rows of two modalities are therefore
never paired. Projections depend on the seed and the shape only, so that training and validation
rows of one seed are seen through the same matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from umlbench.seeds import torch_stream

if TYPE_CHECKING:
    import torch

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Attenuation:
    """What training rows lose: common latents after the first `kept` are scaled by `factor`."""

    kept: int
    factor: float


@dataclass(frozen=True)
class View:
    """How one modality sees the latents.

    The entries of its projections are N(0, `scale`^2); `noise_variance` is the variance of every
    observed feature's noise.
    """

    modality: str
    common_dim: int
    private_dim: int
    observed_dim: int
    scale: float
    noise_variance: float

    def projection(self, seed: int) -> torch.Tensor:
        """``[A_c A_p]`` transposed: (common + private, observed), the common rows first."""
        import torch

        shape = (self.common_dim + self.private_dim, self.observed_dim)
        stream = torch_stream("projection", seed, modality=self.modality, shape=list(shape))
        return self.scale * torch.randn(shape, generator=stream, dtype=torch.float32)

    def sample(
        self, seed: int, split: Split, count: int, attenuation: Attenuation | None = None
    ) -> torch.Tensor:
        """`count` rows of one split: (count, observed), float32, on the CPU.

        The draws depend on neither `scale`, `noise_variance` nor `attenuation`: recipes that differ
        in those alone compare the same latents and the same noise.
        """
        import torch

        projection = self.projection(seed)
        latents, observed = projection.shape
        stream = torch_stream(
            "rows", seed, modality=self.modality, split=split, shape=[count, latents, observed]
        )
        theta = torch.randn(count, latents, generator=stream, dtype=torch.float32)
        noise = torch.randn(count, observed, generator=stream, dtype=torch.float32)
        if attenuation is not None:
            theta[:, attenuation.kept : self.common_dim] *= attenuation.factor
        return theta @ projection + math.sqrt(self.noise_variance) * noise
