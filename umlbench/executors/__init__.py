"""Where groups of jobs run. An executor yields one result per job, in the order they end.

The interface is one method, so that a cluster's adapter needs nothing else; state is "which records
are missing", so that a killed worker means running its group again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from umlbench.jobs import Context, Job, Outcome


@dataclass(frozen=True)
class Result:
    """One job's outcome, or the error that ended it, and the provenance of its worker."""

    job: Job
    outcome: Outcome | None = None
    error: BaseException | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Runs groups of jobs; each group is trained together."""

    def run(self, groups: Sequence[Sequence[Job]], context: Context) -> Iterator[Result]:
        """Yield a `Result` per job; an error in one job never stops the others."""
        ...
