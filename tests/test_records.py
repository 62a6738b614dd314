from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from umlbench import records
from umlbench.errors import Exit, StorageError
from umlbench.jobs import Curve, Job, Outcome, job_id
from umlbench.records import Record, Store
from umlbench.schema import Closed


class Settings(Closed):
    rate: float = 0.1


def job(seed: int = 0) -> Job:
    return Job("r", "p", 1, {"shots": 1}, seed, Settings(), inputs={"data": "0f"})


def record(number: int = 0, **changes: Any) -> Record:
    spec = {"number": number, "text": "é" * 10}
    plain: dict[str, Any] = {"cell": {"n": number}, "metrics": {"score": number / 7}}
    return Record(
        **{"id": job_id(spec, 1, {}), "recipe": "r", "seed": 1, "status": "ok", "spec": spec}
        | plain
        | changes
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, "r")


# --- append and load ----------------------------------------------------------------------------

names = st.text(max_size=5)
numbers = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | numbers | st.text(max_size=20)
plain = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
figures = st.dictionaries(names, numbers, max_size=3)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    points = draw(st.lists(numbers, max_size=3))
    values = st.lists(numbers, min_size=len(points), max_size=len(points)).map(tuple)
    return Curve(draw(names), tuple(points), draw(st.dictionaries(names, values, max_size=2)))


arbitrary = st.builds(
    Record,
    id=names,
    recipe=names,
    cell=st.dictionaries(names, scalars, max_size=3),
    seed=st.integers(),
    status=st.sampled_from(["ok", "failed"]),
    spec=st.dictionaries(names, plain, max_size=3),
    inputs=st.dictionaries(names, names, max_size=2),
    metrics=figures,
    curves=st.lists(curves(), max_size=2).map(tuple),
    selection=st.none() | st.dictionaries(names, plain, max_size=2),
    trials=st.none() | st.dictionaries(names, st.lists(plain, max_size=3), max_size=2),
    features=st.dictionaries(names, names, max_size=2),
    error=st.none() | st.text(max_size=30),
    seconds=figures,
    finished=names,
    provenance=st.dictionaries(names, plain, max_size=2),
)


