"""Photos into tensors: decoding in worker processes, and the two image transforms.

`clip` is the paper's: shorter side to 224, bicubic, centre crop, CLIP's mean and standard deviation
for every encoder (its released code's `crop`). `native` takes an encoder's own statistics,
interpolation and crop, at 224 pixels too, so that the axis varies the transform alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import current_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umlbench.encoders.torchvision_import import mend_torchvision
from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

SIZE = 224
MOST_WORKERS = 16
SHOWN = 5  # broken images named in the error

CLIP: dict[str, Any] = {
    "name": "clip",
    "resize": SIZE,
    "crop": SIZE,
    "interpolation": "bicubic",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}

Transform = Callable[["Image"], "torch.Tensor"]


def clip_transform() -> Transform:
    """`CLIP` as a function from a PIL image to (3, 224, 224) float32; see the module's text."""
    mend_torchvision()
    transforms: Any = import_module("torchvision.transforms")
    made: Transform = transforms.Compose(
        [
            transforms.Resize(SIZE, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize(CLIP["mean"], CLIP["std"]),
        ]
    )
    return made


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
    import torch
    from torch.utils.data import DataLoader

    photos: Any = _Photos(items, transform)  # a data set by its shape
    loader = DataLoader(
        photos,
        batch_size=size,
        num_workers=min(workers, -(-len(items) // size)),
        collate_fn=_collate,
        pin_memory=pin,
        generator=torch.Generator(),  # else it would draw from the global one
    )
    broken: list[str] = []
    for batch, faults in loader:
        broken += faults
        if not broken:
            yield batch
    if broken:
        more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        what = f"{len(broken)} broken image(s): {'; '.join(broken[:SHOWN])}{more}"
        raise UserError(what, "replace these files, or take the data set from its source again")


@dataclass(frozen=True)
class _Photos:
    """The items as tensors; in place of a broken image, what is wrong with it."""

    items: Sequence[Any]
    transform: Transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> torch.Tensor | str:
        image = _decoded(self.items[row])
        if isinstance(image, str):
            name = self.items[row] if isinstance(self.items[row], (str, Path)) else f"item {row}"
            return f"{name} ({image})"
        return self.transform(image)


def fault(item: Any) -> str:
    """What keeps an item from being encoded: one line, empty where nothing does."""
    image = _decoded(item)
    return image if isinstance(image, str) else ""


def _decoded(item: Any) -> Image | str:
    """The whole image, or what is wrong with it."""
    try:
        return _decode(item)
    except Exception as error:  # PIL's decoders raise nearly any kind for a damaged file
        return str(error).splitlines()[0] if str(error) else type(error).__name__


def _decode(item: Any) -> Image:
    """RGB, wholly decoded."""
    import PIL.Image

    given = isinstance(item, (str, Path))
    image: Image = PIL.Image.open(item) if given else PIL.Image.fromarray(item)
    with image:
        return image.convert("RGB")


def _collate(photos: list[torch.Tensor | str]) -> tuple[torch.Tensor | None, list[str]]:
    import torch

    good = [photo for photo in photos if not isinstance(photo, str)]
    faults = [photo for photo in photos if isinstance(photo, str)]
    return (torch.stack(good) if good else None), faults
