"""The real photos, splits, index files and descriptions beside the checkout."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from umlbench import data
from umlbench.data.corpora import Target, cupl
from umlbench.data.few_shot import few_shot
from umlbench.data.layout import split_json
from umlbench.data.sets import SETS
from umlbench.seeds import digest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real data beside the checkout"),
]
ITEMS = {  # file, used, used with aliases, labels without text
    "oxford_pets": (1110, 1110, 1110, []),
    "dtd": (1410, 1410, 1410, []),
    "ucf101": (3030, 3030, 3030, []),
    "food101": (3030, 3030, 3030, []),
    "fgvc_aircraft": (3000, 3000, 3000, []),
    "stanford_cars": (5880, 5880, 5880, []),
    "sun397": (11910, 11910, 11910, []),
    "oxford_flowers": (3060, 3030, 3060, ["ball moss"]),
    "caltech101": (3060, 2970, 3030, ["face"]),
    "imagenet": (29940, 29940, 30000, ["missile", "sunglasses"]),
}


def member(archive, name):
    with tarfile.open(SHARED / archive) as tar:
        return json.load(tar.extractfile(name))


def class_names(name):
    """Class names by label, from the index files; ImageNet's from the keys of CuPL."""
    if name == "imagenet":
        keys = list(member("cupl.tar.gz", "cupl/descriptors_imagenet.json"))
        keys.insert(744, "missile")
        keys.insert(837, "sunglasses")
        return tuple(keys)
    rows = member(f"indices/{name}.tar.gz", f"{name}/shot_1-seed_1.json")["train"]["data"]
    found = {row["label"]: row["classname"] for row in rows}
    return tuple(found[label] for label in range(len(found)))


@pytest.fixture(scope="module")
def caltech101(tmp_path_factory):
    return data.load("caltech101", SHARED, cache=tmp_path_factory.mktemp("cache"))


def test_caltech101_is_the_papers(caltech101):
    sizes = {part: len(samples) for part, samples in caltech101.splits.items()}
    assert sizes == {"train": 4128, "val": 1649, "test": 2465}
    assert len(caltech101.classes) == 100
    assert caltech101.notices == ()


def test_contents_are_the_checksums_of_the_photos(caltech101):
    sums = {}
    for line in (SHARED / "SHA256SUMS").read_text().splitlines():
        value, _, name = line.partition("  ")
        sums[name.removeprefix("./")] = value
    chosen = caltech101.split("val").select(range(0, 1649, 50))
    expected = [sums[f"caltech-101/101_ObjectCategories/{photo}"] for photo in chosen.ids]
    assert list(chosen.content) == expected


def test_the_ten_classes_of_dtd_load_with_a_notice(tmp_path):
    dtd = data.load("dtd", SHARED, cache=tmp_path)
    sizes = {part: len(samples) for part, samples in dtd.splits.items()}
    assert sizes == {"train": 600, "val": 240, "test": 360}
    assert dtd.notices == (
        "dtd differs from Table 3 of the paper: 10 classes (not 47), 600 train (not 2820), "
        "240 val (not 1128), 360 test (not 1692)",
    )
    for shots in (1, 2, 4, 8, 16):
        found = data.draw(dtd, shots=shots, seed=1, root=SHARED)
        assert found.source == "published"
        assert len(found.rows.train) == 10 * shots
        assert "rows of 37 classes left out" in found.notices[0]
    assert data.problems("dtd", SHARED, decode=True) == []


def test_all_index_files_of_caltech101_are_what_the_sampler_draws(caltech101):
    labels = [caltech101.split(part).labels for part in ("train", "val")]
    for shots in (1, 2, 4, 8, 16):
        for seed in (1, 2, 3):
            found = data.draw(caltech101, shots=shots, seed=seed, root=SHARED)
            assert (found.source, found.notices) == ("published", ())
            assert found.rows == few_shot(*labels, shots=shots, seed=seed)


@pytest.mark.parametrize(
    ("name", "file"), [(n, s.files[0]) for n, s in SETS.items() if s.rows_digest]
)
def test_the_published_splits_are_those_we_pin(tmp_path, name, file):
    path = tmp_path / file
    if name == "caltech101":
        shutil.copyfile(SHARED / "caltech-101" / file, path)
    else:
        path.write_text(json.dumps(member("splits.tar.gz", f"splits/{file}")))
    listing = split_json(path)
    assert digest([listing.classes, dict(listing.splits)]) == SETS[name].rows_digest
    sizes = {part: len(rows) for part, rows in listing.splits.items()}
    assert {"classes": len(listing.classes), **sizes} == dict(SETS[name].expected())


@pytest.mark.parametrize("name", ITEMS)
def test_cupl_has_the_published_counts(name):
    classes = class_names(name)
    file, used, mapped, silent = ITEMS[name]
    texts = member("cupl.tar.gz", f"cupl/descriptors_{name}.json")
    assert sum(map(len, texts.values())) == file
    target = Target(name, name, classes)
    found = cupl(target, SHARED)
    assert len(found) == used
    assert [classes[label] for label in found.without_text] == silent
    assert bool(found.notices) == bool(silent)
    everything = cupl(target, SHARED, "mapped")
    assert len(everything) == mapped
    assert everything.without_text == ()
