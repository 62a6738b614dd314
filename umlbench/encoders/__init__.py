"""Frozen encoders: payloads in, one float32 row each out.

`pixels`, `tfidf` and `logmel` come with the package; `vision` brings timm's, `clip` open_clip's two
towers, `text` transformers' models, each by the library's own names, and `audio` AudioCLIP's audio
tower and transformers' CLAP models. What decides an encoder's rows is in
`key()`, so that stored features are found again exactly when they would come out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from typing import Protocol as Interface

from umlbench.encoders.batches import Tick, no_tick
from umlbench.encoders.weights import PUBLISHED, split_name
from umlbench.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from umlbench.data.samples import Samples

NAMES = ("pixels", "tfidf", "logmel")
LIBRARIES = {
    "image": "vision",
    "text": "text",
    "audio": "audio",
}  # of a name that is not a `clip:` model's

Modality = Literal["image", "text", "audio"]
Dtype = Literal["float32", "float16", "bfloat16"]
Transform = Literal["clip", "native"]
Pooling = Literal["cls", "mean", "mean_normalized"]
BatchNorm = Literal["train", "eval"]


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
        """Columns of a row; known without loading weights."""
        ...

    def key(self) -> dict[str, Any]:
        """Every plain value that decides a row; no path, device or batch size.

        Library, name, version or weights' identity, layer and pooling, transform or prompt
        handling, compute dtype.
        """
        ...

    def encode(self, items: Sequence[Any], tick: Tick = no_tick) -> NDArray[np.float32]:
        """(n, width) rows; a row depends on its own item only, not on its neighbours.

        Where it does depend on them, the key says how, and the attribute `together` is the number
        of consecutive items that belong together: split `items` at multiples of it only. `tick`
        hears how many more are done, batch by batch. Weights are loaded on first use.
        """
        ...


@dataclass(frozen=True)
class Setup:
    """How an encoder is asked to run, and the sentences it is fitted on where it is fitted."""

    device: str = "cpu"
    dtype: Dtype = "float32"
    corpus: Samples | None = None
    modality: Modality | None = None
    root: Path | None = None
    offline: bool = False
    transform: Transform = "clip"
    pooling: Pooling | None = None
    batch_norm: BatchNorm = "train"

    def require_float32(self, name: str) -> None:
        """`UserError` where half precision is asked of an encoder that has none."""
        if self.dtype != "float32":
            raise UserError(f"encoder '{name}' computes in float32 only, not in {self.dtype}")

    def has_local(self, stem: str, where: str, suffixes: Sequence[str]) -> bool:
        """Whether weights are given or lie below the data root, so that no hub is asked."""
        folder = self.root / "encoders" if self.root is not None else None
        there = folder and any((folder / f"{stem}{suffix}").exists() for suffix in suffixes)
        return bool(where or there)


def load(
    name: str,
    *,
    modality: Modality | None = None,
    device: str = "cpu",
    dtype: Dtype = "float32",
    corpus: Samples | None = None,
    root: Path | None = None,
    offline: bool = False,
    transform: Transform = "clip",
    pooling: Pooling | None = None,
    batch_norm: BatchNorm = "train",
) -> Encoder:
    """The encoder called `name`, computing in `dtype` on `device`; loads no weights yet.

    `name` is one of `NAMES`, `clip:MODEL`, `audioclip`, a model of timm, or one of transformers,
    with `@FILE`, `@FOLDER` or `@REVISION` behind it where its weights are not the usual ones.
    `modality` chooses the tower of a `clip:` model and the library of a name that could be of any.
    `root` is the data root, whose `encoders` folder may hold weights. `corpus` are the sentences
    that an encoder is fitted on (`tfidf`), `transform` is the images' (the paper's is `clip`),
    `pooling` the text's where it is not the usual one. `batch_norm` says whose statistics
    `audioclip` takes: each batch's, as the paper's predecessor did, or the checkpoint's. Raises
    `UserError` for a name nobody knows and `MissingInput` for weights that are not there.
    """
    for what, value, known in (
        ("dtype", dtype, get_args(Dtype)),
        ("transform", transform, get_args(Transform)),
        ("pooling", pooling or "cls", get_args(Pooling)),
        ("batch_norm", batch_norm, get_args(BatchNorm)),
    ):
        if value not in known:
            raise unknown(what, value, known)
    setup = Setup(device, dtype, corpus, modality, root, offline, transform, pooling, batch_norm)
    if name in NAMES:
        encoder: Encoder = import_module(f"umlbench.encoders.{name}").build(setup)
        return encoder
    if get_close_matches(name, NAMES, n=1, cutoff=0.8):
        raise unknown("encoder", name, NAMES)
    module = import_module(f"umlbench.encoders.{_library(name, setup)}")
    built: Encoder = module.build(name, setup)
    return built


def fetch(encoder: Encoder) -> None:
    """Download what `encoder` reads, without loading it; `MissingInput` where that fails."""
    from umlbench.encoders import clip, text, vision
    from umlbench.encoders.audio.encoder import AudioEncoder

    if isinstance(encoder, (text.Transformer, AudioEncoder)):
        encoder.weights.folder()
    elif isinstance(encoder, clip.ClipText):
        encoder.weights.file(clip.HUB_FILES)
    elif isinstance(encoder, vision.Vision):
        encoder.weights.file((*vision.HUB_FILES, *clip.HUB_FILES))


def _library(name: str, setup: Setup) -> str:
    """The module that brings `name`: by its modality, else by what its weights are."""
    label, where = split_name(name)
    if label.startswith("clip:"):
        return "clip"
    if setup.modality is None and (label == "audioclip" or "clap" in label.lower()):
        return LIBRARIES["audio"]
    if setup.modality is not None:
        if setup.modality not in LIBRARIES:
            raise unknown(f"{setup.modality} encoder", name, NAMES)
        return LIBRARIES[setup.modality]
    places = [Path(where)] if where else []
    places += [setup.root / "encoders" / label] if setup.root is not None else []
    folder = any((place / "config.json").is_file() for place in places)
    known = PUBLISHED.get(label)
    named = "/" in label or (known is not None and not known.repo.startswith("timm/"))
    return "text" if folder or named else "vision"