@given(batches=st.lists(st.lists(arbitrary, max_size=3), max_size=3))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_what_is_appended_is_loaded(
    batches: list[list[Record]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("round"), "r")
    for batch in batches:
        store.append(batch)
    stored = store.load()
    assert stored.problems == ()
    assert list(stored.records) == [one for batch in batches for one in batch]


def test_a_line_leaves_out_what_is_empty(store: Store) -> None:
    store.append([record()])
    assert set(json.loads(store.path.read_text())) == {
        "id", "recipe", "cell", "seed", "status", "spec", "metrics", "schema",
    }  # fmt: skip


def test_nothing_stored_yet(store: Store) -> None:
    assert store.load() == records.Stored(())
    assert not store.folder.exists()


def test_latest_is_the_last_success_else_the_last_failure(store: Store) -> None:
    def of(name: str, status: str, score: float) -> Record:
        return record(id=name, status=status, metrics={"score": score})

    store.append([of("a", "ok", 1), of("b", "failed", 2), of("a", "failed", 3)])
    store.append([of("b", "failed", 4), of("a", "ok", 5), of("c", "failed", 6), of("c", "ok", 7)])
    stored = store.load()
    assert {name: r.metrics["score"] for name, r in stored.latest().items()} == {
        "a": 5, "b": 4, "c": 7,
    }  # fmt: skip
    assert stored.done() == {"a", "c"}


# --- damage -------------------------------------------------------------------------------------


def test_a_torn_last_line_cut_anywhere(store: Store) -> None:
    """Every earlier record is there, and the next append leaves nothing but whole records."""
    kept, torn, later = [record(1), record(2)], record(3), record(4)
    store.append(kept)
    start = store.path.stat().st_size
    store.append([torn])
    whole = store.path.read_bytes()
    for end in range(start, len(whole)):
        store.path.write_bytes(whole[:end])
        stored, complete = store.load(), end == len(whole) - 1  # only its line feed is missing
        assert list(stored.records) == kept + [torn] * complete
        warned = start < end < len(whole) - 1
        assert stored.problems == ("records.jsonl:3: torn last line, ignored",) * warned
        store.append([later])
        assert store.load() == records.Stored((*kept, *[torn] * complete, later))
        assert store.path.read_bytes().endswith(b"}\n")


def test_zeros_after_a_power_cut(store: Store) -> None:
    store.append([record(1)])
    with store.path.open("ab") as file:
        file.write(b"\0" * 300)
    assert store.load().records == (record(1),)
    store.append([record(2)])
    assert store.load() == records.Stored((record(1), record(2)))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{broken", "Expecting property name"),
        (b"\xff\xfe\xfd", "codec can't decode"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"id": "a", "cell": {}, "status": "ok", "spec": {}}', "without recipe, seed"),
        (b'{"schema": 2}', "schema 2 is newer than this umlbench reads"),
        (b'{"schema": "new"}', "schema new is newer"),
        (b'{"id":"a","recipe":"r","cell":[],"seed":1,"status":"ok","spec":{},"schema":1}',
         "cell is not an object"),
        (b'{"id":"a","recipe":"r","cell":{},"seed":1,"status":"ok","spec":{},"schema":1,'
         b'"curves":[1]}', "subscriptable"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_record_is_named_and_passed_over(
    store: Store, line: bytes, why: str
) -> None:
    store.append([record(1)])
    with store.path.open("ab") as file:
        file.write(line + b"\n")
    store.append([record(2)])
    stored = store.load()
    assert stored.records == (record(1), record(2))
    (problem,) = stored.problems
    assert problem.startswith("records.jsonl:2: not a record, ignored (")
    assert why in problem


def test_keys_of_later_versions_of_one_schema_are_passed_over(store: Store) -> None:
    store.append([record(1)])
    store.path.write_text(store.path.read_text().replace("{", '{"colour":"blue",', 1))
    assert store.load() == records.Stored((record(1),))


# --- several writers ----------------------------------------------------------------------------


WRITER = """
import sys
from pathlib import Path
from umlbench.records import Record, Store

store, writer, count = Store(Path(sys.argv[1]), "r"), int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.read()
for number in range(count):
    cell = {"n": 1000 * writer + number}
    store.append([Record("id", "r", cell, 1, "failed", {}, error="x" * (5000 * (number % 3)))])
"""


@pytest.mark.parametrize("writers", [2, 4])
def test_processes_that_append_at_once(store: Store, tmp_path: Path, writers: int) -> None:
    count = 60
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(writer), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for writer in range(writers)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
    for process in processes:  # all begin together
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * writers
    stored = store.load()
    assert stored.problems == ()
    found = [one.cell["n"] for one in stored.records]
    assert sorted(found) == [1000 * w + n for w in range(writers) for n in range(count)]
    for writer in range(writers):  # each one's in its own order
        mine = [n for n in found if n // 1000 == writer]
        assert mine == sorted(mine)


# --- disks that refuse --------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [b"", b'{"id": "to'])
@pytest.mark.parametrize("chunk", [0, 1, 40])
def test_a_disk_that_fills_up_half_way(
    store: Store, monkeypatch: pytest.MonkeyPatch, chunk: int, torn: bytes
) -> None:
    store.append([record(1), record(2)])
    before = store.path.read_bytes()
    store.path.write_bytes(before + torn)
    _full_after(monkeypatch, chunk)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        store.append([record(3)])
    monkeypatch.undo()
    assert caught.value.exit_code == Exit.JOBS_FAILED
    assert str(store.path) in caught.value.message
    assert "--results" in caught.value.hint
    assert store.path.read_bytes() == before
    store.append([record(3)])
    assert store.load() == records.Stored((record(1), record(2), record(3)))


def _full_after(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """`os.write` takes `chunk` bytes, then there is no space left."""
    real, left = os.write, [chunk]

    def write(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        took = real(fd, bytes(data[: left[0]]))
        left[0] -= took
        return took

    monkeypatch.setattr(os, "write", write)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(small_disk: Path) -> None:
    store, large = Store(small_disk, "r"), [record(n, error="x" * 10_000) for n in range(10)]
    stored: list[Record] = []

    def fill() -> None:
        for one in large:
            store.append([one])
            stored.append(one)

    with pytest.raises(StorageError, match="No space left on device"):
        fill()
    assert 4 <= len(stored) <= 6
    assert store.load() == records.Stored(tuple(stored))
    store.append([record(99)])  # a small one still fits
    assert store.load().records[-1] == record(99)


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file", "r")
    for use in (store.prepare, store.load, lambda: store.append([record()])):
        with pytest.raises(StorageError, match="Not a directory") as caught:
            use()
        assert str(store.path) in caught.value.message


def test_a_read_only_disk(small_disk: Path) -> None:
    store = Store(small_disk, "r")
    store.append([record(1)])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match="Read-only file system"):
        store.prepare()
    assert store.load().records == (record(1),)


def test_a_read_only_folder(store: Store, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="Permission denied"):
            store.prepare()
    finally:
        tmp_path.chmod(0o700)


def test_prepare_leaves_what_is_there(store: Store) -> None:
    store.append([record(1)])
    store.prepare()
    assert store.load() == records.Stored((record(1),))


# --- what a record holds ------------------------------------------------------------------------


def test_a_record_of_an_outcome(store: Store) -> None:
    outcome = Outcome(
        metrics={"score": 1 / 3},
        curves=(Curve("step", (1.0, 2.0), {"score": (1 / 3, 2 / 3)}),),
        selection={"rate": 1e-5, "trial": 0, "flag": True},
        trials={"val": [1 / 3, float("nan")], "sizes": [(1, 2)]},
        features={"enc/train": "ff"},
        seconds={"train": 1.23456},
    )
    made = records.succeeded(job(), outcome, {"device": "cpu"})
    assert made.metrics == {"score": 0.3333333}
    assert made.curves == (Curve("step", (1.0, 2.0), {"score": (0.3333333, 0.6666667)}),)
    assert made.selection == {"rate": 1e-5, "trial": 0, "flag": True}
    assert made.trials == {"val": [0.3333333, None], "sizes": [[1, 2]]}
    assert made.seconds == {"train": 1.235}
    assert made.ok
    assert made.identity() == made.id == job().id
    assert made.spec_id == job().spec_id
    store.append([made])
    (read,) = store.load().records
    assert read == made
    assert read.identity() == made.id


def test_an_altered_record_has_another_identity() -> None:
    made = records.succeeded(job(), Outcome({"score": 1.0}), {})
    altered = replace(made, spec={**made.spec, "version": 2})
    assert altered.identity() != altered.id
    assert replace(made, seed=7).identity() != made.id
    assert replace(made, inputs={"data": "10"}).identity() != made.id


def test_what_is_no_plain_value_is_refused() -> None:
    with pytest.raises(TypeError, match="complex is no plain value"):
        records.succeeded(job(), Outcome({"score": 1j}), {})  # type: ignore[dict-item]


def test_figures_leave_out_times_and_origin() -> None:
    made = records.succeeded(job(), Outcome({"score": 1.0}, seconds={"run": 1}), {"device": "a"})
    other = replace(made, seconds={"run": 2.0}, finished="later", provenance={"device": "b"})
    assert made.figures() == other.figures()
    assert made.figures() != replace(made, metrics={"score": 1.1}).figures()


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("no file '/data/bob/x.npy'", "no file 'x.npy'"),
        ("ValueError: bad (/a/b/engine.py:12)", "ValueError: bad (engine.py:12)"),
        ("path=/a/b/c: gone", "path=c: gone"),
        ("at file:///a/b/c.py", "at c.py"),
        (f"in {Path.home()}/my data/x", "in ~/my data/x"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("ratio 1 / 2, a/b, and/or", "ratio 1 / 2, a/b, and/or"),
        ("two\n  lines", "two lines"),
    ],
)
def test_an_error_names_no_folder(text: str, stored: str) -> None:
    assert records.failed(job(), text, {}, {"run": 1}).error == stored


def test_a_failed_record(store: Store) -> None:
    made = records.failed(job(), "x" * 1000, {"device": "cpu"}, {"run": 0.12345})
    assert (made.ok, made.metrics, made.seconds) == (False, {}, {"run": 0.123})
    assert made.error == "x" * 500
    assert made.identity() == made.id
    store.append([made])
    assert store.load().records == (made,)
