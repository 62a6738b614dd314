"""All devices at one job after the other, for a backbone whose training takes days.

Every device has a process with torchrun's variables in its environment. They train a job together
where its protocol can (`RANKS`); the groups of other protocols go to the local executor. The first
process's results count; where any of them fails or dies, all are ended, and the next job has new
ones. A job that was cut short goes on from its checkpoint in the next run.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_until_ready

from umlbench import protocols
from umlbench.executors import Result
from umlbench.executors.local import LocalExecutor, Task, Worker
from umlbench.jobs import Context, Job


@dataclass(frozen=True)
class RanksExecutor:
    """One process per entry of `devices`, all of them at the same job."""

    devices: tuple[str, ...] = ("cpu",)

    def run(
        self, groups: Sequence[Sequence[Job]], context: Context
    ) -> Generator[Result, None, None]:
        """See `Executor.run`."""
        if len(self.devices) == 1:
            yield from LocalExecutor(self.devices).run(groups, context)
            return
        alone = [group for group in groups if not _can_share(group)]
        yield from LocalExecutor(self.devices).run(alone, context)
        for group in groups:
            for job in group if _can_share(group) else ():
                yield self._together(job, context)

    def _together(self, job: Job, context: Context) -> Result:
        workers = list(self._start(context))
        try:
            for worker in workers:
                worker.take(Task([job]))
            return next(self._results(job, workers))
        finally:
            for worker in workers:
                worker.stop()

    def _start(self, context: Context) -> Iterator[Worker]:
        """A worker per device, which finds the others at a free port of this machine."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {"WORLD_SIZE": len(self.devices), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for rank, device in enumerate(self.devices):
            with _environment({**common, "RANK": rank, "LOCAL_RANK": rank}):
                yield Worker(device, context)

    def _results(self, job: Job, workers: Sequence[Worker]) -> Iterator[Result]:
        """What ends the job: the first process's result, or the first failure of any."""
        while True:
            ready = wait_until_ready([worker.pipe for worker in workers])
            for rank, worker in enumerate(workers):
                if worker.pipe not in ready:
                    continue
                try:
                    result: Result | None = worker.pipe.recv()
                except (EOFError, OSError):
                    result = Result(job, error=f"process {rank} of {len(workers)} died")
                if result is not None and (rank == 0 or result.error):
                    yield result


def _can_share(group: Sequence[Job]) -> bool:
    return bool(getattr(protocols.load(group[0].protocol), "RANKS", False))


@contextmanager
def _environment(variables: dict[str, int | str]) -> Iterator[None]:
    """Variables that a process inherits which is started meanwhile."""
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
