"""Which samples form the batch of an iteration."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from umlbench.errors import UserError
from umlbench.seeds import torch_stream

BLOCK = 8192  # samples shuffled at once: enough to make the cost of a call negligible


class Order(Protocol):
    """A source of batches: a function of the iteration alone, whatever is asked for before."""

    @property
    def batch_size(self) -> int:
        """Samples B of every batch."""
        ...

    def rows(self, start: int, stop: int) -> Tensor:
        """Sample indices (stop - start, B), int64 on the CPU, of iterations [start, stop)."""
        ...


class Replay:
    """An order that is written down: `indices` (iterations, B)."""

    def __init__(self, indices: Tensor) -> None:
        self.indices = indices.to(torch.int64)
        self.batch_size = indices.shape[1]

    def rows(self, start: int, stop: int) -> Tensor:
        """See `Order`; raises UserError past the last batch."""
        if stop > len(self.indices):
            raise UserError(
                f"iteration {stop - 1} asked of an order of {len(self.indices)} batches",
                "train for fewer iterations or write down more batches",
            )
        return self.indices[start:stop]


class Shuffled:
    """Epochs reshuffled from a stream, the incomplete last batch of an epoch left out.

    `samples` is a count or the indices to draw from. Where there are fewer than `batch_size`,
    every batch is all of them (the released code stops with an error there).
    """

    def __init__(self, samples: int | Tensor, batch_size: int, seed: int) -> None:
        self._samples = None if isinstance(samples, int) else samples.to(torch.int64).cpu()
        self.count = samples if isinstance(samples, int) else len(samples)
        if self.count < 1 or batch_size < 1:
            raise UserError(
                f"cannot form batches of {batch_size} from {self.count} samples",
                "both must be at least 1",
            )
        self.batch_size = min(batch_size, self.count)
        self.batches_per_epoch = self.count // self.batch_size
        self._seed = seed
        self._epochs_per_block = max(1, BLOCK // self.count)
        self._cache: tuple[int, Tensor] | None = None

    def rows(self, start: int, stop: int) -> Tensor:
        """See `Order`."""
        per_block = self.batches_per_epoch * self._epochs_per_block
        blocks = range(start // per_block, -(-stop // per_block))
        parts = [
            self._block(b)[max(start - b * per_block, 0) : stop - b * per_block] for b in blocks
        ]
        return torch.cat(parts) if parts else torch.empty(0, self.batch_size, dtype=torch.int64)

    def _block(self, block: int) -> Tensor:
        """The batches of a fixed number of epochs, each block from a stream of its own."""
        cached = self._cache  # another thread may put its block there meanwhile
        if cached is None or cached[0] != block:
            cached = self._cache = (block, self._shuffle(block))
        return cached[1]

    def _shuffle(self, block: int) -> Tensor:
        generator = torch_stream("epochs", self._seed, block=block)
        shape = (self._epochs_per_block, self.count)
        keys = torch.rand(shape, generator=generator, dtype=torch.float64)
        epochs = keys.argsort(dim=1, stable=True)[:, : self.batches_per_epoch * self.batch_size]
        batches = epochs.reshape(-1, self.batch_size)
        return batches if self._samples is None else self._samples[batches]
