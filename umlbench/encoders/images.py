"""Photos into tensors: decoding in worker processes, and the two image transforms.

`clip` is the paper's: shorter side to 224, bicubic, centre crop, CLIP's mean and standard deviation
for every encoder (its released code's `crop`). `native` takes an encoder's own statistics,
interpolation and crop, at 224 pixels too, so that the axis varies the transform alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import current_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench.encoders.loading import Loader, decoded
from umlbench.encoders.torchvision_import import mend_torchvision

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

SIZE = 224
MOST_WORKERS = 16

CLIP: dict[str, Any] = {
    "name": "clip",
    "resize": SIZE,
    "crop": SIZE,
    "interpolation": "bicubic",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}

Transform = Callable[["Image"], "torch.Tensor"]


def clip_transform(size: int = SIZE) -> Transform:
    """`CLIP` as a function from a PIL image to (3, size, size) float32; see the module's text."""
    mend_torchvision()
    transforms: Any = import_module("torchvision.transforms")
    made: Transform = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(CLIP["mean"], CLIP["std"]),
        ]
    )
    return made


@dataclass(frozen=True)
class Halves:
    """A transform in two: what is done to a picture, and what to its pixels.

    The first half is slow, and its result is small: (3, h, w) uint8. `normalize` finishes whole
    batches, on any device, to the values that the transform has.
    """

    steps: tuple[Callable[[Image], Image], ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image) -> torch.Tensor:
        """The first half: (3, h, w) uint8."""
        import numpy as np
        import torch

        for step in self.steps:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """The second half: (n, 3, h, w) uint8 to float32 in channels-last layout."""
        import torch

        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=pixels.device)[:, None, None]
            for v in (self.mean, self.std)
        )
        x = pixels.to(torch.float32, memory_format=torch.channels_last)
        return x.div_(255).sub_(mean).div_(std)


def halves(transform: Transform) -> Halves:
    """A transform of `clip_transform`, timm or open_clip in two; each ends in the same two steps.

    Raises `TypeError` for one that does not end in ToTensor and Normalize.
    """
    found: list[Any] = list(getattr(transform, "transforms", (None, None)))
    *steps, to_tensor, normalize = found
    if not type(to_tensor).__name__.endswith("ToTensor") or not hasattr(normalize, "mean"):
        raise TypeError(f"a transform without ToTensor and Normalize at its end: {transform}")
    mean, std = ([float(v) for v in values] for values in (normalize.mean, normalize.std))
    return Halves(tuple(steps), tuple(mean), tuple(std))


def workers_for(device: str) -> int:
    """Decoding processes: beside a GPU every core but one, on the CPU few.

    Measured with mobilenetv2_100, a light encoder, on Caltech-101 on two busy cores, against the
    bare encoder on tensors in memory: one thread reaches 94 % without a worker and 92 % with one,
    two threads 65 % without (they idle while this process decodes) and 96 % with one.
    """
    if current_process().daemon:  # which may have no processes of its own
        return 0
    if device == "cpu":
        import torch

        threads = torch.get_num_threads()
        return 0 if threads == 1 else 1 + threads // 8
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST_WORKERS, (cores or 2) - 1))


def load_batches(
    items: Sequence[Any], transform: Transform, *, size: int, workers: int, pin: bool
) -> Iterator[torch.Tensor]:
    """Batches (size, 3, h, w) float32 in the items' order; an item is a path or a uint8 array.

    All items are read even after a broken one; then `UserError` names every broken one.
    """
    loader = Loader("image", _decode, transform)
    return loader.batches(items, size=size, workers=workers, pin=pin)


def load_rows(
    items: Sequence[Any],
    transform: Transform,
    rows: Iterable[Sequence[int]],
    *,
    workers: int,
    pin: bool,
) -> Iterator[torch.Tensor]:
    """One batch (len, 3, h, w) for each of `rows`, which are read ahead of what is asked for.

    `UserError` names the broken images of the first batch that has any.
    """
    return Loader("image", _decode, transform).rows(items, rows, workers=workers, pin=pin)


def fault(item: Any) -> str:
    """What keeps an item from being encoded: one line, empty where nothing does."""
    image = decoded(_decode, item)
    return image if isinstance(image, str) else ""


def _decode(item: Any) -> Image:
    """RGB, wholly decoded."""
    import PIL.Image

    given = isinstance(item, (str, Path))
    image: Image = PIL.Image.open(item) if given else PIL.Image.fromarray(item)
    with image:
        return image.convert("RGB")
