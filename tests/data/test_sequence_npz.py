"""The format of one's own sequences: every form of it, and every way to get it wrong."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from umlbench.data import sequence_npz
from umlbench.errors import MissingInput, UserError

COUNTS = {"train": 10, "val": 3, "test": 4}
STEPS = 5


def arrays(counts=COUNTS, seed=0):
    """Two modalities, padded, one label a sample."""
    rng = np.random.default_rng(seed)
    found = {}
    for split, count in counts.items():
        found[f"length_{split}"] = rng.integers(1, STEPS + 1, count)
        found[f"label_{split}"] = np.arange(count) % 2
        found[f"id_{split}"] = np.array([f"{split}{number}" for number in range(count)])
        for name, width in (("text", 3), ("video", 2)):
            found[f"{name}_{split}"] = rng.normal(size=(count, STEPS, width))
    return found


@pytest.fixture
def read(tmp_path):
    def load(content, **how):
        np.savez(tmp_path / "mine.npz", **content)
        return sequence_npz.read(tmp_path / "mine.npz", **how)

    return load


def faults(read, content):
    with pytest.raises(UserError) as caught:
        read(content)
    lines = caught.value.message.splitlines()
    assert len(lines) == 1 or lines[0] == f"{len(lines) - 1} faults of the sequences:"
    assert caught.value.hint == sequence_npz.HINT
    return [line.partition("mine.npz: ")[2] for line in lines[-max(1, len(lines) - 1) :]]


def test_padded_samples_with_shared_lengths_labels_and_names(read):
    raw = arrays()
    raw["text_val"][0, raw["length_val"][0] :] = np.nan  # behind the end: not looked at
    classes, splits = read(raw)
    assert classes == ("0", "1")
    assert list(splits) == list(COUNTS)
    for split in COUNTS:
        assert list(splits[split]) == ["text", "video"]
        for name, found in splits[split].items():
            assert found.ids == tuple(raw[f"id_{split}"])
            assert found.values.dtype == np.float32
            assert not found.flat
            assert not found.per_step
            assert found.labels.tolist() == raw[f"label_{split}"].tolist()
            for row, length in enumerate(raw[f"length_{split}"]):
                expected = raw[f"{name}_{split}"][row, :length].astype(np.float32)
                np.testing.assert_array_equal(found.select([row]).values, expected)


def test_rows_are_the_same_samples_without_padding(read):
    raw = arrays()
    padded = read(raw)[1]
    for split in COUNTS:
        inside = np.arange(STEPS) < raw[f"length_{split}"][:, None]
        raw[f"text_{split}"] = raw[f"text_{split}"][inside]
        raw[f"label_text_{split}"] = np.repeat(raw[f"label_{split}"], raw[f"length_{split}"])
    rows = read(raw)[1]
    for split in COUNTS:
        one, other = padded[split]["text"], rows[split]["text"]
        np.testing.assert_array_equal(one.values, other.values)
        assert one.starts.tolist() == other.starts.tolist()
        assert other.per_step
        assert not rows[split]["video"].per_step


def test_one_label_a_step_leaves_those_of_padding_alone(read):
    raw = arrays()
    for split, count in COUNTS.items():
        labels = np.full((count, STEPS), -1)
        for row, length in enumerate(raw[f"length_{split}"]):
            labels[row, :length] = np.arange(length) % 2
        raw[f"label_{split}"] = labels
    for part in read(raw)[1].values():
        found = part["text"]
        assert found.per_step
        assert found.labels.tolist() == [step % 2 for n in found.lengths for step in range(n)]


def test_single_vectors_and_full_sequences_need_no_lengths(read):
    raw = {k: v for k, v in arrays().items() if not k.startswith("length")}
    for split, count in COUNTS.items():
        raw[f"text_{split}"] = np.ones((count, 7))
    found = read(raw)[1]["test"]
    assert found["text"].flat
    assert found["text"].lengths.tolist() == [1] * 4
    assert not found["video"].flat
    assert found["video"].lengths.tolist() == [STEPS] * 4


def test_own_arrays_of_a_modality_go_before_those_of_the_split(read):
    raw = arrays()
    raw["text_train"] = raw["text_train"][:6]
    raw["length_text_train"] = np.full(6, 2)
    raw["label_text_train"] = np.array([1, 1, 0, 0, 0, 2])
    raw["id_text_train"] = np.arange(6)
    raw["classes"] = np.array(["bad", "good", "odd"])
    classes, splits = read(raw)
    assert classes == ("bad", "good", "odd")
    assert splits["train"]["text"].ids == ("0", "1", "2", "3", "4", "5")
    assert splits["train"]["text"].labels.tolist() == [1, 1, 0, 0, 0, 2]
    assert splits["train"]["text"].lengths.tolist() == [2] * 6
    assert len(splits["train"]["video"]) == 10


def test_samples_without_names_belong_to_none_of_another_modality(read):
    raw = {k: v for k, v in arrays().items() if not k.startswith("id")}
    part = read(raw)[1]["val"]
    assert part["text"].ids == ("text/0", "text/1", "text/2")
    assert part["video"].ids == ("video/0", "video/1", "video/2")


def test_without_validation_the_samples_of_the_smallest_digests_are_held_out(read):
    raw = arrays({"train": 10, "test": 4})
    train = read(raw)[1]
    order = sorted(raw["id_train"], key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    for name in ("text", "video"):
        assert set(train["val"][name].ids) == set(order[:2])
        assert set(train["train"][name].ids) == set(order[2:])
        assert list(train["train"][name].ids) == sorted(train["train"][name].ids)
        assert "2 training samples" in train["val"][name].notices[0]
        assert train["train"][name].notices == ()
    mixed = {k: v[::-1] if k.endswith("_train") else v for k, v in raw.items()}
    again = read(mixed)[1]
    assert set(again["val"]["text"].ids) == set(order[:2])
    row = again["val"]["text"].ids.index(order[0])
    other = train["val"]["text"].ids.index(order[0])
    one, two = again["val"]["text"].select([row]), train["val"]["text"].select([other])
    np.testing.assert_array_equal(one.values, two.values)


def changed(**new):
    raw = arrays() | new
    return {name: value for name, value in raw.items() if value is not None}


FAULTS = {
    "no samples": (
        {"text_test": None, "video_test": None},
        ["has no text_test", "has no video_test"],
    ),
    "no validation of one": ({"video_val": None}, ["has no video_val"]),
    "no training": ({"text_train": None}, ["has no text_train"]),
    "a slip": (
        {"label_vidoe_val": np.ones(3, int)},
        ["'label_vidoe_val' is no name of this format"],
    ),
    "a slip that looks like a modality": (
        {"lenght_val": np.ones(3, int)},
        [
            "has no lenght_train and no lenght_test",
            "lenght_val is int64 (3,), not numbers (N, T, width) or (rows, width)",
        ],
    ),
    "of no split": ({"text": np.ones(2)}, ["'text' is no name of this format"]),
    "text for numbers": (
        {"text_val": np.array(["a", "b", "c"])},
        ["text_val is <U1 (3,), not numbers (N, T, width) or (rows, width)"],
    ),
    "no values": (
        {"text_val": np.ones((3, 0, 2))},
        ["text_val is float64 (3, 0, 2), not numbers (N, T, width) or (rows, width)"],
    ),
    "not finite": (
        {
            "text_val": np.full((3, STEPS, 3), [1.0, np.nan, np.inf]),
            "length_val": np.array([1, 2, 3]),
        },
        ["text_val has 12 values that are no finite 32-bit numbers"],
    ),
    "too large": (
        {"text_val": np.full((3, STEPS, 1), 1e300), "length_val": np.array([1, 1, 1])},
        ["text_val has 3 values that are no finite 32-bit numbers"],
    ),
    "too long": (
        {"length_val": np.array([1, 6, 1])},
        [f"length of {name}_val is not from 1 to 5 throughout" for name in ("text", "video")],
    ),
    "a sample of nothing": (
        {"length_text_val": np.array([1, 0, 1])},
        ["length of text_val is not from 1 to 5 throughout"],
    ),
    "fewer lengths": (
        {"length_text_val": np.array([1, 1])},
        ["length of text_val has 2 samples of 2 steps, not 3 samples"],
    ),
    "lengths that are none": (
        {"length_text_val": np.array([1.0, 1.0, 1.0])},
        ["length of text_val is float64 (3,), not whole numbers (N,)"],
    ),
    "rows that are too few": (
        {"text_val": np.ones((9, 3)), "length_text_val": np.array([3, 3, 4])},
        ["length of text_val has 3 samples of 10 steps, not 9 steps"],
    ),
    "no labels": (
        {"label_val": None},
        ["text_val has no labels", "video_val has no labels"],
    ),
    "labels of another shape": (
        {"label_text_val": np.ones(4, int)},
        ["labels of text_val are int64 (4,), not whole numbers (3,) or (3, 5)"],
    ),
    "labels of another kind": (
        {"label_text_val": np.ones(3)},
        ["labels of text_val are float64 (3,), not whole numbers (3,) or (3, 5)"],
    ),
    "labels below": (
        {"label_text_val": np.array([0, -1, -2])},
        ["labels of text_val are not from 0 to 1: -2, -1"],
    ),
    "labels beyond the classes": (
        {"label_text_val": np.array([0, 1, 2]), "classes": np.array(["no", "yes"])},
        ["labels of text_val are not from 0 to 1: 2"],
    ),
    "names of another shape": (
        {"id_text_val": np.array(["a"])},
        ["names of text_val are <U1 (1,), not text (3,)"],
    ),
    "names of another kind": (
        {"id_text_val": np.array([0.5, 1, 2])},
        ["names of text_val are float64 (3,), not text (3,)"],
    ),
    "names twice": (
        {"id_text_val": np.array(["a", "b", "a"])},
        ["names of text_val occur twice: a"],
    ),
    "objects": (
        {"id_text_val": np.array(["a", None, 3], dtype=object)},
        ["'id_text_val' holds objects, not numbers or text"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_told(read, name):
    new, expected = FAULTS[name]
    assert faults(read, changed(**new)) == expected


def test_everything_is_told_at_once(read):
    content = changed(label_val=None, text_test=None, other=np.ones(3), length_video_train=[0] * 10)
    assert faults(read, content) == [
        "'other' is no name of this format",
        "has no text_test",
        "length of video_train is not from 1 to 5 throughout",
        "text_val has no labels",
        "video_val has no labels",
    ]


def test_a_file_without_any_modality(read):
    assert faults(read, {"label_train": np.ones(3)}) == [
        "has no samples of any modality",
    ]


def test_one_training_sample_cannot_be_held_out(read):
    assert faults(read, arrays({"train": 1, "test": 2})) == [
        f"{name}_train has one sample: none to hold out" for name in ("text", "video")
    ]


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickled_objects_are_not_opened(tmp_path, read):
    content = changed(id_val=np.array([Touch(tmp_path / "ran"), 1, 2], dtype=object))
    assert faults(read, content) == ["'id_val' holds objects, not numbers or text"]
    np.save(tmp_path / "objects.npy", content["id_val"])
    (tmp_path / "objects.npy").rename(tmp_path / "mine.npz")
    with pytest.raises(UserError, match=r"mine\.npz: is no \.npz that can be read"):
        sequence_npz.read(tmp_path / "mine.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["cut", "spoiled", "text", "empty", "npy"])
def test_another_file_is_told(tmp_path, kind):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays())
    body = path.read_bytes()
    if kind == "npy":
        np.save(tmp_path / "one.npy", np.ones(3))
        body = (tmp_path / "one.npy").read_bytes()
    spoiled = body[:200] + bytes(8) + body[208:]
    bodies = {"cut": body[: len(body) // 2], "spoiled": spoiled, "text": b"a,b\n", "empty": b""}
    path.write_bytes(bodies.get(kind, body))
    with pytest.raises(UserError, match=r"mine\.npz: is no \.npz that can be read") as caught:
        sequence_npz.read(path)
    assert "\n" not in caught.value.message


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingInput, match=r"no sequences at .*none\.npz"):
        sequence_npz.read(tmp_path / "none.npz")
