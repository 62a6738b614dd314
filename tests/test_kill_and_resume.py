"""Real runs of small versions of the shipped recipes, killed, interrupted and resumed."""

from __future__ import annotations

import getpass
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from umlbench import planning, recipe
from umlbench.errors import Exit
from umlbench.executors.local import LocalExecutor
from umlbench.jobs import Context
from umlbench.records import Record, Store
from umlbench.resources import folder
from umlbench.running import execute

SMALL: dict[str, dict[str, Any]] = {
    "digits": {
        "axes": {"shots": [1, 2], "method": ["unimodal", "uml"]},
        "seeds": [1, 2],
        "settings": {"max_iterations": 5000, "patience": 50},
        "grid": {"learning_rate": [1.0e-3, 1.0e-4], "batch_size": [8]},
    },
    "figure3": {
        "axes": {"projection_scale": [0.5, 1.0], "method": ["unimodal", "uml"]},
        "seeds": [1, 2],
        "settings": {"steps": 150, "eval_every": 25},
        "report": {"points": {"step": [25, 150]}},
    },
    "theory": {"seeds": [1, 2], "settings": {"designs": 5}},
}
KILLS = {"digits": 2, "figure3": 4, "theory": 4}  # ten moments


class Small:
    """A small version of a shipped recipe, and `umlbench run` on it."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root, self.cache = name, root, root / "cache"
        self.id = f"small_{name}"
        self.file = root / f"{self.id}.yaml"
        plain = yaml.safe_load((folder("recipes") / f"{name}.yaml").read_text())
        for section, values in SMALL[name].items():
            merge = section in ("settings", "report")
            plain[section] = {**plain.get(section, {}), **values} if merge else values
        self.file.write_text(yaml.safe_dump({**plain, "id": self.id, "claims": [], "notes": []}))

    def command(self, results: Path, *options: str) -> list[str]:
        return ["run", str(self.file), "--results", str(results), "--device", "cpu", *options]

    def start(self, results: Path, *options: str) -> subprocess.Popen[str]:
        """The command in a session of its own, its messages on `stderr`."""
        return subprocess.Popen(
            [sys.executable, "-m", "umlbench.cli", *self.command(results, *options)],
            env={**os.environ, "UMLBENCH_CACHE": str(self.cache), "COLUMNS": "200"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and so would this one's children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def run(self, results: Path, *options: str) -> None:
        done = self.start(results, *options)
        _, errors = done.communicate(timeout=120)
        assert done.returncode == Exit.OK, errors

    def records(self, results: Path) -> list[Record]:
        return list(Store(results, self.id).load().records)

    def figures(self, results: Path) -> dict[str, Any]:
        return {record.id: record.figures() for record in self.records(results)}

    def unbroken(self, results: Path) -> float:
        """A whole run in this process; returns its seconds."""
        plan = planning.make(recipe.bundle(self.file), results, Context())
        started = time.monotonic()
        made = execute(plan, LocalExecutor(), Context(cache=self.cache))
        assert made
        assert all(record.ok for record in made)
        return time.monotonic() - started


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Small, Path, float]]:
    """By name: a small recipe, the results of its unbroken run and that run's seconds."""
    made: dict[str, tuple[Small, Path, float]] = {}

    def get(name: str) -> tuple[Small, Path, float]:
        if name not in made:
            one = Small(name, tmp_path_factory.mktemp(name))
            made[name] = (one, one.root / "unbroken", one.unbroken(one.root / "unbroken"))
        return made[name]

    return get


def wait_for(process: subprocess.Popen[str], pattern: str) -> bool:
    """Read messages until one matches; false where the process ended before."""
    assert process.stderr
    return any(re.search(pattern, line) for line in process.stderr)


