"""Batches that fit into memory: an out-of-memory error halves them, down to one item.

The batch size is not in any key: rows are independent, and another size changes only rounding.
Where rows do depend on their batch (`whole`), its size is in the key and is never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

Tick = Callable[[int], None]

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


def no_tick(_: int) -> None:
    """The default listener to progress."""


@dataclass
class Batches:
    """Runs a model over a range in batches of `size`; a size that fitted is kept."""

    name: str  # the encoder, for the error
    device: str
    size: int
    whole: str = ""  # why a batch may not be halved, and what to do instead

    def run(
        self, total: int, forward: Callable[[int, int], torch.Tensor], tick: Tick = no_tick
    ) -> list[torch.Tensor]:
        """`forward(start, stop)` over `range(total)`, in order.

        Raises `UserError` where even one item does not fit, or a batch that must stay whole.
        """
        done: list[torch.Tensor] = []
        start = 0
        while start < total:
            stop = min(start + self.size, total)
            rows = self._attempt(forward, start, stop)
            if rows is None:
                self._shrink(stop - start)
                continue
            done.append(rows)
            tick(stop - start)
            start = stop
        return done

    def _attempt(
        self, forward: Callable[[int, int], torch.Tensor], start: int, stop: int
    ) -> torch.Tensor | None:
        """The rows, or None where memory ran out.

        The error ends here: its traceback would keep the batch's tensors alive.
        """
        try:
            return forward(start, stop)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _shrink(self, tried: int) -> None:
        import torch

        if self.whole:
            what = f"a batch of {tried} does not fit into the memory of {self.device}"
            raise UserError(f"encoder '{self.name}': {what}", self.whole)
        if tried == 1:
            raise UserError(
                f"encoder '{self.name}' does not fit into the memory of {self.device}, "
                "not even one item at a time",
                "free memory there, choose float16 or bfloat16, or take another device",
            )
        self.size = tried // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """CUDA raises its own kind of `RuntimeError`; the CPU's allocator a plain one."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)
