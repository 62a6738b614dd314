"""Records: one JSON line per job, appended and fsynced, never rewritten.

A torn last line (a kill in the middle of a write) is noticed, ignored and cut off by the next
append. Failures are records too: they are shown and tried again. A later success for an id
supersedes. One file per table: `<results>/<table>/records.jsonl`.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from umlbench.errors import StorageError
from umlbench.jobs import Curve, Job, Outcome, job_id, spec_id
from umlbench.schema import Scalar

SCHEMA = 1
DIGITS = 7  # significant digits stored of every measured figure


@dataclass(frozen=True)
class Record:
    """What one job left: its figures, every trial's, and where they came from."""

    id: str
    recipe: str
    cell: Mapping[str, Scalar]
    seed: int
    status: str  # "ok" or "failed"
    spec: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    selection: Mapping[str, Any] | None = None
    trials: Mapping[str, list[Any]] | None = None
    features: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    finished: str = ""  # UTC, to the second
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def ok(self) -> bool:
        """Whether the job has a figure."""
        return self.status == "ok"

    @property
    def spec_id(self) -> str:
        """The identity that a report matches (see `jobs.spec_id`)."""
        return spec_id(self.spec, self.seed)

    def identity(self) -> str:
        """The job's id computed from this record; equals `id` unless the line was altered."""
        return job_id(self.spec, self.seed, self.inputs)

    def figures(self) -> dict[str, Any]:
        """Everything but times and provenance: what a resumed run must reproduce."""
        plain = asdict(self)
        return {k: v for k, v in plain.items() if k not in ("seconds", "finished", "provenance")}


def succeeded(job: Job, outcome: Outcome, provenance: Mapping[str, Any]) -> Record:
    """The record of a finished job."""
    return Record(
        **_common(job),
        status="ok",
        metrics=_short(dict(outcome.metrics)),
        curves=tuple(
            Curve(c.axis, tuple(_short(list(c.points))), _short(dict(c.values)))
            for c in outcome.curves
        ),
        selection=_short(dict(outcome.selection)) if outcome.selection is not None else None,
        trials=_short(dict(outcome.trials)) if outcome.trials is not None else None,
        features=dict(outcome.features),
        seconds={name: round(value, 3) for name, value in outcome.seconds.items()},
        finished=_now(),
        provenance=provenance,
    )


def failed(job: Job, error: BaseException, provenance: Mapping[str, Any]) -> Record:
    """The record of a job that raised; its paths are cut to their last part."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    words = [Path(word).name if word.startswith(("/", "'/")) else word for word in text.split(" ")]
    return Record(
        **_common(job),
        status="failed",
        error=" ".join(words)[:500],
        finished=_now(),
        provenance=provenance,
    )


def _common(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "recipe": job.recipe,
        "cell": dict(job.cell),
        "seed": job.seed,
        "spec": job.spec,
        "inputs": dict(job.inputs),
    }


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(value: Any) -> Any:
    """Floats to `DIGITS` significant digits, all through plain containers; NaN becomes null."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return value


@dataclass(frozen=True)
class Stored:
    """The records of one file, and the lines that could not be read."""

    records: tuple[Record, ...]
    problems: tuple[str, ...] = ()

    def latest(self) -> dict[str, Record]:
        """By id: the last success, else the last failure."""
        best: dict[str, Record] = {}
        for record in self.records:
            if record.ok or not (record.id in best and best[record.id].ok):
                best[record.id] = record
        return best

    def done(self) -> set[str]:
        """The ids that have a figure."""
        return {record.id for record in self.records if record.ok}


class Store:
    """The records of one recipe under a results folder."""

    def __init__(self, results: Path, recipe: str) -> None:
        self.folder = results / recipe
        self.path = self.folder / "records.jsonl"

    def load(self) -> Stored:
        """Every readable record; a line that is not one becomes a problem, never an exception."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return Stored(())
        except OSError as error:
            raise self._error(error) from error
        records, problems = [], []
        lines = text.split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                records.append(_record(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                torn = number == len(lines)
                what = "torn last line, ignored" if torn else f"not a record, ignored ({error})"
                problems.append(f"{self.path.name}:{number}: {what}")
        return Stored(tuple(records), tuple(problems))

    def prepare(self) -> None:
        """Make sure that records can be written, before any training starts."""
        with self._locked():
            pass

    def append(self, records: Iterable[Record]) -> None:
        """Add records in one write; on failure the file is left as it was.

        Raises `StorageError` (full disk, read-only folder); whatever was stored before stays.
        """
        data = "".join(_line(record) for record in records).encode()
        with self._locked() as fd:
            end = _whole_lines(fd)
            try:
                _write(fd, data)
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, end)
                raise

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file open for appending under an exclusive lock (released when it is closed)."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._error(error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        except OSError as error:
            raise self._error(error) from error
        finally:
            os.close(fd)

    def _error(self, error: OSError) -> StorageError:
        message = f"cannot write records to {self.path}: {error.strerror or error}"
        hint = "free space or name another folder with --results; records stored so far are kept"
        return StorageError(message, hint)


def _whole_lines(fd: int) -> int:
    """Cut a torn last line off (or finish a whole one); returns the file's size after that."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    start, block = size, b""
    while start > 0 and b"\n" not in block:
        step = min(65536, start)
        start -= step
        block = os.pread(fd, step, start) + block
    begin = start + block.rfind(b"\n") + 1
    try:
        json.loads(os.pread(fd, size - begin, begin))
    except ValueError:
        os.ftruncate(fd, begin)
        return begin
    os.write(fd, b"\n")
    return size + 1


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _line(record: Record) -> str:
    plain = {key: value for key, value in asdict(record).items() if value not in (None, {}, ())}
    return json.dumps(plain, separators=(",", ":"), allow_nan=False) + "\n"


def _record(plain: Any) -> Record:
    if not isinstance(plain, dict):
        raise TypeError("not a JSON object")
    if plain.get("schema", 0) > SCHEMA:
        raise ValueError(f"schema {plain['schema']} is newer than this umlbench reads")
    known = {f.name for f in fields(Record)}
    curves = tuple(
        Curve(c["axis"], tuple(c["points"]), {k: tuple(v) for k, v in c["values"].items()})
        for c in plain.get("curves", ())
    )
    return Record(**{k: v for k, v in plain.items() if k in known} | {"curves": curves})
