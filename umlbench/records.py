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
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, field, fields
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


def succeeded(
    job: Job,
    outcome: Outcome,
    provenance: Mapping[str, Any],
    seconds: Mapping[str, float] | None = None,
) -> Record:
    """The record of a finished job; `seconds` by stage, without it the outcome's own.

    Raises `TypeError` where the outcome holds what is no plain value (a tensor, a NumPy scalar).
    """
    return Record(
        **_common(job, provenance, outcome.seconds if seconds is None else seconds),
        status="ok",
        metrics=_short(dict(outcome.metrics)),
        curves=tuple(
            Curve(
                c.axis,
                tuple(_short(c.points)),
                {name: tuple(_short(values)) for name, values in c.values.items()},
            )
            for c in outcome.curves
        ),
        selection=None if outcome.selection is None else _short(dict(outcome.selection)),
        trials=None if outcome.trials is None else _short(dict(outcome.trials)),
        features=dict(outcome.features),
    )


def failed(
    job: Job, error: str, provenance: Mapping[str, Any], seconds: Mapping[str, float] | None = None
) -> Record:
    """The record of a job without a figure; paths in `error` are cut to their last part."""
    return Record(
        **_common(job, provenance, seconds or {}), status="failed", error=_no_folders(error)[:500]
    )


def _common(
    job: Job, provenance: Mapping[str, Any], seconds: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "id": job.id,
        "recipe": job.recipe,
        "cell": dict(job.cell),
        "seed": job.seed,
        "spec": job.spec,
        "inputs": dict(job.inputs),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "finished": _now(),
        "provenance": dict(provenance),
    }


_FOLDERS = re.compile(r"(?<![\w./~])(?:file://)?(?:/[^/\s'\"<>|:()]+)*/(?=[^/\s])")


def _no_folders(text: str) -> str:
    """One line without the folders of absolute paths, which name users and machines."""
    return _FOLDERS.sub("", " ".join(text.split()).replace(str(Path.home()), "~"))


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _short(value: Any) -> Any:
    """Floats to `DIGITS` significant digits, all through plain containers; NaN becomes null."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    if value is None or isinstance(value, int | str):
        return value
    raise TypeError(f"{type(value).__name__} is no plain value")


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
            raise self._error("read", error) from error
        records, problems = [], []
        lines = text.split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                records.append(_record(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
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
            raise self._error("write", error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield fd
        except OSError as error:
            raise self._error("write", error) from error
        finally:
            os.close(fd)

    def _error(self, verb: str, error: OSError) -> StorageError:
        message = f"cannot {verb} the records in {self.path}: {error.strerror or error}"
        hint = "free space or name another folder with --results; records stored so far are kept"
        return StorageError(message, hint)


def _whole_lines(fd: int) -> int:
    """Cut a torn last line off (or finish a whole one); returns the file's size after that."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    data = os.pread(fd, size, 0)
    begin = data.rfind(b"\n") + 1
    try:
        json.loads(data[begin:])
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
    """A record as JSON, without the fields that hold nothing but their default."""
    kept = {
        name: value
        for name, value in asdict(record).items()
        if name in _REQUIRED or value != _DEFAULTS[name]
    }
    return json.dumps(kept, separators=(",", ":"), allow_nan=False) + "\n"


_DEFAULTS = {
    f.name: f.default_factory() if f.default_factory is not MISSING else f.default
    for f in fields(Record)
}
_REQUIRED = {name for name, value in _DEFAULTS.items() if value is MISSING} | {"schema"}
_OBJECTS = ("cell", "spec", "inputs", "metrics", "features", "seconds", "provenance")


def _record(plain: Any) -> Record:
    """The record in a line's JSON; `ValueError` says what is wrong with it."""
    if not isinstance(plain, dict):
        raise ValueError("not a JSON object")
    schema = plain.get("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise ValueError(f"schema {schema} is newer than this umlbench reads")
    absent = [name for name in _DEFAULTS if name in _REQUIRED and name not in plain]
    if absent:
        raise ValueError(f"without {', '.join(absent)}")
    wrong = [name for name in _OBJECTS if not isinstance(plain.get(name, {}), dict)]
    if wrong:
        raise ValueError(f"{wrong[0]} is not an object")
    curves = tuple(
        Curve(c["axis"], tuple(c["points"]), {k: tuple(v) for k, v in c["values"].items()})
        for c in plain.get("curves", ())
    )
    known = {name: plain[name] for name in _DEFAULTS if name in plain}
    return Record(**known | {"curves": curves})
