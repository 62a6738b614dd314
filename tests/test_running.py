from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from umlbench import heads
from umlbench.errors import StorageError
from umlbench.executors import Result
from umlbench.executors.local import LocalExecutor
from umlbench.jobs import Context, Job, Outcome
from umlbench.planning import Plan
from umlbench.records import Record
from umlbench.running import Event, execute, grouped

MakePlan = Callable[..., Plan]
Calls = Callable[[], list[str]]
ALONE = LocalExecutor()


def statuses(records: Sequence[Record]) -> dict[object, str]:
    return {record.cell["number"]: record.status for record in records}


def test_one_record_per_job_in_the_order_they_end(toy_plan: MakePlan) -> None:
    plan, events = toy_plan("ok", "ok", seeds=(1, 2)), list[Event]()
    made = execute(plan, ALONE, Context(), events.append)
    assert [record.id for record in made] == [job.id for job in plan.parts[0].todo]
    assert [event.record for event in events] == made
    assert list(plan.parts[0].store.load().records) == made
    assert [record.metrics["score"] for record in made] == [1, 2, 2, 3]
    assert all(record.identity() == record.id for record in made)


def test_a_listener_hears_of_a_record_that_is_on_disk(toy_plan: MakePlan) -> None:
    seen = []
    execute(
        toy_plan("ok", "raise"),
        ALONE,
        Context(),
        lambda event: seen.append(event.record in event.part.store.load().records),
    )
    assert seen == [True, True]


def test_nothing_to_do_touches_nothing(toy_plan: MakePlan, tmp_path: Path) -> None:
    plan = toy_plan("ok")
    idle = replace(plan, parts=tuple(replace(part, todo=()) for part in plan.parts))
    assert execute(idle, ALONE, Context()) == []
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_are_recorded_and_tried_again(
    toy_plan: MakePlan, calls: Calls, workers: int
) -> None:
    executor = LocalExecutor(("cpu",) * workers)
    acts = ("ok", "raise once", "nan", "tensor", "ok")
    first = execute(toy_plan(*acts), executor, Context())
    assert statuses(first) == {0: "ok", 1: "failed", 2: "failed", 3: "failed", 4: "ok"}
    errors = {record.cell["number"]: str(record.error) for record in first}
    assert errors[1].startswith("RuntimeError: broken at ~/secret/data.bin (toy_protocol.py:")
    assert errors[2] == "score is not a finite number: the training diverged"
    assert errors[3] == "its outcome cannot be stored: array is no plain value"
    assert all(record.seconds and record.finished and record.provenance for record in first)

    again = toy_plan(*acts[:3], "ok", "ok")
    assert [job.cell["number"] for job in again.parts[0].todo] == [1, 2, 3]
    second = execute(again, executor, Context())
    assert statuses(second) == {1: "ok", 2: "failed", 3: "ok"}
    stored = again.parts[0].store.load()
    assert len(stored.records) == 8
    assert statuses(list(stored.latest().values())) == {
        0: "ok", 1: "ok", 2: "failed", 3: "ok", 4: "ok",
    }  # fmt: skip
    assert [call.split("-")[0] for call in calls()] == ["0", "1", "1", "2", "2", "3", "3", "4"]


def test_a_dead_worker_is_a_failed_record(toy_plan: MakePlan) -> None:
    plan = toy_plan("die", "ok", "ok")
    made = execute(plan, LocalExecutor(("cpu", "cpu")), Context())
    assert statuses(made) == {0: "failed", 1: "ok", 2: "ok"}
    assert "its worker died 2 times" in str(plan.parts[0].store.load().latest()[made[-1].id].error)


def test_one_worker_and_three_make_the_same_records(toy_plan: MakePlan, tmp_path: Path) -> None:
    found = []
    for workers in (1, 3):
        plan = toy_plan("ok", "slow", "ok", "nan", seeds=(1, 2), fresh=True)
        made = execute(plan, LocalExecutor(("cpu",) * workers), Context())
        found.append({record.id: record.figures() for record in made})
    assert found[0] == found[1]
    assert len(found[0]) == 8


# --- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("place", heads.PLACES)
def test_the_heads_of_successes_are_stored(
    toy_plan: MakePlan, tmp_path: Path, workers: int, place: heads.Place
) -> None:
    plan = toy_plan("ok", "raise", "nan", "ok", heads=place)
    context = Context(cache=tmp_path / "cache", heads=place)
    made = execute(plan, LocalExecutor(("cpu",) * workers), context)
    folder = {"results": plan.parts[0].store.folder, "cache": context.cache}[place] / "heads"
    assert {path.stem for path in folder.iterdir()} == {r.id for r in made if r.ok}
    for record in made:
        if record.ok:
            found = heads.load(folder / f"{record.id}.safetensors")
            assert found.tensors["head"][0].tolist() == [record.cell["number"], record.seed]
            assert (found.about.id, found.about.metrics) == (record.id, record.metrics)


def test_no_head_is_stored_unasked(toy_plan: MakePlan) -> None:
    plan = toy_plan("ok")
    execute(plan, ALONE, Context())
    assert [path.name for path in plan.parts[0].store.folder.iterdir()] == ["records.jsonl"]


def test_a_head_that_cannot_be_stored_leaves_no_record(toy_plan: MakePlan) -> None:
    """Else the job would be done without it."""
    plan = toy_plan("ok", heads="results")
    plan.parts[0].store.folder.mkdir(parents=True)
    (plan.parts[0].store.folder / "heads").touch()  # a file where the folder should be
    with pytest.raises(StorageError, match="cannot write"):
        execute(plan, ALONE, Context(heads="results"))
    assert plan.parts[0].store.load().records == ()


# --- whole batches ------------------------------------------------------------------------------


def test_a_batch_is_cut_down_to_what_is_missing(toy_plan: MakePlan, calls: Calls) -> None:
    execute(toy_plan("ok", "raise", "ok", together=True), ALONE, Context())
    before = set(calls())
    execute(toy_plan("ok", "ok", "ok", together=True), ALONE, Context())
    assert set(calls()) - before == {"1-3-of-1"}


def test_a_whole_batch_keeps_its_finished_jobs(
    toy_plan: MakePlan, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are trained beside the missing one, and neither recorded nor announced again."""
    monkeypatch.setattr(sys.modules["umlbench.protocols.toy"], "WHOLE_BATCHES", True)
    execute(toy_plan("ok", "raise", "ok", together=True), ALONE, Context())
    before, events = set(calls()), list[Event]()
    plan = toy_plan("ok", "ok", "ok", together=True)
    made = execute(plan, ALONE, Context(), events.append)
    assert {call.split("-", 2)[2] for call in set(calls()) - before} == {"of-3"}
    assert statuses(made) == {1: "ok"}
    assert len(events) == 1
    assert len(plan.parts[0].store.load().records) == 4
    assert grouped(toy_plan("ok", "ok", "ok", together=True).parts[0]) == []


# --- storage ------------------------------------------------------------------------------------


def test_an_unwritable_folder_fails_before_any_training(
    toy_plan: MakePlan, calls: Calls, tmp_path: Path
) -> None:
    plan = toy_plan("ok")
    (tmp_path / "results").touch()  # a file where the folder should be
    with pytest.raises(StorageError, match=r"cannot write the records in .*File exists|Not a dir"):
        execute(plan, ALONE, Context())
    assert calls() == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_run_and_keeps_what_was_stored(
    toy_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    plan = toy_plan("ok", "hang" if workers == 2 else "ok", "ok", "ok")
    syncs, real = [0], os.fsync

    def fsync(fd: int) -> None:
        syncs[0] += 1
        if syncs[0] == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="No space left on device"):
        execute(plan, LocalExecutor(("cpu",) * workers), Context())
    stored = plan.parts[0].store.load()
    assert (len(stored.records), stored.problems) == (2, ())


def test_the_executor_is_closed_when_a_run_ends_early(toy_plan: MakePlan) -> None:
    closed = []

    class Endless:
        def run(
            self, groups: Sequence[Sequence[Job]], context: Context
        ) -> Generator[Result, None, None]:
            try:
                for group in groups:
                    yield Result(group[0], Outcome({"score": 1.0}))
            finally:
                closed.append(True)

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    plan = toy_plan("ok", "ok")
    with pytest.raises(KeyboardInterrupt):
        execute(plan, Endless(), Context(), interrupt)
    assert closed == [True]
    assert len(plan.parts[0].store.load().records) == 1  # it was stored before the listener heard
