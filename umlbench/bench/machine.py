"""What measurements of speed have in common: the machine, the clock, the files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe(device: str, turns: int, measured: Mapping[str, float]) -> dict[str, Any]:
    """The machine as it is now; `measured` is what a benchmark found out about it."""
    import torch

    from umlbench import provenance

    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = "none"
    return {
        "device": device,
        "processor": provenance.device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: short(value) for name, value in measured.items()},
        "load average": [round(load, 1) for load in os.getloadavg()],
        "turns": turns,
        "torch": torch.__version__,
        "numba": numba,
        "commit": provenance.commit(),
        "date": date.today().isoformat(),
    }


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """PyTorch computes on `count` threads (None: on as many as before)."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds(work: Callable[[], object], device: str) -> float:
    """What a piece of work takes, until the device has done it."""
    import torch

    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def short(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def line(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def markdown(
    title: str,
    facts: Mapping[str, Any],
    text: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> str:
    """The machine, how to read the numbers, and the numbers."""
    listed = [f"- {name}: {value}" for name, value in facts.items()]
    table = [head, ["---:"] * len(head), *rows]
    return "\n".join([f"# {title}", "", *listed, "", text, "", *map(line, table)]) + "\n"


def write(folder: Path, name: str, plain: Mapping[str, Any], table: str) -> list[Path]:
    """Writes `<name>.json` and `<name>.md`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"json": json.dumps(plain, indent=1) + "\n", "md": table}
    paths = [folder / f"{name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths
