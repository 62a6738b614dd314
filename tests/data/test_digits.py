import hashlib
from collections import Counter

import pytest

from umlbench import data
from umlbench.data.digits import CLASSES
from umlbench.errors import UserError


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def texts():
    return data.texts("digits")


def test_splits_cover_the_1797_images_once(digits):
    sizes = {name: len(samples) for name, samples in digits.splits.items()}
    assert sizes == {"train": 898, "val": 359, "test": 540}
    ids = [name for samples in digits.splits.values() for name in samples.ids]
    assert sorted(ids) == [f"{row:04d}" for row in range(1797)]


def test_splits_are_stratified(digits):
    totals = Counter(label for s in digits.splits.values() for label in s.labels.tolist())
    assert set(totals) == set(range(10))
    for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
        counts = Counter(digits.split(name).labels.tolist())
        assert all(abs(counts[label] - share * totals[label]) <= 1 for label in totals)


def test_the_split_never_moves(digits):
    train = hashlib.sha256(" ".join(digits.split("train").ids).encode()).hexdigest()
    assert train[:16] == "bd849c95c49cd0ad"


def test_images_are_small_grey_pictures(digits):
    for samples in digits.splits.values():
        assert all(item.shape == (8, 8) and item.dtype == "uint8" for item in samples.items)
        assert max(int(item.max()) for item in samples.items) == 16


def test_sentences(texts):
    assert len(texts) == 160
    assert set(Counter(texts.labels.tolist()).values()) == {16}
    assert len({sentence.lower() for sentence in texts.items}) == len(texts)
    assert all(8 <= len(sentence.split()) <= 20 for sentence in texts.items)
    assert texts.ids[3 * 16 + 7] == "three/07"
    assert all(CLASSES[y] == i.split("/")[0] for i, y in zip(texts.ids, texts.labels, strict=True))


def test_sentences_of_a_class_begin_differently(texts):
    for label in range(10):
        chosen = [texts.items[row] for row in range(160) if texts.labels[row] == label]
        assert max(Counter(" ".join(s.split()[:2]) for s in chosen).values()) <= 2


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UserError, match="unknown dataset 'digit', did you mean 'digits'"):
        data.load("digit")
    with pytest.raises(UserError, match="did you mean 'descriptions'"):
        data.texts("digits", "description")
    with pytest.raises(UserError, match="unknown split of digits 'tset', did you mean 'test'"):
        data.load("digits").split("tset")


def test_fingerprints_never_move(digits, texts):
    assert {name: samples.fingerprint for name, samples in digits.splits.items()} == {
        "train": "5d5b9efc8499a3c641161a49e60506d9",
        "val": "04c14cbd1f6445b85724a151200d7e0a",
        "test": "f0666187992181a36ce7e9d338e26fda",
    }
    assert texts.fingerprint == "7eb7f7a3a9b862a1d17fbc55c11cfec0"
