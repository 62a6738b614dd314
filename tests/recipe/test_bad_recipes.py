"""Mistakes users make, one file each in bad/, and the exact lines they are told."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from umlbench import recipe
from umlbench.cli import app
from umlbench.schema.located import ProblemsError

BAD = Path(__file__).parent / "bad"
FILES = sorted(path.name for path in BAD.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _beside_the_files(monkeypatch):
    monkeypatch.chdir(BAD)  # messages show a path as it was given


def test_there_are_many_and_each_has_its_lines():
    assert len(FILES) >= 60
    assert sorted(path.stem for path in BAD.glob("*.expected")) == [Path(f).stem for f in FILES]


@pytest.mark.parametrize("name", FILES)
def test_the_exact_lines(name):
    expected = Path(name).with_suffix(".expected").read_text(encoding="utf-8").splitlines()
    assert recipe.errors(name) == expected


@pytest.mark.parametrize("name", FILES)
def test_one_error_holds_all_lines(name):
    with pytest.raises(ProblemsError) as caught:
        recipe.load(name)
    assert str(caught.value).splitlines() == recipe.errors(name)
    assert caught.value.exit_code == 2


def test_a_tag_makes_no_object():
    recipe.errors("python_object.yaml")
    assert not Path("umlbench-was-here").exists()


def test_what_they_extend_is_right():
    assert recipe.errors("../good/small.yaml") == []


def test_the_path_is_shown_as_given(monkeypatch):
    monkeypatch.chdir(BAD.parent)
    assert recipe.errors("bad/empty.yaml") == ["bad/empty.yaml:1:1: the file is empty"]
    assert recipe.errors(BAD / "empty.yaml") == [f"{BAD / 'empty.yaml'}:1:1: the file is empty"]


def test_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipe.errors("mine.yaml") == ["mine.yaml: no such file"]
    Path("mine2.yaml").write_text("")
    assert recipe.errors("mine.yaml") == ["mine.yaml: no such file, did you mean 'mine2.yaml'?"]
    assert recipe.errors("nowhere/mine.yaml") == ["nowhere/mine.yaml: no such file"]


def test_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").mkdir()
    assert recipe.errors("mine.yaml") == ["mine.yaml: cannot be read: Is a directory"]


def test_an_unreadable_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert recipe.errors("mine.yaml") == ["mine.yaml: cannot be read: Permission denied"]


def test_validate_prints_every_line_and_exits_2():
    ran = CliRunner().invoke(app, ["validate", "out_of_range.yaml", "digits"])
    assert ran.exit_code == 2
    assert ran.stdout == Path("out_of_range.expected").read_text() + "digits: ok\n"
