import io
import tarfile

import pytest

from umlbench.data.archives import Spot, first
from umlbench.errors import MissingInput


def add(archive, name, body=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(body)
    for key, value in fields.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(body))


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "some.tar.gz"
    (tmp_path / "secret").write_bytes(b"secret")
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "../outside.json", b"outside")
        add(tar, "link.json", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret"))
        add(tar, "./in/a.json", b"a")
        add(tar, "in/b.json", b"b" * 5000)
    return path


def test_a_member_is_read_and_nothing_is_unpacked(archive, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert Spot(archive, "in/a.json").read() == b"a"
    assert Spot(archive, "in/b.json").read() == b"b" * 5000
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("member", ["link.json", "in", "a.json", "none.json"])
def test_only_a_regular_file_of_that_name_counts(archive, member):
    assert Spot(archive, member).read() is None


def test_a_damaged_archive_is_one_clear_line(archive):
    archive.write_bytes(archive.read_bytes()[:-60])
    with pytest.raises(MissingInput, match=r"cannot read .*some\.tar\.gz \(in/b\.json\)"):
        Spot(archive, "in/b.json").read()
    archive.write_text("no archive")
    with pytest.raises(MissingInput, match="cannot read"):
        Spot(archive, "in/b.json").read()


def test_the_first_spot_that_is_there_wins(archive, tmp_path):
    loose = Spot(tmp_path / "secret")
    assert first([Spot(tmp_path / "none"), loose, Spot(archive, "in/a.json")]) == (loose, b"secret")
    assert first([Spot(tmp_path / "none")]) is None
