"""Carries a plan out: groups of jobs to an executor, one record per job as it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from umlbench import extraction, heads, records
from umlbench.executors import Executor, Result
from umlbench.jobs import Context, Job
from umlbench.planning import Part, Plan
from umlbench.records import Record


@dataclass(frozen=True)
class Event:
    """A job ended; its record is on disk."""

    part: Part
    record: Record


def _ignore(event: Event) -> None:
    """The default listener."""


def extract(plan: Plan, context: Context) -> int:
    """Encode the features that a plan's jobs read and the cache lacks; how many entries were made.

    Done before workers start, in this process, with all its threads or on its GPU. Raises
    `StorageError` before any of that where records cannot be written.
    """
    _prepare_stores(plan)
    wanted = [one for part in plan.parts for one in part.reads.features]
    return extraction.extract(wanted, context)


def execute(
    plan: Plan,
    executor: Executor,
    context: Context,
    on_event: Callable[[Event], None] = _ignore,
) -> list[Record]:
    """Run what a plan misses and return the new records (failures too), in the order they ended.

    Raises `StorageError` before any training where records cannot be written, and when the disk
    fills up later; everything recorded until then is kept.
    """
    _prepare_stores(plan)
    parts = {part.recipe.id: part for part in plan.parts}
    groups = [group for part in plan.parts for group in grouped(part)]
    missing = {(part.recipe.id, job.id) for part in plan.parts for job in part.todo}
    made = []
    with closing(executor.run(groups, context)) as results:
        for result in results:
            if (result.job.recipe, result.job.id) not in missing:
                continue  # trained again only to keep its batch whole
            part = parts[result.job.recipe]
            record = _record(result)
            _keep_head(part, record, result, context)
            part.store.append([record])
            made.append(record)
            on_event(Event(part, record))
    return made


def _prepare_stores(plan: Plan) -> None:
    for part in plan.parts:
        if part.todo:
            part.store.prepare()


def _record(result: Result) -> Record:
    job, where = result.job, result.provenance
    if result.outcome is None:
        return records.failed(job, result.error or "no outcome", where, result.seconds)
    try:
        return records.succeeded(job, result.outcome, where, result.seconds)
    except TypeError as error:  # a protocol's mistake must not cost the other jobs
        return records.failed(job, f"its outcome cannot be stored: {error}", where, result.seconds)


def _keep_head(part: Part, record: Record, result: Result, context: Context) -> None:
    """Store the head before the record, so that a job with a record is not left without one."""
    if context.heads and record.ok and result.outcome and result.outcome.head:
        shelf = heads.Shelf(part.store.folder, context.cache)
        heads.save(shelf.path(context.heads, record.id), result.outcome.head, record)


def grouped(part: Part) -> list[list[Job]]:
    """The missing jobs, those that the protocol trains together side by side, in plan order.

    With `WHOLE_BATCHES` a batch that misses one job comes with its finished ones too.
    """
    protocol = part.recipe.protocol
    missing = {job.id for job in part.todo}
    groups: dict[str, list[Job]] = {}
    for job in part.jobs if protocol.WHOLE_BATCHES else part.todo:
        groups.setdefault(protocol.batch(job), []).append(job)
    return [group for group in groups.values() if any(job.id in missing for job in group)]
