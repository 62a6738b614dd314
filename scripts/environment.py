"""Make the virtual environment that `make` uses; needs nothing but Python 3.10 or newer.

    python3 scripts/environment.py .venv

PyTorch comes from the package index as usual (its newest build, for GPUs), except on a machine
without an NVIDIA GPU where pip's find-links offer a CPU wheel for this Python: then from there,
which saves gigabytes. Everything else is pinned by constraints.txt.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 10)


def main(target: Path) -> None:
    """Create `target` and install umlbench into it, editable, with the tools of its tests."""
    if sys.version_info < OLDEST:
        sys.exit(f"Python {'.'.join(map(str, OLDEST))} or newer is needed: make PYTHON=python3.12")
    started = time.monotonic()
    _run([sys.executable, "-m", "venv", "--clear", str(target)], "python3-venv may be missing")
    python = str(target / "bin" / "python")
    _run([python, "-m", "pip", "install", "--quiet", "uv"], "pip could not install uv")
    links = find_links()
    wheel = None if has_gpu() else cpu_wheel(links)
    environment = os.environ | {"UV_FIND_LINKS": ",".join(links)}
    install = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    install += ["--constraint", str(ROOT / "constraints.txt")]
    if wheel:
        # The index's torchvision is built for CUDA; umlbench.encoders.torchvision_import
        # mends that.
        _run([*install, wheel], "the CPU wheel of torch did not install", environment)
    _run([*install, "--editable", f"{ROOT}[dev]"], "installing umlbench failed", environment)
    kind = wheel or "torch from the package index"
    print(f"environment {target} made in {time.monotonic() - started:.0f} s ({kind})")


def has_gpu() -> bool:
    """Whether an NVIDIA GPU answers."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True).returncode == 0


def find_links() -> list[str]:
    """pip's find-links, from the environment or its configuration."""
    found = os.environ.get("PIP_FIND_LINKS", "")
    for section in ("global", "install"):
        asked = [sys.executable, "-m", "pip", "config", "get", f"{section}.find-links"]
        answer = subprocess.run(asked, capture_output=True, text=True)
        found += f" {answer.stdout}" if answer.returncode == 0 else ""
    return list(dict.fromkeys(found.split()))


def cpu_wheel(links: list[str]) -> str | None:
    """The newest `torch==VERSION+cpu` that a folder of `links` holds for this Python."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    pattern = re.compile(rf"torch-(\d+(?:\.\d+)+)\+cpu-{tag}-")
    versions = [
        tuple(int(part) for part in match[1].split("."))
        for link in links
        if Path(link).is_dir()
        for file in Path(link).iterdir()
        if (match := pattern.match(file.name))
    ]
    return f"torch=={'.'.join(map(str, max(versions)))}+cpu" if versions else None


def _run(command: list[str], hint: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command[:6])} ... failed ({done.returncode}): {hint}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
