from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umlbench.executors import Result
from umlbench.executors.local import LocalExecutor
from umlbench.jobs import Context
from umlbench.planning import Plan
from umlbench.running import grouped

MakePlan = Callable[..., Plan]
Calls = Callable[[], list[str]]


def run(plan: Plan, workers: int) -> dict[int, Result]:
    results = list(LocalExecutor(("cpu",) * workers).run(grouped(plan.parts[0]), Context()))
    assert len(results) == len({result.job.id for result in results})
    return {result.job.settings.number: result for result in results}  # type: ignore[attr-defined]


def test_workers_share_the_groups(toy_plan: MakePlan, calls: Calls) -> None:
    found = run(toy_plan("ok", "slow", "ok", "slow"), workers=2)
    assert {n: r.outcome.metrics["score"] for n, r in found.items() if r.outcome} == {
        0: 1, 1: 2, 2: 3, 3: 4,
    }  # fmt: skip
    assert calls() == ["0-1-of-1", "1-1-of-1", "2-1-of-1", "3-1-of-1"]


def test_a_dead_worker_costs_no_other_job(toy_plan: MakePlan, calls: Calls) -> None:
    """One kills every worker it meets; the others, one of them beside it each time, are fine."""
    found = run(toy_plan("die", "slow", "slow", "slow", "ok"), workers=2)
    assert found[0].outcome is None
    assert found[0].error == (
        "its worker died 2 times (exit code -9: killed, or out of memory?); "
        "run again with fewer --workers"
    )
    assert [found[n].error for n in range(1, 5)] == [None] * 4
    assert calls() == ["0-1-of-1", "0-2-of-1", *(f"{n}-1-of-1" for n in range(1, 5))]


def test_a_worker_that_dies_once_is_replaced(toy_plan: MakePlan) -> None:
    found = run(toy_plan("die once", "ok"), workers=2)
    assert found[0].outcome is not None
    assert found[0].outcome.metrics == {"score": 1}


def test_the_killer_of_a_group_fails_alone(toy_plan: MakePlan, calls: Calls) -> None:
    """The group stays whole twice, then its jobs are tried alone; what had ended is kept."""
    plan = toy_plan("ok", "exit", "ok", together=True)
    groups = [*grouped(plan.parts[0]), []]  # a second group, so that workers are used
    groups[1] = [groups[0].pop(0)]
    results = list(LocalExecutor(("cpu", "cpu")).run(groups, Context()))
    errors = {r.job.settings.number: r.error for r in results}  # type: ignore[attr-defined]
    assert len(results) == 3
    assert errors[0] is None
    assert errors[1] is not None
    assert "exit code 7" in errors[1]
    assert errors[2] is None
    assert calls() == ["0-1-of-1", "1-1-of-2", "1-2-of-2", "1-3-of-1", "2-1-of-1"]


def test_errors_and_outcomes_that_do_not_pickle(toy_plan: MakePlan) -> None:
    found = run(toy_plan("unpicklable error", "unpicklable", "ok"), workers=2)
    assert "Picky: picky" in str(found[0].error)
    assert "its outcome cannot leave the worker" in str(found[1].error)
    assert found[2].error is None


def test_closing_ends_the_workers_at_once(toy_plan: MakePlan) -> None:
    running = LocalExecutor(("cpu", "cpu")).run(
        grouped(toy_plan("ok", "hang", "hang").parts[0]), Context()
    )
    next(running)
    workers = children()
    assert len(workers) >= 2
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 2
    assert not workers & children()


def test_ctrl_c_does_not_reach_the_workers(toy_plan: MakePlan, calls: Calls) -> None:
    """A terminal sends it to every process; the parent alone decides."""
    running = LocalExecutor(("cpu", "cpu")).run(
        grouped(toy_plan("ok", "slow", "slow").parts[0]), Context()
    )
    next(running)
    for worker in children():
        os.kill(worker, signal.SIGINT)
    assert len(list(running)) == 2
    assert calls() == ["0-1-of-1", "1-1-of-1", "2-1-of-1"]


def children() -> set[int]:
    """The worker processes of this one (Linux); not the tracker that multiprocessing keeps."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("needs /proc")
    pids = {int(p) for task in tasks.iterdir() for p in (task / "children").read_text().split()}
    return {p for p in pids if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()}
