import json

import pytest

from umlbench.data import layout
from umlbench.data.layout import Malformed

ROWS = {
    "train": [["a/1.jpg", 0, "a"], ["b/1.jpg", 1, "b"]],
    "val": [],
    "test": [["a/2.jpg", 0, "a"]],
}


def split(tmp_path, **parts):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({**ROWS, **parts}))
    return layout.split_json(path)


def test_a_split_is_read_in_its_order(tmp_path):
    listing = split(tmp_path)
    assert listing.classes == ("a", "b")
    assert listing.splits["train"] == [("a/1.jpg", 0), ("b/1.jpg", 1)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"val": None}, "has no lists 'train', 'val' and 'test'"),
        ({"val": [["x.jpg", "0", "a"]]}, r"val\[0\] is not \[relative path, label, class name\]"),
        ({"val": [["x.jpg", True, "a"]]}, r"val\[0\] is not"),
        ({"val": [["x.jpg", -1, "a"]]}, r"val\[0\] is not"),
        ({"val": [["x.jpg", 0]]}, r"val\[0\] is not"),
        ({"val": [["../x.jpg", 0, "a"]]}, r"val\[0\] is not"),
        ({"val": [["/etc/x.jpg", 0, "a"]]}, r"val\[0\] is not"),
        ({"val": [["x.jpg", 0, "b"]]}, "label 0 is both 'a' and 'b'"),
        ({"val": [["x.jpg", 5, "f"]]}, "no row has label 2: labels must run from 0 without a gap"),
        ({"val": [["a/1.jpg", 0, "a"]]}, "'a/1.jpg' is listed in train and in val"),
    ],
)
def test_malformed_splits(tmp_path, parts, message):
    with pytest.raises(Malformed, match=message):
        split(tmp_path, **parts)


@pytest.mark.parametrize("text", ['{"train": [', "[]", '"x"', b"\xff\xfe\x00"])
def test_files_that_are_no_split(tmp_path, text):
    path = tmp_path / "split.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Malformed, match=r"is not JSON|has no lists"):
        layout.split_json(path)


def test_malformed_lists(tmp_path, root):
    folder = root.make("fgvc_aircraft")
    (folder / "images_variant_val.txt").write_text("0000001 A400M\n")
    with pytest.raises(Malformed, match="'0000001 A400M' names no variant"):
        layout.aircraft_lists(folder)
    (folder / "images_variant_val.txt").write_text("0000000 707-320\n")
    with pytest.raises(Malformed, match="listed in train and in val"):
        layout.aircraft_lists(folder)


def test_malformed_variants(tmp_path, root):
    folder = root.make("imagenet_a")
    names = folder / "classnames.txt"
    (folder / "imagenet-a" / "n99999999").mkdir()
    with pytest.raises(Malformed, match=r"n99999999: is no class of classnames\.txt"):
        layout.imagenet_variant(folder / "imagenet-a", names)
    (tmp_path / "bare").mkdir()
    with pytest.raises(Malformed, match="holds no class folder with photos"):
        layout.imagenet_variant(tmp_path / "bare", names)
    names.write_text("n01440764\n")
    with pytest.raises(Malformed, match="'n01440764' is not one wnid with a name"):
        layout.imagenet_names(names)
    names.write_text("n01440764 tench\nn01440764 tench\n")
    with pytest.raises(Malformed, match="is not one wnid"):
        layout.imagenet_names(names)
