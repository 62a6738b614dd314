import hashlib
import json
import shutil

import pytest
from PIL import Image

from umlbench import data
from umlbench.data.sets import SETS
from umlbench.errors import Exit, MissingInput, UserError

SPLIT_SETS = [name for name, spec in SETS.items() if spec.layout == "split_json"]
VARIANTS = [name for name, spec in SETS.items() if spec.layout == "class_folders"]


def lines(name, root, **options):
    return [str(problem) for problem in data.problems(name, root.path, **options)]


@pytest.mark.parametrize("name", SPLIT_SETS)
def test_coop_layout(name, root):
    folder = root.make(name)
    found = data.load(name, root.path, cache=root.cache)
    assert found.name == name
    assert {k: len(s) for k, s in found.splits.items()} == {"train": 10, "val": 4, "test": 6}
    split = json.loads((folder / SETS[name].files[0]).read_text())
    for part, samples in found.splits.items():
        assert list(samples.ids) == [row[0] for row in split[part]]
        assert samples.labels.tolist() == [row[1] for row in split[part]]
        assert all(
            item == folder / SETS[name].photos / i
            for i, item in zip(samples.ids, samples.items, strict=True)
        )
        assert samples.content[0] == hashlib.sha256(samples.items[0].read_bytes()).hexdigest()
    assert found.classes == tuple(row[2] for row in (split["train"][0], split["train"][-1]))
    assert len(found.notices) == 1
    assert "differs from Table 3 of the paper: 2 classes (not " in found.notices[0]
    assert lines(name, root, decode=True) == []


def test_nested_scenes_and_cars_of_two_folders(root):
    root.make("sun397")
    root.make("stanford_cars")
    scenes = data.load("sun397", root.path, cache=root.cache).split("test")
    assert {i.rpartition("/")[0] for i in scenes.ids} == {"a/abbey", "a/apse/indoor"}
    cars = data.load("stanford_cars", root.path, cache=root.cache)
    assert {i.partition("/")[0] for i in cars.split("test").ids} == {"cars_test"}
    assert {i.partition("/")[0] for i in cars.split("val").ids} == {"cars_train"}


def test_aircraft_lists(root):
    root.make("fgvc_aircraft")
    found = data.load("fgvc_aircraft", root.path, cache=root.cache)
    assert found.classes == ("707-320", "F-16A/B", "Gulfstream V")
    assert found.split("val").labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.split("train").ids[0] == "0000000.jpg"


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_have_a_test_split_with_imagenets_labels(name, root):
    root.make(name)
    found = data.load(name, root.path, cache=root.cache)
    assert list(found.splits) == ["test"]
    labels = [0, 0, 2, 2] if name in ("imagenet_a", "imagenet_r") else [0, 0, 1, 1, 2, 2]
    assert found.split("test").labels.tolist() == labels
    assert found.classes == ("tench", "goldfish", "great white shark")
    assert all(i.endswith(".JPEG") for i in found.split("test").ids)
    assert f"{name} differs from the published set: " in found.notices[0]
    with pytest.raises(UserError, match="unknown split"):
        found.split("train")


def test_imagenets_classnames_have_the_last_word(root):
    folder = root.make("imagenet")
    root.names(folder, ("tench", "gold fish"))
    found = data.load("imagenet", root.path, cache=root.cache)
    assert found.classes == ("tench", "gold fish")
    assert "1 classes are named otherwise in classnames.txt: 'goldfish'" in found.notices[0]
    root.names(folder, ("tench", "gold fish", "shark"))
    assert "names 3 classes, the split 2" in lines("imagenet", root)[0]


def test_the_fingerprint_knows_contents_and_not_the_folder(root, tmp_path):
    folder = root.make("dtd")
    first = data.load("dtd", root.path, cache=root.cache).split("test").fingerprint
    shutil.copytree(folder, tmp_path / "elsewhere" / "dtd")
    moved = data.load("dtd", tmp_path / "elsewhere", cache=root.cache).split("test")
    assert moved.fingerprint == first
    root.photo(moved.items[2])
    again = data.load("dtd", tmp_path / "elsewhere", cache=root.cache).split("test")
    assert again.fingerprint != first
    assert again.select([0, 1]).fingerprint == moved.select([0, 1]).fingerprint


# What is missing


def test_a_set_that_is_not_there(root):
    (line,) = lines("food101", root)
    assert f"food101: {root.path / 'food-101'}: no such folder; get photos from " in line
    assert "about 5 GB" in line
    assert "DATASETS.md" in line
    with pytest.raises(MissingInput, match="no such folder") as error:
        data.load("food101", root.path, cache=root.cache)
    assert error.value.exit_code == Exit.MISSING_INPUT


def test_every_missing_part_is_a_line_of_one_error(root):
    (root.path / "fgvc_aircraft").mkdir()
    found = lines("fgvc_aircraft", root)
    named = ("variants.txt", "_train.txt", "_val.txt", "_test.txt", "images")
    assert [end for end in named for line in found if f"{end}: no such" in line] == list(named)
    with pytest.raises(MissingInput) as error:
        data.require(["fgvc_aircraft", "digits", "dtd", "dtd"], root.path)
    assert error.value.message.splitlines()[0] == "6 problems with the data:"
    assert len(error.value.message.splitlines()) == 7


