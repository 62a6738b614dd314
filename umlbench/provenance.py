"""What a record says of its origin: versions, commit, device; never a user, a host or a path."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "soundfile",
    "scikit-learn",
    "numba",
    "timm",
    "transformers",
    "open_clip_torch",
    "peft",
)


@cache
def versions() -> dict[str, str]:
    """Versions of umlbench, Python and the packages that compute figures."""
    found = {"python": platform.python_version()}
    for package in ("umlbench", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The checkout's commit, with `+dirty` where tracked files differ; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    dirty = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "umlbench", "recipes")
    return f"{head}+dirty" if head and dirty else head


def _git(root: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *args],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def device_name(device: str) -> str:
    """The processor's or accelerator's model name (`AMD EPYC`, `NVIDIA H200`)."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return processor()


@cache
def processor() -> str:
    """The CPU's model name, with its core count."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name}, {os.cpu_count()} cores"


def describe(device: str) -> dict[str, object]:
    """The provenance of a record made on `device`."""
    return {"versions": versions(), "commit": commit(), "device": device_name(device)}
