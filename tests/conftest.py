"""What many tests share: a toy protocol that runs, and one whose records are made by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # worker processes import the toy by its name too

import handmade
import toy_protocol

from umlbench import planning, protocols
from umlbench.heads import Place
from umlbench.jobs import Context
from umlbench.planning import Plan
from umlbench.recipe import Bundle, Recipe
from umlbench.recipe.model import RecipeFile

hand = handmade.hand

settings.register_profile("umlbench", deadline=None)  # no test depends on the machine's speed
settings.load_profile("umlbench")


@pytest.fixture(scope="session")
def golden() -> Any:
    """What the official code computes on small inputs."""
    from golden_runs import Golden

    return Golden.read()


@pytest.fixture
def toy_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """A plan with one job per act (see `toy_protocol`), numbered from 0, and seed."""
    monkeypatch.setattr(protocols, "NAMES", (*protocols.NAMES, "toy"))
    monkeypatch.setitem(sys.modules, "umlbench.protocols.toy", toy_protocol)

    def make(
        *acts: str,
        seeds: Sequence[int] = (1,),
        together: bool = False,
        axes: Mapping[str, Any] | None = None,
        heads: Place | None = None,
        **how: Any,
    ) -> Plan:
        (tmp_path / "acts.json").write_text(json.dumps(acts))
        file = RecipeFile.model_validate(
            {
                "id": "toy",
                "title": "A toy",
                "protocol": "toy",
                "axes": axes or {"number": list(range(len(acts)))},
                "seeds": list(seeds),
                "settings": {"folder": str(tmp_path), "together": together},
                "report": {"metrics": ["score"], "rows": ["number"]},
            }
        )
        bundle = Bundle("toy", "A toy", (Recipe(file, "toy"),))
        return planning.make(bundle, tmp_path / "results", Context(heads=heads), **how)

    return make


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    """The calls of the toy protocol so far, `<number>-<call>-of-<group>`, sorted."""
    return lambda: sorted(path.name.removeprefix("call-") for path in tmp_path.glob("call-*"))
