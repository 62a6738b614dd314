import hashlib
import os

import pytest

from umlbench.data import digests
from umlbench.data.digests import FileDigests


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    paths = [folder / "a", folder / "sub" / "a", folder / "b"]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 10)
    return paths


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files that were really read."""
    seen = []

    def read(path):
        seen.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(digests, "_sha256", read)
    return seen


def truth(files):
    return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)


def make(files, tmp_path):
    return FileDigests(files[0].parent, tmp_path / "cache")


def test_a_second_look_reads_no_file(files, tmp_path, hashed):
    assert make(files, tmp_path)(files) == truth(files)
    assert sorted(hashed) == sorted(files)
    hashed.clear()
    assert make(files, tmp_path)(files[::-1]) == truth(files)[::-1]
    assert hashed == []


def test_a_changed_file_is_read_again(files, tmp_path, hashed):
    make(files, tmp_path)(files)
    hashed.clear()
    files[1].write_bytes(b"x" * 10)  # the same size
    os.utime(files[1], ns=(1, 1))
    assert make(files, tmp_path)(files) == truth(files)
    assert hashed == [files[1]]


def test_folders_do_not_share_their_memory(files, tmp_path):
    twin = tmp_path / "twin"
    twin.mkdir()
    (twin / "a").write_bytes(b"y" * 10)
    for path in (files[0], twin / "a"):
        os.utime(path, ns=(7, 7))
    assert make(files, tmp_path)([files[0]]) == truth([files[0]])
    assert FileDigests(twin, tmp_path / "cache")([twin / "a"]) == truth([twin / "a"])


def test_more_files_than_a_chunk(files, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "CHUNK", 2)
    assert make(files, tmp_path)(files) == truth(files)
    assert make(files, tmp_path)(files) == truth(files)


def test_an_interruption_costs_one_chunk(files, tmp_path, monkeypatch, hashed):
    monkeypatch.setattr(digests, "CHUNK", 2)
    with pytest.raises(digests.MissingInput):
        make(files, tmp_path)([*files[:2], files[0].parent / "gone"])
    hashed.clear()
    make(files, tmp_path)(files)
    assert hashed == [files[2]]


def test_a_damaged_memory_is_made_anew(files, tmp_path, hashed):
    one = make(files, tmp_path)
    one(files)
    one.file.write_bytes(b"no database" * 1000)
    assert one(files) == truth(files)
    hashed.clear()
    assert one(files) == truth(files)
    assert hashed == []


def test_without_a_place_to_write_files_are_read(files, tmp_path, hashed):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert make(files, tmp_path)(files) == truth(files)
    assert make(files, tmp_path)(files) == truth(files)
    assert len(hashed) == 6
