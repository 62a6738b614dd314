"""Folders and devices of this machine, from the environment."""

from __future__ import annotations

import os
from pathlib import Path

from umlbench.errors import UserError


def results() -> Path:
    """Where records lie: `UMLBENCH_RESULTS`, else `results` under the current folder."""
    return Path(os.environ.get("UMLBENCH_RESULTS", "results"))


def cache() -> Path:
    """Where features lie: `UMLBENCH_CACHE`, else the user's cache folder."""
    from umlbench.features import default_root

    return default_root()


def data() -> Path:
    """Where data sets lie: `UMLBENCH_DATA`, else `data` under the current folder."""
    from umlbench.data import default_root

    return default_root()


def devices(device: str, workers: int | None) -> tuple[str, ...]:
    """The devices that workers are pinned to, one worker each.

    "auto" is every CUDA device, else the CPU; `workers` counts the processes that share a CPU
    (None: one per core). Raises `UserError` for a device this machine has not.
    """
    import torch

    gpus = torch.cuda.device_count()
    if device == "auto":
        device = "cuda" if gpus else "cpu"
    if device == "cpu":
        return ("cpu",) * max(1, workers or os.cpu_count() or 1)
    if device == "cuda" and gpus:
        return tuple(f"cuda:{i}" for i in range(gpus))
    name, _, index = device.partition(":")
    if name == "cuda" and index.isdigit() and int(index) < gpus:
        return (device,)
    known = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    raise UserError(f"no device '{device}' on this machine", f"devices here: {', '.join(known)}")


def doctor(results_folder: Path) -> dict[str, object]:
    """Versions, devices, folders and tokens for `umlbench doctor`; a token's value is not shown."""
    import shutil

    import torch

    from umlbench import provenance

    token = any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
    hub = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    free = shutil.disk_usage(_existing(cache())).free
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        **provenance.versions(),
        "commit": provenance.commit() or "not a checkout",
        "processor": provenance.processor(),
        "gpus": ", ".join(gpus) or "none",
        "results": f"{results_folder} ({_access(results_folder)})",
        "feature cache": f"{cache()} ({_access(cache())}, {free / 1e9:.0f} GB free)",
        "hub token": "present" if token or (hub / "token").is_file() else "none",
        "hub offline": "yes" if os.environ.get("HF_HUB_OFFLINE") == "1" else "no",
    }


def _existing(folder: Path) -> Path:
    """The folder, or the nearest parent of it that exists."""
    return next(f for f in (folder.absolute(), *folder.absolute().parents) if f.exists())


def _access(folder: Path) -> str:
    writable = os.access(_existing(folder), os.W_OK)
    return "writable" if writable else "NOT writable"
