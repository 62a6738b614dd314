"""Tokens of an entry as `Sequences` whose values stay on disk: mapped, read where asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umlbench.data.sequences import Sequences
from umlbench.features.files import damaged, disk
from umlbench.features.layout import Meta, Shard

if TYPE_CHECKING:
    import torch

    from umlbench.data.samples import Samples


class MappedRows:
    """The rows of several shards, one after the other, as an array that is only sliced.

    A slice reads its own pages and comes as float32 whatever is stored. It is a view of the file
    where that holds float32 and the slice lies in one shard, and not to be written to.
    `np.asarray` reads everything into memory.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, parts: Sequence[torch.Tensor]) -> None:
        self._parts = parts
        self._ends = list(accumulate(len(part) for part in parts))
        self.shape = (self._ends[-1], int(parts[0].shape[1]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """The rows start to stop; `TypeError` for anything but such a slice."""
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise TypeError(f"mapped rows are read by slices start:stop, not by {rows!r}")
        start, stop, _ = rows.indices(len(self))
        number = bisect_right(self._ends, start)
        if number == len(self._parts) or stop <= self._ends[number]:
            return self._of_part(min(number, len(self._parts) - 1), start, stop)
        found = []
        while start < stop:
            found.append(self._of_part(number, start, stop))
            start, number = self._ends[number], number + 1
        return np.concatenate(found)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Everything, in memory."""
        del copy  # it always is one
        whole = np.concatenate([part.float().numpy() for part in self._parts])
        return whole.astype(dtype or self.dtype, copy=False)

    def _of_part(self, number: int, start: int, stop: int) -> NDArray[np.float32]:
        """Rows start to stop of all, as far as they lie in one part."""
        part = self._parts[number]
        first = self._ends[number] - len(part)
        found: NDArray[np.float32] = part[start - first : max(stop, start) - first].float().numpy()
        found.setflags(write=False)
        return found


def sequences(folder: Path, meta: Meta, samples: Samples) -> Sequences:
    """A finished entry of tokens; `StorageError` for a shard that is not what `meta` says."""
    parts = [_mapped(folder / shard.file, shard, meta.shape[1]) for shard in meta.shards]
    lengths = np.concatenate([lengths for _, lengths in parts])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(MappedRows([x for x, _ in parts]), starts, samples.labels, samples.ids)


def _mapped(path: Path, shard: Shard, width: int) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """The rows of one file (tokens, width), not yet read, and how many each sample has."""
    from safetensors import SafetensorError, safe_open

    with disk("read", path):
        size = path.stat().st_size
    if size != shard.bytes:  # beyond the end of a file, a mapped row would end the process
        raise damaged(path, f"has {size} bytes, not {shard.bytes}")
    try:
        with disk("read", path), safe_open(path, framework="pt") as file:
            x, lengths = file.get_tensor("x"), file.get_tensor("lengths").clone().numpy()
    except SafetensorError as error:
        raise damaged(path, "is not a safetensors file with tokens") from error
    if lengths.shape != (shard.rows,) or x.shape != (lengths.sum(), width):
        expected = f"{shard.rows} samples of width {width}"
        raise damaged(path, f"holds {tuple(x.shape)} for {lengths.shape}, not {expected}")
    return x, lengths
