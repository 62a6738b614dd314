"""What is done to frozen features before a head reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Scaling = Literal["raw", "unit", "centred"]


class Scaler:
    """What is done to frozen features, learned from `reference` (N, width) without labels."""

    def __init__(self, reference: Tensor, scaling: Scaling, norm: float) -> None:
        self.scaling = scaling
        self.constants: dict[str, Tensor] = {}  # what `scaled` needs beside the scaling's name
        if scaling == "centred":
            mean = reference.mean(0)
            length = float((reference - mean).norm(dim=1).mean())
            self.constants = {"mean": mean, "factor": reference.new_tensor(norm / length)}

    def __call__(self, x: Tensor) -> Tensor:
        """The rows of x (N, width), scaled."""
        return scaled(x, self.scaling, **self.constants)


def scaled(
    x: Tensor, scaling: Scaling, mean: Tensor | None = None, factor: Tensor | None = None
) -> Tensor:
    """The rows of x (N, width); `ValueError` for "centred" without `mean` (width,), `factor` ()."""
    if scaling == "raw":
        return x
    if scaling == "centred":
        if mean is None or factor is None:
            raise ValueError("centred features need a mean and a factor")
        return (x - mean) * factor
    from torch.nn.functional import normalize

    return normalize(x, dim=1)