def session(leader: int) -> set[int]:
    """The living processes of a session (Linux)."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def assert_nobody_survives(leader: int) -> None:
    if not Path("/proc").is_dir():
        return
    end = time.monotonic() + 2
    while session(leader) and time.monotonic() < end:
        time.sleep(0.05)
    assert session(leader) == set()


@pytest.mark.parametrize("name", KILLS)
def test_killed_and_resumed_equals_unbroken(
    name: str, small: Callable[[str], tuple[Small, Path, float]], tmp_path: Path
) -> None:
    """SIGKILL at random moments of the work, with one worker and with two in turn.

    Where a run ends before its moment has come, the rest of the moments meet a new folder.
    """
    one, reference, seconds = small(name)
    expected, moments = one.figures(reference), random.Random(f"kill {name}")
    results, kills, runs = tmp_path / "0", 0, 0
    while kills < KILLS[name]:
        process = one.start(results, "--workers", str(1 + kills % 2))
        runs += 1
        assert runs <= 3 * KILLS[name]
        wait_for(process, "jobs to run")  # it says nothing where a kill met a finished run
        try:
            process.wait(timeout=moments.random() * max(seconds, 1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        assert_nobody_survives(process.pid)
        assert process.returncode in (Exit.OK, -signal.SIGKILL), process.communicate()
        if process.returncode == Exit.OK:
            assert one.figures(results) == expected
            results = tmp_path / str(runs)
    one.run(results, "--workers", "2")
    assert one.figures(results) == expected
    assert Store(results, one.id).load().problems == ()


def test_two_runs_at_once(
    small: Callable[[str], tuple[Small, Path, float]], tmp_path: Path
) -> None:
    """Both may train the same job; every record is whole and none differs."""
    one, reference, _ = small("theory")
    runs = [one.start(tmp_path / "results", "--workers", "1") for _ in range(2)]
    for process in runs:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == Exit.OK, errors
    assert Store(tmp_path / "results", one.id).load().problems == ()
    expected = one.figures(reference)
    assert one.figures(tmp_path / "results") == expected
    assert all(r.figures() == expected[r.id] for r in one.records(tmp_path / "results"))


@pytest.mark.parametrize(
    ("number", "workers", "moment"),
    [
        (signal.SIGINT, "2", r"\[1/"),
        (signal.SIGINT, "2", "jobs to run"),  # while the workers start
        (signal.SIGTERM, "1", r"\[1/"),
    ],
)
def test_an_interrupted_run_says_how_to_resume(
    small: Callable[[str], tuple[Small, Path, float]],
    tmp_path: Path,
    number: signal.Signals,
    workers: str,
    moment: str,
) -> None:
    """As a terminal does it: every process of the group gets the signal."""
    one, reference, _ = small("digits")
    options = ("--workers", workers)
    process = one.start(tmp_path / "my results", *options)
    assert wait_for(process, moment)
    time.sleep(0.2)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == Exit.INTERRUPTED, errors
    assert_nobody_survives(process.pid)
    expected = ["umlbench", *one.command(tmp_path / "my results", *options)]
    assert errors.rstrip().split("\n")[-1].replace("'", "") == " ".join(expected)
    assert "Traceback" not in errors, errors
    made, whole = one.figures(tmp_path / "my results"), one.figures(reference)
    assert all(figures == whole[name] for name, figures in made.items())
    assert len(made) < len(whole)


def test_what_real_records_hold(small: Callable[[str], tuple[Small, Path, float]]) -> None:
    """Whose and where is nobody's business; what and with which versions is."""
    for name in SMALL:
        one, reference, _ = small(name)
        text = (reference / one.id / "records.jsonl").read_text()
        private = {str(Path.cwd()), str(Path.home()), str(one.root), socket.gethostname()}
        for word in private | {getpass.getuser()}:
            assert not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text), word
        for line in text.splitlines():
            plain = json.loads(line)
            assert not [s for s in strings(plain) if s.startswith(("/", "~", "file:"))]
        for record in one.records(reference):
            assert record.identity() == record.id
            assert record.seconds
            assert all(value >= 0 for value in record.seconds.values())
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.finished)
            assert {"versions", "commit", "device"} <= set(record.provenance)
            assert {"python", "umlbench", "torch", "numpy"} <= set(record.provenance["versions"])


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [s for item in value.items() for part in item for s in strings(part)]
    if isinstance(value, list):
        return [s for item in value for s in strings(item)]
    return [value] if isinstance(value, str) else []
