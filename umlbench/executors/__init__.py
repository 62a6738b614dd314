"""Where groups of jobs run. An executor yields one result per job, in the order they end.

The interface is one method, so that a cluster's adapter needs nothing else; state is "which records
are missing", so that a killed worker means running its group again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from umlbench.jobs import Context, Job, Outcome


@dataclass(frozen=True)
class Result:
    """One job's outcome, or the error that ended it in words, and its worker's provenance.

    An error travels as text: not every exception survives the way from process to process.
    """

    job: Job
    outcome: Outcome | None = None
    error: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)  # wall time by stage
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Runs groups of jobs; each group is trained together."""

    def run(
        self, groups: Sequence[Sequence[Job]], context: Context
    ) -> Generator[Result, None, None]:
        """Yield a `Result` per job; an error in one job never stops the others.

        Closing the generator stops what is still running, at once.
        """
        ...
