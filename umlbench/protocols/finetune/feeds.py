"""Where the inputs of a step come from: photos, frozen vectors, or sentences to be encoded.

A feed has labels and turns row numbers into batches on the device. Photos are decoded once where
they fit into a quarter of the free memory (of the device, else of the machine), as the uint8 pixels
that resizing and cropping leave; else worker processes decode them ahead of the steps. Random crops
are taken of these pixels, batch by batch on the device, so that it is the same for both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from umlbench.encoders import images
from umlbench.protocols.finetune.crops import RandomCrop
from umlbench.sweep import Samples

Inputs = tuple[Tensor, ...]  # what a tower is called with, rows first
Pad = Callable[[Sequence[list[int]]], Inputs]


class Feed(Protocol):
    """A set of samples that can be read in batches."""

    @property
    def y(self) -> Tensor:
        """Labels (N,), int64 on the CPU."""
        ...

    def __len__(self) -> int: ...

    def batches(self, rows: Iterable[Tensor], first: int = 0) -> Iterator[Inputs]:
        """The inputs of each of `rows`, in order; `rows` may be asked for ahead of the yields.

        `first` is the iteration of the first of them, for inputs that vary with it.
        """
        ...


@dataclass(frozen=True, eq=False)
class Vectors:
    """Rows that are there already, on the device."""

    samples: Samples
    device: str = "cpu"

    @property
    def y(self) -> Tensor:
        """See `Feed`."""
        return self.samples.y

    def __len__(self) -> int:
        return len(self.samples)

    def batches(self, rows: Iterable[Tensor], first: int = 0) -> Iterator[Inputs]:  # noqa: ARG002
        """See `Feed`."""
        x = self.samples.x.to(self.device)
        for batch in rows:
            yield (x[batch],)


@dataclass(frozen=True, eq=False)
class Prompts:
    """Sentences as token numbers; `pad` makes a batch of them."""

    tokens: Sequence[list[int]]
    y: Tensor
    pad: Pad
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.tokens)

    def batches(self, rows: Iterable[Tensor], first: int = 0) -> Iterator[Inputs]:  # noqa: ARG002
        """See `Feed`."""
        for batch in rows:
            made = self.pad([self.tokens[row] for row in batch.tolist()])
            yield tuple(part.to(self.device, non_blocking=True) for part in made)


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos by path (or as uint8 arrays); `kept` are their pixels where there is room for them.

    `crop` takes another part of a photo at every iteration.
    """

    items: Sequence[Any]
    y: Tensor
    halves: images.Halves
    device: str = "cpu"
    kept: Tensor | None = None  # (N, 3, h, w) uint8
    crop: RandomCrop | None = None

    def __len__(self) -> int:
        return len(self.items)

    def batches(self, rows: Iterable[Tensor], first: int = 0) -> Iterator[Inputs]:
        """See `Feed`."""
        rows, same = tee(rows)
        pixels = self._decoded(rows) if self.kept is None else (self.kept[r] for r in rows)
        for iteration, (batch, row) in enumerate(zip(pixels, same, strict=True), first):
            x = self.halves.normalize(batch.to(self.device, non_blocking=True))
            yield (self.crop(x, row, iteration) if self.crop else x,)

    def _decoded(self, rows: Iterable[Tensor]) -> Iterator[Tensor]:
        return images.load_rows(
            self.items,
            self.halves,
            (batch.tolist() for batch in rows),
            workers=images.workers_for(self.device),
            pin=self.device != "cpu",
        )


def photos(
    items: Sequence[Any],
    y: Tensor,
    halves: images.Halves,
    device: str,
    side: int = images.SIZE,
    crop: RandomCrop | None = None,
) -> Photos:
    """Photos that are decoded now where they fit, else as they are asked for.

    `side` is how high and wide `halves` makes them. `UserError` names every broken one where they
    are decoded now.
    """
    place = room_for(len(items) * 3 * side**2, device)
    kept = None if place is None else _decode(items, halves, device).to(place)
    return Photos(items, y, halves, device, kept, crop)


def room_for(size: int, device: str) -> str | None:
    """Where `size` bytes are at most a quarter of what is free: the device, the CPU, nowhere."""
    if device != "cpu" and 4 * size <= torch.cuda.mem_get_info(device)[0]:
        return device
    return "cpu" if 4 * size <= free_memory() else None


def free_memory() -> int:
    """Bytes that this machine can still give (Linux says; elsewhere half of what it has)."""
    known = Path("/proc/meminfo")
    lines = known.read_text().splitlines() if known.is_file() else []
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _decode(items: Sequence[Any], halves: images.Halves, device: str) -> Tensor:
    """(N, 3, h, w) uint8, filled batch by batch: a list of batches would need twice the memory."""
    loaded = images.load_batches(
        items, halves, size=32, workers=images.workers_for(device), pin=False
    )
    pixels, done = torch.empty(0, dtype=torch.uint8), 0
    for batch in loaded:
        if not done:
            pixels = torch.empty((len(items), *batch.shape[1:]), dtype=torch.uint8)
        pixels[done : done + len(batch)] = batch
        done += len(batch)
    return pixels
