"""Several processes that train one job together, each on its part of every batch.

They are started like torchrun starts processes (`executors.ranks` does), hold the same weights and
take the same steps: gradients are added up over all ranks before every one. Each normalises by its
own part's statistics where BatchNorm is in training mode; stored statistics are then averaged.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from umlbench.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process's number and how many there are; one alone exchanges nothing."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def part(self, rows: Tensor) -> Tensor:
        """This process's part of a batch."""
        return rows[self.rank :: self.size]

    def check(self, batch_size: int) -> None:
        """`UserError` where a batch has not a row for everyone."""
        if batch_size < self.size:
            what = f"{self.size} processes cannot share a batch of {batch_size} rows"
            raise UserError(what, "take fewer devices or larger batches")

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one kind by their sums over all processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def average(self, tensors: Sequence[Tensor]) -> None:
        """The same with means."""
        self.add_up(tensors)
        for tensor in tensors if self.size > 1 else ():
            tensor.div_(self.size)

    def agree(self, value: bool) -> bool:
        """The first process's value."""
        told = [value]
        if self.size > 1:
            distributed.broadcast_object_list(told, src=0)
        return told[0]


ALONE = Ranks()


def joined(device: str) -> Ranks:
    """The processes this one was started with (RANK and WORLD_SIZE say), met once."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if not distributed.is_initialized():
        if device != "cpu":
            torch.cuda.set_device(device)
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    return Ranks(distributed.get_rank(), size)
