"""Items into tensors, batch by batch: read in worker processes, every broken one named at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from umlbench.errors import UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

SHOWN = 5  # broken items named in the error


@dataclass(frozen=True)
class Loader:
    """How one kind of item becomes a tensor: decoded, which may fail, then transformed.

    Both functions must be picklable where `workers` is above 0.
    """

    what: str  # an item in the error, e.g. "image"
    decode: Callable[[Any], Any]
    transform: Callable[[Any], torch.Tensor]

    def batches(
        self, items: Sequence[Any], *, size: int, workers: int, pin: bool
    ) -> Iterator[torch.Tensor]:
        """Batches of `size` in the items' order, the last one perhaps smaller.

        All items are read even after a broken one; then `UserError` names every broken one.
        """
        import torch
        from torch.utils.data import DataLoader

        read: Any = _Read(items, self)  # a data set by its shape
        loader = DataLoader(
            read,
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
            what = f"{len(broken)} broken {self.what}(s): {'; '.join(broken[:SHOWN])}{more}"
            raise UserError(what, "replace these files, or take the data set from its source again")


@dataclass(frozen=True)
class _Read:
    """The items as tensors; in place of a broken one, what is wrong with it."""

    items: Sequence[Any]
    loader: Loader

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> torch.Tensor | str:
        found = decoded(self.loader.decode, self.items[row])
        if isinstance(found, str):
            name = self.items[row] if isinstance(self.items[row], (str, Path)) else f"item {row}"
            return f"{name} ({found})"
        return self.loader.transform(found)


def decoded(decode: Callable[[Any], T], item: Any) -> T | str:
    """The decoded item, or what is wrong with it in one line."""
    try:
        return decode(item)
    except Exception as error:  # decoders raise nearly any kind for a damaged file
        return str(error).splitlines()[0] if str(error) else type(error).__name__


def _collate(read: list[torch.Tensor | str]) -> tuple[torch.Tensor | None, list[str]]:
    import torch

    good = [one for one in read if not isinstance(one, str)]
    faults = [one for one in read if isinstance(one, str)]
    return (torch.stack(good) if good else None), faults
