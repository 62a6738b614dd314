from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from umlbench import provenance


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    provenance.commit.cache_clear()
    yield
    provenance.commit.cache_clear()


def test_versions_are_those_installed() -> None:
    found = provenance.versions()
    assert found["torch"] == version("torch")
    assert found["umlbench"] == version("umlbench")
    assert re.fullmatch(r"3\.\d+\.\d+\S*", found["python"])


def test_an_absent_package_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    provenance.versions.cache_clear()
    try:
        assert set(provenance.versions()) == {"python", "umlbench", "numpy"}
    finally:
        provenance.versions.cache_clear()


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    done = subprocess.run(
        ["git", *who, *args], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_commit_says_where_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "umlbench"
    package.mkdir()
    (package / "provenance.py").write_text("one")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD")[:12]
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    assert provenance.commit() == head
    (tmp_path / "notes.txt").write_text("changes no figure")
    provenance.commit.cache_clear()
    assert provenance.commit() == head
    (package / "provenance.py").write_text("two")
    provenance.commit.cache_clear()
    assert provenance.commit() == f"{head}+dirty"


def test_no_commit_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "umlbench" / "provenance.py"))
    assert provenance.commit() is None


def test_a_description_is_plain_and_names_no_folder() -> None:
    found = provenance.describe("cpu")
    assert set(found) == {"versions", "commit", "device"}
    assert re.fullmatch(r".+, \d+ cores", str(found["device"]))
    assert "/" not in json.dumps(found).replace("\\/", "")
