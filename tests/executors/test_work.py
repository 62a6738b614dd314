from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from umlbench.errors import UserError
from umlbench.executors import Result
from umlbench.executors.work import in_words, work
from umlbench.jobs import Context
from umlbench.planning import Plan
from umlbench.running import grouped

MakePlan = Callable[..., Plan]
Calls = Callable[[], list[str]]


def run(plan: Plan) -> list[Result]:
    (group,) = grouped(plan.parts[0])
    return list(work(group, Context()))


def test_where_a_batch_fails_its_jobs_are_tried_one_by_one(
    toy_plan: MakePlan, calls: Calls
) -> None:
    results = run(toy_plan("ok", "raise in a group", "raise", "ok", together=True))
    assert [result.error is None for result in results] == [True, True, False, True]
    assert "RuntimeError: broken" in str(results[2].error)
    assert calls() == ["0-1-of-4", "1-1-of-4", "1-2-of-1", "2-1-of-1", "3-1-of-1"]


@pytest.mark.parametrize(
    ("act", "error"),
    [
        ("nan", "score is not a finite number: the training diverged"),
        ("nan curve", "score by step is not a finite number: the training diverged"),
        ("silent", "the protocol ended without a word on this job"),
        ("user error", "no such thing do another"),
    ],
)
def test_a_job_without_a_figure(toy_plan: MakePlan, act: str, error: str) -> None:
    ok, failed = run(toy_plan("ok", act, together=True))
    assert ok.error is None
    assert failed.error == error
    assert failed.outcome is None


def test_every_result_has_seconds_and_provenance(toy_plan: MakePlan) -> None:
    for result in run(toy_plan("ok", "slow", "nan", "silent", together=True)):
        assert set(result.seconds) == {"run"}
        assert {"versions", "commit", "device"} <= set(result.provenance)
        assert bool(result.outcome) <= (result.provenance.get("dtype") == "float32")


def test_seconds_are_those_of_the_job(toy_plan: MakePlan) -> None:
    quick, slow = run(toy_plan("ok", "slow", together=True))
    assert slow.seconds["run"] >= 0.2
    assert quick.seconds["run"] < 0.2


def test_libraries_loaded_later_get_one_thread_too(
    toy_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group,) = grouped(toy_plan("ok").parts[0])
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    for _ in work(group, Context()):
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


def test_one_thread_within_and_the_former_number_after(toy_plan: MakePlan) -> None:
    import torch

    (group,) = grouped(toy_plan("ok").parts[0])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in work(group, Context()):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_error_in_words_has_its_type_and_place() -> None:
    def raising() -> None:
        raise ValueError("two\nlines")

    with pytest.raises(ValueError, match="two") as caught:
        raising()
    text = in_words(caught.value)
    assert text.startswith("ValueError: two lines (")
    assert "test_work.py:" in text
    assert in_words(UserError("what", "hint")) == "what hint"
    assert in_words(KeyError("never raised")) == "KeyError: 'never raised'"
