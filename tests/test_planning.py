from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from umlbench import planning, recipe
from umlbench.errors import MissingInput
from umlbench.executors.local import LocalExecutor
from umlbench.jobs import Context
from umlbench.planning import Plan
from umlbench.running import execute
from umlbench.schema import Closed

MakePlan = Callable[..., Plan]


def test_a_plan_runs_and_writes_nothing(toy_plan: MakePlan, tmp_path: Path) -> None:
    plan = toy_plan("ok", "ok", seeds=(1, 2, 3))
    assert (plan.id, plan.jobs, plan.todo, plan.missing) == ("toy", 6, 6, ())
    assert plan.parts[0].seconds is None
    assert not (tmp_path / "results").exists()


def test_what_has_a_figure_is_done(toy_plan: MakePlan) -> None:
    execute(toy_plan("ok", "raise"), LocalExecutor(), Context())
    assert [job.cell["number"] for job in toy_plan("ok", "ok").parts[0].todo] == [1]
    assert toy_plan("ok", "ok", fresh=True).todo == 2
    assert [job.seed for job in toy_plan("ok", "ok", seeds=(1, 2)).parts[0].todo] == [2, 1, 2]


def test_with_heads_a_job_is_done_when_its_head_is_there(toy_plan: MakePlan) -> None:
    execute(toy_plan("ok"), LocalExecutor(), Context())
    asked = toy_plan("ok", "ok", heads="results")
    assert (asked.todo, asked.headless) == (2, 1)  # one is done without its head, one is new
    execute(asked, LocalExecutor(), Context(heads="results"))
    assert (toy_plan("ok", "ok", heads="results").todo, toy_plan("ok", "ok").todo) == (0, 0)
    elsewhere = toy_plan("ok", "ok", heads="cache")
    assert (elsewhere.todo, elsewhere.headless) == (2, 2)
    fresh = toy_plan("ok", "ok", heads="results", fresh=True)
    assert (fresh.todo, fresh.headless) == (2, 0)


def test_a_protocol_without_heads_is_done_without(
    toy_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(toy_plan("ok"), LocalExecutor(), Context())
    monkeypatch.delattr(sys.modules["umlbench.protocols.toy"], "HEADS")
    assert toy_plan("ok", heads="results").todo == 0


def test_limit_keeps_the_first_jobs_done_or_not(toy_plan: MakePlan) -> None:
    execute(toy_plan("ok", "ok", "ok", limit=1), LocalExecutor(), Context())
    plan = toy_plan("ok", "ok", "ok", limit=2)
    assert (plan.jobs, plan.todo) == (2, 1)


def test_time_is_the_mean_of_successes(toy_plan: MakePlan) -> None:
    plan = toy_plan("ok", "ok", "ok", "raise", limit=2)
    part = plan.parts[0]
    execute(plan, LocalExecutor(), Context())
    first, second = part.store.load().records
    part.store.append(
        [
            replace(first, seconds={"features": 3.0, "train": 1.0}),
            replace(first, status="failed", seconds={"run": 1000.0}),
        ]
    )
    part = toy_plan("ok", "ok", "ok", "ok").parts[0]
    timed = (sum(first.seconds.values()) + sum(second.seconds.values()) + 4.0) / 3
    assert part.seconds_per_job == pytest.approx(timed)
    assert part.seconds == pytest.approx(2 * timed)


def test_cells_that_mean_the_same_job_are_one(toy_plan: MakePlan) -> None:
    """`together` is not part of the toy's identity."""
    part = toy_plan("ok", "ok", axes={"together": [True, False], "number": [0, 1]}).parts[0]
    assert len(part.jobs) == 2
    assert [(job.cell["together"], job.cell["number"]) for job in part.todo] == [
        (True, 0), (True, 1),
    ]  # fmt: skip


def test_missing_inputs_are_listed_once(
    toy_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inputs(settings: Closed, context: Context) -> dict[str, str]:
        if settings.number:  # type: ignore[attr-defined]
            raise MissingInput("no pictures", "umlbench prepare toy")
        return {"sentences": "0f"}

    before = toy_plan("ok", "ok", "ok").parts[0].jobs
    monkeypatch.setattr(sys.modules["umlbench.protocols.toy"], "inputs", inputs)
    plan = toy_plan("ok", "ok", "ok")
    assert plan.missing == ("no pictures\n  umlbench prepare toy",)
    assert [job.inputs for job in plan.parts[0].jobs] == [{"sentences": "0f"}, {}, {}]
    assert plan.parts[0].jobs[0].id != before[0].id
    assert plan.parts[0].jobs[0].spec_id == before[0].spec_id


def test_memory_is_that_of_the_largest_missing_job(
    toy_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def memory(settings: Closed, context: Context) -> int | None:
        assert context.offline  # a plan opens no socket
        return [10, None, 30][settings.number]  # type: ignore[attr-defined]

    assert toy_plan("ok", "ok").parts[0].memory is None  # the protocol does not say
    toy = sys.modules["umlbench.protocols.toy"]
    monkeypatch.setattr(toy, "memory", memory, raising=False)
    assert toy_plan("ok", "ok", "ok").parts[0].memory == 30
    assert toy_plan("ok", "ok").parts[0].memory == 10
    execute(toy_plan("ok"), LocalExecutor(), Context())
    assert toy_plan("ok", "ok").parts[0].memory is None  # not known of the job that is left


def test_trials_are_counted(tmp_path: Path) -> None:
    plan = planning.make(recipe.bundle("digits"), tmp_path, Context(), limit=3)
    part = plan.parts[0]
    points = 1
    for values in part.recipe.file.grid.values():
        points *= len(values)
    assert part.trials == 3 * points
