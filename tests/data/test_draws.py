import io
import json
import tarfile

import pytest

from umlbench import data
from umlbench.data.few_shot import few_shot
from umlbench.errors import MissingInput


def index(dataset, spec_folder, shots=1, seed=1):
    """What the published file of this draw would hold."""
    parts = ("train", "val")
    labels = [dataset.split(part).labels for part in parts]
    drawn = few_shot(*labels, shots=shots, seed=seed)
    chosen = {}
    for part, rows in zip(parts, (drawn.train, drawn.val), strict=True):
        samples = dataset.split(part)
        chosen[part] = [(samples.ids[r], int(samples.labels[r])) for r in rows]
    return {
        part: {
            "data": [
                {
                    "impath": f"./data/{spec_folder}/{photo}",
                    "label": label,
                    "classname": dataset.classes[label],
                }
                for photo, label in rows
            ],
            "indices": [],
        }
        for part, rows in chosen.items()
    }


@pytest.fixture
def dtd(root):
    root.make("dtd")
    return data.load("dtd", root.path, cache=root.cache)


def publish(root, name, body, shots=1, seed=1):
    root.write(root.path / "indices" / name / f"shot_{shots}-seed_{seed}.json", body)


def test_without_files_the_sampler_draws(dtd, root):
    found = data.draw(dtd, shots=2, seed=1, root=root.path)
    assert found.source == "sampler"
    assert found.notices == ()
    labels = [dtd.split(part).labels for part in ("train", "val")]
    assert found.rows == few_shot(*labels, shots=2, seed=1)


def test_all_data_needs_no_draw(dtd, root):
    publish(root, "dtd", index(dtd, "dtd/images"))
    found = data.draw(dtd, shots=None, seed=1, root=root.path)
    assert found.source == "all"
    assert found.rows.train == tuple(range(10))


def test_a_published_file_decides_order_and_all(dtd, root):
    body = index(dtd, "dtd/images", seed=5)  # another draw than the sampler's at seed 1
    publish(root, "dtd", body)
    found = data.draw(dtd, shots=1, seed=1, root=root.path)
    assert found.source == "published"
    assert found.notices == ()
    photos = [dtd.split("train").ids[row] for row in found.rows.train]
    assert [f"./data/dtd/images/{p}" for p in photos] == [
        r["impath"] for r in body["train"]["data"]
    ]
    assert data.draw(dtd, shots=1, seed=2, root=root.path).source == "sampler"


def test_the_same_inside_an_archive(dtd, root):
    body = json.dumps(index(dtd, "dtd/images", seed=5)).encode()
    (root.path / "indices").mkdir()
    with tarfile.open(root.path / "indices" / "dtd.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("dtd/shot_1-seed_1.json")
        member.size = len(body)
        archive.addfile(member, io.BytesIO(body))
    assert data.draw(dtd, shots=1, seed=1, root=root.path).source == "published"


def test_cars_have_no_image_folder(root):
    root.make("stanford_cars")
    cars = data.load("stanford_cars", root.path, cache=root.cache)
    publish(root, "stanford_cars", index(cars, "stanford_cars"))
    assert data.draw(cars, shots=1, seed=1, root=root.path).source == "published"


def test_rows_of_classes_that_a_restricted_copy_lacks_are_left_out_aloud(dtd, root):
    body = index(dtd, "dtd/images", seed=5)
    for part in ("train", "val"):
        for row in body[part]["data"]:
            row["label"] += 7  # the full set's numbers; names decide
        more = {"impath": "./data/dtd/images/woven/1.jpg", "label": 0, "classname": "woven"}
        body[part]["data"].insert(0, more)
    publish(root, "dtd", body)
    found = data.draw(dtd, shots=1, seed=1, root=root.path)
    assert found.source == "published"
    assert len(found.rows.train) == 2
    (notice,) = found.notices
    assert notice.startswith("indices/dtd/shot_1-seed_1.json: rows of 1 classes left out")
    assert notice.endswith("woven")


@pytest.mark.parametrize("change", ["photo", "classes", "split", "lacks a class"])
def test_a_file_that_does_not_fit_is_set_aside_aloud(dtd, root, change):
    body = index(dtd, "dtd/images", seed=5)
    rows = body["train"]["data"]
    if change == "photo":
        rows[0]["impath"] = "./data/dtd/images/banded/none.jpg"
    elif change == "classes":
        for row in rows:
            row["classname"] = "bumpy" if row["classname"] == "banded" else "banded"
    elif change == "split":
        rows[0] = body["val"]["data"][0]
    else:
        del rows[0]
    publish(root, "dtd", body)
    found = data.draw(dtd, shots=1, seed=1, root=root.path)
    assert found.source == "sampler"
    assert "names other photos or classes than the split of dtd" in found.notices[0]
    labels = [dtd.split(part).labels for part in ("train", "val")]
    assert found.rows == few_shot(*labels, shots=1, seed=1)


@pytest.mark.parametrize(
    "body", ["{", "[]", '{"train": {"data": [1]}}', '{"train": {}, "val": {}}']
)
def test_damaged_files_are_one_clear_line(dtd, root, body):
    publish(root, "dtd", body)
    with pytest.raises(MissingInput, match=r"shot_1-seed_1\.json is no index file"):
        data.draw(dtd, shots=1, seed=1, root=root.path)


def test_other_data_sets_have_the_sampler_only(root):
    mine = data.load(str(root.own("dtd")), cache=root.cache)
    publish(root, "dtd", "{")  # would be an error if it were read
    assert data.draw(mine, shots=1, seed=1, root=root.path).source == "sampler"
    assert data.draw(data.load("digits"), shots=1, seed=1, root=root.path).source == "sampler"
