"""Audio encoders: AudioCLIP's audio tower (`audioclip`) and transformers' CLAP models.

`encoder` is what they share, `audioclip` reads the checkpoint of the tower whose modules are in
`tower` and `fbsp`, `clap` brings transformers' models. The built-in `logmel` needs none of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umlbench.encoders.weights import split_name

if TYPE_CHECKING:
    from umlbench.encoders import Encoder, Setup


def build(name: str, setup: Setup) -> Encoder:
    """`audioclip`, or a model of transformers by its hub id or folder; loads no weights yet.

    Raises `MissingInput` for weights that are nowhere, `UserError` for a model that is no CLAP.
    """
    from umlbench.encoders.audio import audioclip, clap

    if split_name(name)[0] == audioclip.NAME:
        return audioclip.build(name, setup)
    return clap.build(name, setup)
