"""Where the YAML files of tables/ and recipes/ lie: in a checkout, or inside an installed wheel."""

from __future__ import annotations

from pathlib import Path

from umlbench.errors import MissingInput

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder `name` ("tables" or "recipes"); raises `MissingInput` where there is none."""
    root = _PACKAGE.parent
    checkout = root / name
    if (root / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    packaged = _PACKAGE / f"_{name}"
    if not packaged.is_dir():
        raise MissingInput(
            f"the folder '{name}' is missing from this installation of umlbench",
            "install it again: pip install --force-reinstall umlbench",
        )
    return packaged