def test_nothing_is_required_of_what_is_complete(root):
    root.make("dtd")
    data.require(["dtd", "digits"], root.path)


def test_absent_photos_are_counted_and_a_missing_class_folder_is_named(root):
    folder = root.make("dtd")
    gone = sorted((folder / "images" / "banded").iterdir())[:4]
    more = sorted((folder / "images" / "bumpy").iterdir())[0]
    for photo in (*gone, more):
        photo.unlink()
    (both,) = lines("dtd", root)
    assert f"5 of 20 photos of the split are not there: banded/{gone[0].name}, " in both
    assert both.endswith("and 2 more")
    shutil.rmtree(folder / "images" / "bumpy")
    bumpy, banded = lines("dtd", root)
    assert "images/bumpy: no such folder, and the split names 10 photos in it" in bumpy
    assert f"4 of 20 photos of the split are not there: banded/{gone[0].name}, " in banded
    assert banded.endswith("and 1 more")
    with pytest.raises(MissingInput, match="2 problems with the data"):
        data.load("dtd", root.path, cache=root.cache)


def test_broken_photos_are_found_by_decoding_only(root):
    folder = root.make("dtd") / "images" / "banded"
    text, cut, empty, *_ = sorted(folder.iterdir())
    text.write_text("not an image")
    Image.effect_noise((200, 200), 50).save(cut, "JPEG")
    cut.write_bytes(cut.read_bytes()[:-1000])  # its header is whole
    empty.write_bytes(b"")
    assert lines("dtd", root) == []
    found = lines("dtd", root, decode=True)
    assert [line for line in found if "not a whole image" in line] == found
    assert [path.name in line for path, line in zip((text, cut, empty), found, strict=True)] == [
        True
    ] * 3


def test_a_photo_that_vanishes_before_it_is_read_is_one_clear_line(root):
    root.make("dtd")
    samples = data.load("dtd", root.path, cache=root.cache).split("test")
    samples.items[1].unlink()
    with pytest.raises(MissingInput, match=f"cannot read .*{samples.items[1].name}"):
        _ = samples.fingerprint


def test_same_counts_but_other_rows_are_noticed(root, monkeypatch):
    folder = root.make("dtd")
    counts = {"classes": 2, "train": 10, "val": 4, "test": 6}
    monkeypatch.setattr("umlbench.data.sets._table3", lambda name: counts)
    (notice,) = data.load("dtd", root.path, cache=root.cache).notices
    assert "has the published counts, but other rows or another order" in notice
    shutil.rmtree(folder)
    root.make("food101")  # no pinned rows: counts are all there is to compare
    assert data.load("food101", root.path, cache=root.cache).notices == ()


def test_unknown_names(root):
    with pytest.raises(UserError, match="unknown dataset 'dtdd', did you mean 'dtd'"):
        data.load("dtdd", root.path)
    with pytest.raises(UserError, match="unknown dataset"):
        data.problems("nothing", root.path)
    assert data.problems("digits") == []


# A user's own folder


def test_own_folder(root):
    folder = root.own()
    found = data.load(f"{folder}/", cache=root.cache)
    assert found.name == "folder:mine"
    assert found.classes == ("cat", "dog")
    assert {k: len(s) for k, s in found.splits.items()} == {"train": 10, "val": 4, "test": 6}
    assert found.split("test").ids[:2] == ("test/cat/0.png", "test/cat/1.png")
    assert found.notices == ()


def test_own_folder_without_val_sets_a_fixed_fifth_aside(root):
    parts = {"train": 10, "test": 1}
    one = data.load(str(root.own("one", parts)), cache=root.cache)
    two = data.load(str(root.own("two", parts)), cache=root.cache)
    assert one.split("val").labels.tolist() == [0, 0, 1, 1]
    assert one.split("val").ids == two.split("val").ids
    both = set(one.split("val").ids) | set(one.split("train").ids)
    assert len(both) == 20
    assert one.notices == ("no val/: 4 training photos were set aside for it",)


def test_own_folder_keeps_a_lone_photo_for_training(root):
    found = data.load(str(root.own("lone", {"train": 1, "test": 1})), cache=root.cache)
    assert {k: len(s) for k, s in found.splits.items()} == {"train": 2, "val": 0, "test": 2}
    assert "val has no photos of cat, dog" in found.notices


def test_own_folder_gives_every_class_of_two_photos_a_validation_photo(root):
    found = data.load(str(root.own("two", {"train": 2, "test": 1})), cache=root.cache)
    assert found.split("val").labels.tolist() == found.split("train").labels.tolist() == [0, 1]


def test_own_folder_problems(root):
    folder = root.own(parts={"train": 2})
    assert "test: no such folder; a data set of your own has train/" in lines(str(folder), root)[0]
    root.own(parts={"test": 1}, classes=("cat", "cow"))
    assert "test/cow: is a class without a folder in train/" in lines(str(folder), root)[0]
    shutil.rmtree(folder / "test" / "cow")
    assert lines(str(folder), root) == []
    assert "test has no photos of dog" in data.load(str(folder), cache=root.cache).notices
    (folder / "train" / "empty").mkdir()
    assert "train/empty: holds no photos" in lines(str(folder), root)[0]
    assert "no such folder" in lines("./nowhere/at/all", root)[0]
