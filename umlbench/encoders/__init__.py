"""Frozen encoders: payloads in, one float32 row each out.

An encoder module has `build(setup) -> Encoder`. What decides its rows is in
`key()`, so that stored features are found again exactly when they would come out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast
from typing import Protocol as Interface

from umlbench.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from umlbench.data.samples import Samples

NAMES = ("pixels", "tfidf")

Modality = Literal["image", "text", "audio"]
Dtype = Literal["float32", "float16", "bfloat16"]


class Encoder(Interface):
    """One frozen encoder, ready to encode."""

    @property
    def name(self) -> str:
        """The name recipes use; also the name of its folder in the feature cache."""
        ...

    @property
    def modality(self) -> Modality:
        """What its items are."""
        ...

    @property
    def width(self) -> int:
        """Columns of a row; known without loading weights where possible."""
        ...

    def key(self) -> dict[str, Any]:
        """Every plain value that decides a row; no path, device or batch size.

        Library, name, version or weights hash, layer and pooling, transform or prompt handling,
        compute dtype.
        """
        ...

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        """(n, width) rows; a row depends on its own item only, not on its neighbours."""
        ...


@dataclass(frozen=True)
class Setup:
    """How an encoder is asked to run, and the sentences it is fitted on where it is fitted."""

    device: str = "cpu"
    dtype: Dtype = "float32"
    corpus: Samples | None = None

    def require_float32(self, name: str) -> None:
        """`UserError` where half precision is asked of an encoder that has none."""
        if self.dtype != "float32":
            raise UserError(f"encoder '{name}' computes in float32 only, not in {self.dtype}")


class Builder(Interface):
    """The shape of a module that brings an encoder."""

    def build(self, setup: Setup) -> Encoder:
        """The encoder, ready to encode."""
        ...


def load(
    name: str, *, device: str = "cpu", dtype: Dtype = "float32", corpus: Samples | None = None
) -> Encoder:
    """The encoder called `name`, computing in `dtype` on `device`.

    `corpus` are the sentences that an encoder is fitted on, for those that are fitted (`tfidf`).
    """
    if name not in NAMES:
        raise unknown("encoder", name, NAMES)
    module = cast(Builder, import_module(f"umlbench.encoders.{name}"))
    return module.build(Setup(device, dtype, corpus))
