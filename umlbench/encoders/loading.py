"""Items into tensors, batch by batch: read in worker processes, every broken one named at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
        rows = [range(start, min(start + size, len(items))) for start in range(0, len(items), size)]
        broken: list[str] = []
        for batch, faults in self._read(items, rows, min(workers, len(rows)), pin):
            broken += faults
            if not broken:
                yield batch
        if broken:
            raise self._broken(broken)

    def rows(
        self, items: Sequence[Any], rows: Iterable[Sequence[int]], *, workers: int, pin: bool
    ) -> Iterator[torch.Tensor]:
        """One batch for each of `rows`, which are read ahead of what is asked for.

        `UserError` names the broken items of the first batch that has any.
        """
        for batch, faults in self._read(items, rows, workers, pin):
            if faults:
                raise self._broken(faults)
            yield batch

    def _read(
        self, items: Sequence[Any], rows: Iterable[Sequence[int]], workers: int, pin: bool
    ) -> Iterator[tuple[torch.Tensor, list[str]]]:
        """Per batch its tensor, and what is wrong with the items that it lacks."""
        import torch
        from torch.utils.data import DataLoader

        read: Any = _Read(items, self)  # a data set by its shape
        sampler: Any = rows
        loader = DataLoader(
            read,
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=pin,
            generator=torch.Generator(),  # else it would draw from the global one
        )
        yield from loader

    def _broken(self, faults: Sequence[str]) -> UserError:
        more = f" and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        what = f"{len(faults)} broken {self.what}(s): {'; '.join(faults[:SHOWN])}{more}"
        return UserError(what, "replace these files, or take the data set from its source again")


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
