"""Processes of this machine, each pinned to one device.

Each worker has a pipe of its own. It brings groups and takes results away, one by one; its end
tells the parent that the worker died, and the worker that the parent did, however that happened.
A worker that dies (killed, out of memory) costs the other workers nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_until_ready
from pickle import PickleError
from queue import SimpleQueue

from umlbench.executors import Result
from umlbench.executors.work import in_words, work
from umlbench.jobs import Context, Job, silent

ATTEMPTS = 2  # how often a job may lose its worker before it is recorded as failed


@dataclass(frozen=True)
class LocalExecutor:
    """One worker process per entry of `devices`; one device alone works in this process."""

    devices: tuple[str, ...] = ("cpu",)

    def run(
        self, groups: Sequence[Sequence[Job]], context: Context
    ) -> Generator[Result, None, None]:
        """See `Executor.run`."""
        if len(self.devices) == 1 or len(groups) <= 1:
            for group in groups:
                yield from work(group, replace(context, device=self.devices[0]))
        else:
            yield from self._shared_out(groups, context)

    def _shared_out(
        self, groups: Sequence[Sequence[Job]], context: Context
    ) -> Generator[Result, None, None]:
        waiting = deque(Task(list(group)) for group in groups)
        workers: list[Worker] = []
        try:
            workers += (Worker(device, context) for device in self.devices[: len(groups)])
            while waiting or any(worker.task for worker in workers):
                for worker in workers:
                    if waiting and not worker.task:
                        worker.take(waiting.popleft())
                busy = [worker for worker in workers if worker.task]
                ready = wait_until_ready([worker.pipe for worker in busy])
                for worker in busy:
                    if worker.pipe in ready:
                        yield from worker.progress(waiting)
        finally:
            for worker in workers:
                worker.stop()


@dataclass
class Task:
    """A group, which of its jobs have a result, and how often it has been given out."""

    jobs: list[Job]
    attempts: int = 0
    done: set[str] = field(default_factory=set)

    @property
    def left(self) -> list[Job]:
        """The jobs without a result."""
        return [job for job in self.jobs if job.id not in self.done]

    def again(self) -> list[Task]:
        """What to do after its worker died; empty where nothing more is tried.

        The group stays whole as long as it can, for the sake of the figures' last digits; then its
        jobs are tried alone, so that the one that kills its worker takes no other with it.
        """
        if self.attempts < ATTEMPTS:
            return [self]
        if len(self.jobs) > 1:
            return [Task([job], ATTEMPTS - 1) for job in self.left]
        return []


class Worker:
    """One process on one device, the pipe to it, and the task it is at."""

    def __init__(self, device: str, context: Context) -> None:
        # `say` stays here: what it closes over need not fit through a pipe.
        self.context = replace(context, device=device, say=silent)
        self.task: Task | None = None
        self._start()

    def _start(self) -> None:
        spawn = get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, self.context))
        resource_tracker.ensure_running()  # which would let Ctrl-C through where `start` calls it
        with _interrupts_held():
            self.process.start()
        theirs.close()

    def take(self, task: Task) -> None:
        """Give it a task."""
        task.attempts += 1
        self.task = task
        with suppress(OSError):  # it has died: the pipe's end will say so
            self.pipe.send(task.jobs)

    def progress(self, waiting: deque[Task]) -> Iterator[Result]:
        """The next message of the worker: a result, the end of its task, or its own end.

        Raises `RuntimeError` where it has no task.
        """
        if self.task is None:
            raise RuntimeError("an idle worker makes no progress")
        try:
            result: Result | None = self.pipe.recv()
        except (EOFError, OSError):
            yield from self._died(self.task, waiting)
            return
        if result is None:
            self.task = None
        elif result.job.id not in self.task.done:
            self.task.done.add(result.job.id)
            yield result

    def _died(self, task: Task, waiting: deque[Task]) -> Iterator[Result]:
        self.process.join(1)  # its own exit code rather than that of `stop`
        self.stop()
        code = self.process.exitcode
        self.task = None
        self._start()
        tasks = task.again() if task.left else []
        waiting.extendleft(reversed(tasks))
        for job in task.left if not tasks else ():
            error = (
                f"its worker died {ATTEMPTS} times (exit code {code}: killed, or out of memory?); "
                "run again with fewer --workers"
            )
            yield Result(job, error=error)

    def stop(self) -> None:
        """End the process at once; what it sent before has been read."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back; a process started meanwhile never sees one (its parent ends it)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, context: Context) -> None:
    """The worker: work on groups until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    groups: SimpleQueue[list[Job]] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, groups), daemon=True).start()
    with suppress(OSError):  # nobody is left to tell
        while True:
            for result in work(groups.get(), context):
                _send(pipe, result)
            pipe.send(None)


def _send(pipe: Connection, result: Result) -> None:
    try:
        pipe.send(result)
    except (TypeError, ValueError, AttributeError, PickleError) as error:
        told = f"its outcome cannot leave the worker: {in_words(error)}"
        pipe.send(replace(result, outcome=None, error=told))


def _listen(pipe: Connection, groups: SimpleQueue[list[Job]]) -> None:
    """Hand groups on; when the parent is gone, so is this process, whatever it is at."""
    with suppress(EOFError, OSError):
        while True:
            groups.put(pipe.recv())
    os._exit(1)
