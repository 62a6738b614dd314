"""A folder with one photo a class, named by ImageNet index."""

import pytest

from umlbench import data
from umlbench.data.imagenet_esc import PAIRS

NAME = "imagenet_esc_photos"


def make(root, *names):
    (root / NAME).mkdir()
    for name in names:
        (root / NAME / name).write_bytes(name.encode())
    return root


def test_photos_by_index(tmp_path):
    make(tmp_path, "19_chickadee.jpg", "7_cock.JPEG", "977_sandbar.png", "notes.txt")
    found = data.load(NAME, tmp_path, cache=tmp_path / "cache")
    assert found.classes == tuple(pair.photo for pair in PAIRS)
    samples = found.split("train")
    assert samples.ids == ("7_cock.JPEG", "19_chickadee.jpg", "977_sandbar.png")
    assert samples.labels.tolist() == [0, 2, 26]
    assert not data.is_known(NAME)  # as a data set to classify


@pytest.mark.parametrize("name", ["12_finch.jpg", "cock.jpg", "7.jpg"])
def test_a_photo_of_no_class_is_named(tmp_path, name):
    make(tmp_path, "7_cock.jpg", name)
    (problem,) = data.problems(NAME, tmp_path)
    assert problem.where.endswith(name)
    assert "does not begin with the ImageNet index of a class" in problem.what


def test_what_is_not_there_is_said_with_a_source(tmp_path):
    (problem,) = data.problems(NAME, tmp_path)
    assert "no such folder; take a photo a class, for instance from github.com/" in str(problem)
    make(tmp_path)
    (problem,) = data.problems(NAME, tmp_path)
    assert problem.what == "holds no photos"
