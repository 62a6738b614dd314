"""Processes of this machine, each pinned to one device."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_until_ready
from typing import Any

from umlbench.errors import UserError
from umlbench.executors import Result
from umlbench.executors.work import work
from umlbench.jobs import Context, Job

ATTEMPTS = 2  # how often a group may lose its worker before its jobs are recorded as failed

Queue = list[tuple[list[Job], int]]  # groups and the attempt each is at

_device = "cpu"  # of this worker process


@dataclass(frozen=True)
class LocalExecutor:
    """One worker process per entry of `devices`; one device alone works in this process."""

    devices: tuple[str, ...] = ("cpu",)

    def run(self, groups: Sequence[Sequence[Job]], context: Context) -> Iterator[Result]:
        """See `Executor.run`."""
        if len(self.devices) == 1 or len(groups) == 1:
            for group in groups:
                yield from work(group, replace(context, device=self.devices[0]))
            return
        queue: Queue = [(list(group), 1) for group in groups]
        while queue:
            queue = yield from self._until_broken(queue, context)

    def _until_broken(self, queue: Queue, context: Context) -> Generator[Result, None, Queue]:
        """Work on `queue`; returns what is left when a worker dies (killed, out of memory)."""
        flying: dict[Future[list[Result]], tuple[list[Job], int]] = {}
        pool, alive = self._pool()
        try:
            while queue or flying:
                # Only what is being worked on is submitted: a dead worker then costs no other
                # group an attempt.
                while queue and len(flying) < len(self.devices):
                    group, attempt = queue.pop(0)
                    flying[pool.submit(_work, group, context)] = (group, attempt)
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    if not isinstance(future.exception(), BrokenProcessPool):
                        del flying[future]
                        yield from future.result()
                if any(future.done() for future in flying):
                    break
        except BrokenProcessPool:  # the pool broke between two submissions
            pass
        finally:
            alive.close()  # the workers' sign to stop at once
            pool.shutdown(wait=False, cancel_futures=True)
        again = [(group, attempt + 1) for group, attempt in flying.values() if attempt < ATTEMPTS]
        for group, attempt in flying.values():
            if attempt >= ATTEMPTS:
                yield from _lost(group)
        return again + queue

    def _pool(self) -> tuple[ProcessPoolExecutor, Connection]:
        spawn = get_context("spawn")
        devices = spawn.SimpleQueue()
        for device in self.devices:
            devices.put(device)
        stop, alive = spawn.Pipe(duplex=False)
        pool = ProcessPoolExecutor(
            len(self.devices), mp_context=spawn, initializer=_begin, initargs=(devices, stop)
        )
        return pool, alive


def _begin(devices: Any, stop: Connection) -> None:
    """In a new worker: take a device, ignore Ctrl-C, and end with the parent, however that ends."""
    global _device
    _device = devices.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()


def _end_with_parent(stop: Connection) -> None:
    wait_until_ready([stop])
    os._exit(1)


def _work(group: list[Job], context: Context) -> list[Result]:
    return list(work(group, replace(context, device=_device)))


def _lost(group: list[Job]) -> Iterator[Result]:
    message = f"the worker died {ATTEMPTS} times (killed, or out of memory?)"
    for job in group:
        yield Result(job, error=UserError(message, "run again with fewer --workers"))
