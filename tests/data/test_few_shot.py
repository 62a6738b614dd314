import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlbench.data.few_shot import few_shot, text_rows
from umlbench.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SPLITS = {
    "caltech101": "Caltech101",
    "dtd": "DescribableTextures",
    "oxford_flowers": "OxfordFlowers",
    "oxford_pets": "OxfordPets",
    "stanford_cars": "StanfordCars",
    "ucf101": "UCF101",
}

label_lists = st.lists(st.integers(0, 6), max_size=60)
seeds = st.integers(0, 50)


@given(label_lists, label_lists, st.integers(1, 12), seeds)
def test_each_class_gives_its_shots_or_all_it_has(train, val, shots, seed):
    draw = few_shot(train, val, shots=shots, seed=seed)
    for labels, rows, most in ((train, draw.train, shots), (val, draw.val, min(4, shots))):
        assert len(set(rows)) == len(rows)
        drawn = Counter(labels[row] for row in rows)
        assert drawn == {label: min(most, n) for label, n in Counter(labels).items()}
        assert list(drawn) == list(dict.fromkeys(labels))  # order of first appearance


@given(label_lists, st.integers(1, 12), seeds)
def test_a_draw_is_a_function_of_its_seed(train, shots, seed):
    assert few_shot(train, train, shots=shots, seed=seed) == few_shot(
        np.array(train, dtype=np.int64), train, shots=shots, seed=seed
    )


def test_seeds_differ_and_val_follows_train_in_one_stream():
    labels = [0] * 40 + [1] * 40
    assert len({few_shot(labels, labels, shots=4, seed=seed) for seed in (1, 2, 3)}) == 3
    draw = few_shot(labels, labels, shots=4, seed=1)
    assert draw.train != draw.val  # a second generator with the same seed would repeat the rows


def test_full_data_is_taken_as_it_is():
    draw = few_shot([1, 0, 1], [0, 1], shots=None, seed=3)
    assert (draw.train, draw.val) == ((0, 1, 2), (0, 1))


@pytest.mark.parametrize("shots", [0, -1])
def test_shots_below_one_are_refused(shots):
    with pytest.raises(UserError, match="at least 1"):
        few_shot([0], [0], shots=shots, seed=1)
    with pytest.raises(UserError, match="at least 1"):
        text_rows([0], shots=shots, seed=1)


@given(label_lists, st.integers(1, 12), seeds)
def test_text_rows_are_per_class_in_sorted_order_and_nested(labels, shots, seed):
    rows = text_rows(labels, shots=shots, seed=seed)
    assert [labels[row] for row in rows] == sorted(
        label for label, n in Counter(labels).items() for _ in range(min(shots, n))
    )
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(text_rows(labels, shots=shots + 1, seed=seed))


def test_text_rows_follow_the_seed_and_none_keeps_all():
    labels = [0] * 30 + [1] * 30
    assert len({text_rows(labels, shots=5, seed=seed) for seed in (1, 2, 3)}) == 3
    assert text_rows(labels, shots=None, seed=1) == tuple(range(60))


def published_split(name):
    if name == "caltech101":
        file = SHARED / "caltech-101" / "split_zhou_Caltech101.json"
        return json.loads(file.read_text())
    with tarfile.open(SHARED / "splits.tar.gz") as archive:
        return json.load(archive.extractfile(f"splits/split_zhou_{SPLITS[name]}.json"))


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "indices").is_dir(), reason="no index files beside the checkout")
@pytest.mark.parametrize("name", SPLITS)
def test_the_published_index_files_are_reproduced(name):
    split = published_split(name)
    labels = {part: [row[1] for row in split[part]] for part in ("train", "val")}
    with tarfile.open(SHARED / "indices" / f"{name}.tar.gz") as archive:
        for shots in (1, 2, 4, 8, 16):
            for seed in (1, 2, 3):
                draw = few_shot(labels["train"], labels["val"], shots=shots, seed=seed)
                file = archive.extractfile(f"{name}/shot_{shots}-seed_{seed}.json")
                published = json.load(file)
                for part, rows in (("train", draw.train), ("val", draw.val)):
                    paths = [row["impath"] for row in published[part]["data"]]
                    ours = [split[part][row][0] for row in rows]
                    assert len(paths) == len(ours)
                    assert all(a.endswith("/" + b) for a, b in zip(paths, ours, strict=True))
