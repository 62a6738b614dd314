from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_protocol

from umlbench import planning, protocols, recipe
from umlbench.jobs import Job
from umlbench.planning import Plan
from umlbench.records import Record


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol `toy` (toy_protocol.py) beside the real ones."""
    monkeypatch.setattr(protocols, "NAMES", (*protocols.NAMES, "toy"))
    monkeypatch.setitem(sys.modules, "umlbench.protocols.toy", toy_protocol)


@pytest.fixture
def toy_plan(toy: None, tmp_path: Path) -> Callable[..., Plan]:
    """`toy_plan("ok", "raise")` is a plan with one job per act; results lie in `tmp_path`."""

    def make(
        *acts: str, seeds: tuple[int, ...] = (1,), together: bool = False, **options: Any
    ) -> Plan:
        marks = tmp_path / "marks"
        marks.mkdir(exist_ok=True)
        names = [f"{number}:{act}" for number, act in enumerate(acts)]
        file = tmp_path / "toy.yaml"
        file.write_text(
            "id: toy\ntitle: Toy\nprotocol: toy\n"
            f"axes: {{number: {list(range(len(names)))}}}\nseeds: {list(seeds)}\n"
            f"settings: {{together: {str(together).lower()}, folder: {json.dumps(str(marks))}}}\n"
            "report: {metrics: [score], rows: [number]}\n"
        )
        loaded = recipe.bundle(file)
        made = planning.make(loaded, tmp_path / "results", **options)
        return with_acts(made, acts)

    return make


def with_acts(plan: Plan, acts: tuple[str, ...]) -> Plan:
    """The plan with each job's `act`, by its `number`; ids stay those of the recipe."""
    from dataclasses import replace

    def acting(job: Job) -> Job:
        made = replace(
            job, settings=job.settings.model_copy(update={"act": acts[job.settings.number]})
        )
        made.__dict__["id"] = job.id
        return made

    parts = tuple(
        replace(part, jobs=tuple(map(acting, part.jobs)), todo=tuple(map(acting, part.todo)))
        for part in plan.parts
    )
    return replace(plan, parts=parts)


@pytest.fixture
def figures() -> Callable[[Any], dict[str, Any]]:
    """What must not change of stored or returned records, by id."""

    def read(found: Any) -> dict[str, Any]:
        records: list[Record] = list(found.latest().values()) if hasattr(found, "latest") else found
        return {record.id: record.figures() for record in records}

    return read
