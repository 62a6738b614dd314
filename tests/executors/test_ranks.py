"""All devices at one job: who gets what, and what a failure of one process means."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umlbench.executors import Result
from umlbench.executors.ranks import RanksExecutor
from umlbench.jobs import Context
from umlbench.planning import Plan
from umlbench.running import grouped


@pytest.fixture
def results(toy_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The results of some acts on two processes; `share`: whether the toy can be shared."""

    def run(*acts: str, share: bool = True) -> list[Result]:
        monkeypatch.setattr(sys.modules["umlbench.protocols.toy"], "RANKS", share, raising=False)
        groups = [group for part in toy_plan(*acts).parts for group in grouped(part)]
        return list(RanksExecutor(("cpu", "cpu")).run(groups, Context()))

    return run


def test_both_processes_have_every_job_and_the_first_s_result_counts(
    results: Any, calls: Callable[[], list[str]]
) -> None:
    found = results("ok", "ok")
    assert [result.job.settings.number for result in found] == [0, 1]
    assert [result.outcome.metrics for result in found] == [{"score": 1.0}, {"score": 2.0}]
    assert {call.partition("-")[0] for call in calls()} == {"0", "1"}


def test_a_job_that_fails_is_one_failure_and_the_next_one_runs(results: Any) -> None:
    found = results("raise", "ok")
    assert found[0].outcome is None
    assert "broken at" in found[0].error
    assert found[1].outcome is not None


def test_a_process_that_dies_ends_the_job_at_once(results: Any) -> None:
    first, second = results("die", "ok")
    assert first.error in ("process 0 of 2 died", "process 1 of 2 died")
    assert second.outcome is not None


def test_jobs_that_cannot_be_shared_go_one_to_a_device(
    results: Any, calls: Callable[[], list[str]]
) -> None:
    assert len(results("ok", "ok", share=False)) == 2
    assert calls() == ["0-1-of-1", "1-1-of-1"]  # each once


def test_the_environment_is_put_back(results: Any) -> None:
    before = dict(os.environ)
    results("ok")
    assert dict(os.environ) == before


def test_one_device_needs_no_process(toy_plan: Callable[..., Plan]) -> None:
    groups = [group for part in toy_plan("ok").parts for group in grouped(part)]
    running: Iterator[Result] = RanksExecutor(("cpu",)).run(groups, Context())
    [result] = list(running)
    assert result.outcome is not None
