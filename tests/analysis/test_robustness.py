"""The rows of a head that another test set is judged on, against the released code's label map."""

import numpy as np
import pytest
from PIL import Image

from umlbench.analysis import robustness
from umlbench.data import layout

NAMES = "n03 hammer\nn01 tench\nn04 drum\nn02 shark\n"  # ImageNet's order need not be sorted


@pytest.fixture
def variant(tmp_path):
    """Photos in folders n02 and n04, of which the released code makes labels 0 and 1."""
    (tmp_path / "classnames.txt").write_text(NAMES)
    for wnid, count in (("n04", 2), ("n02", 3)):
        (tmp_path / "photos" / wnid).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (4, 4)).save(tmp_path / "photos" / wnid / f"{number}.png")
    (tmp_path / "photos" / "README.txt").write_text("no class")
    return layout.imagenet_variant(tmp_path / "photos", tmp_path / "classnames.txt")


def released(logits, folders):
    """As in the code that the release builds on: `head.weight[label_map]`, argmax over the rest."""
    order = [line.split()[0] for line in NAMES.splitlines()]
    wnids = sorted(set(folders))
    label_map = [order.index(wnid) for wnid in wnids]
    truth = [wnids.index(folder) for folder in folders]
    return 100 * np.mean(logits[:, label_map].argmax(1) == truth)


def test_a_planted_label_map_selects_the_right_rows(variant):
    labels = np.array([label for _, label in variant.splits["test"]])
    folders = [photo.split("/")[0] for photo, _ in variant.splits["test"]]
    assert folders == ["n02"] * 3 + ["n04"] * 2
    assert labels.tolist() == [3, 3, 3, 2, 2]
    assert robustness.rows(labels).tolist() == [2, 3]
    stream = np.random.default_rng(0)
    for _ in range(20):
        logits = stream.standard_normal((5, 4))
        logits[:, :2] += 10  # the other classes would always win
        assert robustness.accuracy(logits, labels) == released(logits, folders)


def test_by_hand():
    """Among classes 2 and 3 alone the second sample is wrong; among all four, the first too."""
    logits = [
        [9.0, 0.0, 2.0, 1.0],
        [0.0, 0.0, 2.0, 1.0],
        [0.0, 0.0, 1.0, 2.0],
        [0.0, 0.0, 1.0, 2.0],
    ]
    assert robustness.accuracy(logits, [2, 3, 3, 3]) == 75.0
    assert np.mean(np.argmax(logits, axis=1) == [2, 3, 3, 3]) == 0.5


def test_a_set_with_every_class_is_judged_on_the_whole_head():
    stream = np.random.default_rng(1)
    logits, labels = stream.standard_normal((50, 5)), np.arange(50) % 5
    assert robustness.accuracy(logits, labels) == 100 * np.mean(logits.argmax(1) == labels)
