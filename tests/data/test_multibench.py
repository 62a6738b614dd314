"""What is made of MultiBench's files, on small ones of the same format."""

from __future__ import annotations

import random

import authors_files
import numpy as np
import pytest
from authors_files import FRAMES, write

from umlbench.data import multibench
from umlbench.errors import UserError

NAMES = {"train": "train", "val": "valid", "test": "test"}


@pytest.fixture
def read(tmp_path):
    def make(content, **how):
        path = write(tmp_path / "some.pkl", content)
        return multibench.affect(path, **{"positive_from": 0, "vision": 20, **how})

    return make


def frames(sequences, row):
    return sequences.values[sequences.starts[row] : sequences.starts[row + 1]]


def first(text):
    """The first frame of a sample that is not all zeros."""
    return next(step for step, frame in enumerate(text) if (frame != 0).any())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_modalities_begin_where_the_text_does(read, dtype):
    raw = authors_files.affect(dtype=dtype)
    raw["train"]["vision"][:, :2] = 7.0  # also where the text is padding
    found = read(raw)
    assert list(found) == ["train", "val", "test"]
    for ours, theirs in NAMES.items():
        for name in ("vision", "audio", "text"):
            sequences, part = found[ours][name], raw[theirs]
            assert sequences.ids == tuple(part["id"])
            assert (sequences.width, sequences.notices) == (part[name].shape[2], ())
            for row, text in enumerate(part["text"]):
                expected = part[name][row][first(text) :].astype(np.float32)
                np.testing.assert_array_equal(frames(sequences, row), expected)


def test_a_zero_frame_inside_a_sample_stays(read):
    raw = authors_files.affect()
    raw["test"]["text"][1] = 0
    raw["test"]["text"][1, 3, 17] = 1
    raw["test"]["text"][1, -1] = 2
    found = read(raw)["test"]["text"]
    assert found.lengths[1] == FRAMES - 3
    assert (frames(found, 1)[1:-1] == 0).all()


def test_samples_without_text_are_left_out_of_every_array(read):
    raw = authors_files.affect()
    raw["valid"]["text"][2] = 0
    raw["valid"]["labels"][:, 0, 0] = (-1, -1, -1, 1)
    found = read(raw)["val"]
    for sequences in found.values():
        assert sequences.ids == ("clip_0", "clip_1", "clip_3")
        assert sequences.labels.tolist() == [0, 0, 1]
        assert sequences.notices == ("1 samples without text were left out",)
    np.testing.assert_array_equal(frames(found["vision"], 2)[-1], raw["valid"]["vision"][3, -1])


def test_text_that_sums_to_zero_counts_as_none(read):
    """As the official code has it, which adds up values and does not look at them."""
    raw = authors_files.affect()
    raw["train"]["text"][0] = 0
    raw["train"]["text"][0, -1, :2] = (1, -1)
    assert len(read(raw)["train"]["text"]) == 5


def test_minus_infinity_of_audio_is_zero(read):
    raw = authors_files.affect()
    raw["train"]["audio"][0, -1, 2] = -np.inf
    found = read(raw)["train"]["audio"]
    assert frames(found, 0)[-1, 2] == 0
    assert found.notices == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [("vision", np.nan), ("audio", np.inf), ("text", np.nan), ("vision", -np.inf)],
)
def test_what_the_official_code_would_train_on_becomes_zero_and_is_told(read, name, value):
    raw = authors_files.affect()
    raw["train"][name][0, -2:, 2] = value
    found = read(raw)["train"]
    assert (frames(found[name], 0)[-2:, 2] == 0).all()
    assert found[name].notices == (f"2 values of {name} are no finite numbers: now 0",)
    assert sum(len(sequences.notices) for sequences in found.values()) == 1


def test_a_number_too_large_for_32_bits_is_none(read):
    raw = authors_files.affect(dtype=np.float64)
    raw["train"]["vision"][0, -1, 0] = 1e300
    found = read(raw)["train"]["vision"]
    assert frames(found, 0)[-1, 0] == 0
    assert len(found.notices) == 1


@pytest.mark.parametrize(
    ("how", "given", "expected"),
    [
        ({"positive_from": 0}, (-0.2, 0.0, 0.4, -3.0, 3.0, -0.0), (0, 1, 1, 0, 1, 1)),
        ({"positive_from": 1}, (-1, 1, -1, 1, 1, -1), (0, 1, 0, 1, 1, 0)),
        ({"positive_from": 1}, (0, 1, 0, 1, 1, 0), (0, 1, 0, 1, 1, 0)),
    ],
)
@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 1, 1), (6, 1, 7)])
def test_labels_are_the_first_value_against_the_threshold(read, how, given, expected, shape):
    raw = authors_files.affect()
    labels = np.full(shape, 9.0)
    labels.reshape(6, -1)[:, 0] = given
    raw["train"]["labels"] = labels
    assert read(raw, **how)["train"]["vision"].labels.tolist() == list(expected)


def test_vision_is_standardised_by_its_own_split_padding_included(read):
    raw = authors_files.affect(vision=371, dtype=np.float64)
    raw["test"]["vision"] *= 5
    found = read(raw, vision=371, vision_norm=True)
    for ours, theirs in NAMES.items():
        part = raw[theirs]
        rows = part["vision"].reshape(-1, 371)
        scaled = (part["vision"] - rows.mean(0)) / rows.std(0)
        for row, text in enumerate(part["text"]):
            np.testing.assert_array_equal(
                frames(found[ours]["vision"], row), scaled[row, first(text) :].astype(np.float32)
            )
        raw_audio = part["audio"][0, first(part["text"][0]) :].astype(np.float32)
        np.testing.assert_array_equal(frames(found[ours]["audio"], 0), raw_audio)


@pytest.mark.filterwarnings("error")
def test_a_column_that_does_not_vary_is_zero_and_no_nan(read):
    raw = authors_files.affect(vision=371)
    raw["train"]["vision"][:, :, 3] = 2.0
    raw["train"]["vision"][:, :, 4] = 0.0
    raw["train"]["vision"][0, -1, 5] = np.nan  # would spoil its whole column
    found = read(raw, vision=371, vision_norm=True)["train"]["vision"]
    assert (found.values[:, 3:5] == 0).all()
    assert np.isfinite(found.values).all()
    assert found.values[:, 5].std() > 0.1
    assert found.notices == ("1 values of vision are no finite numbers: now 0",)


def test_names_of_several_parts_of_bytes_and_none_at_all(read):
    raw = authors_files.affect()
    raw["train"]["id"] = np.array([["video", "0.5", str(n)] for n in range(6)])
    raw["valid"]["id"] = np.array([b"a", b"b", b"c", b"d"])
    del raw["test"]["id"]
    raw["test"]["text"][0] = 0
    found = read(raw)
    assert found["train"]["text"].ids[2] == "video_0.5_2"
    assert found["val"]["text"].ids == ("a", "b", "c", "d")
    assert found["test"]["text"].ids == ("1", "2", "3", "4")


def spoil(raw, how):
    part = raw["train"]
    how(raw, part)
    return raw


FAULTS = {
    "no split": (lambda raw, part: raw.pop("valid"), "has no split 'valid'"),
    "no arrays": (
        lambda raw, part: (part.pop("audio"), part.pop("labels")),
        "train: has no audio and no labels",
    ),
    "another set": (
        lambda raw, part: part.update(vision=part["vision"][:, :, :19]),
        "train: vision is 19 wide, not 20: another set's or version's file",
    ),
    "fewer samples": (
        lambda raw, part: part.update(text=part["text"][1:]),
        r"train: samples and frames differ: vision \(6, 8, 20\), .*text \(5, 8, 300\)",
    ),
    "other frames": (
        lambda raw, part: part.update(audio=part["audio"][:, 1:]),
        "train: samples and frames differ",
    ),
    "objects": (
        lambda raw, part: part.update(audio=np.array([None] * 6)),
        "train: audio is no array of numbers",
    ),
    "no text": (lambda raw, part: part["text"].fill(0), "train: has no sample with text"),
    "labels": (
        lambda raw, part: part.update(labels=part["labels"][1:]),
        "train: labels are 5 values, not 6 finite ones",
    ),
    "labels of text": (
        lambda raw, part: part.update(labels=np.array(["a"] * 6)),
        "train: labels are 0 values, not 6 finite ones",
    ),
    "label that is none": (
        lambda raw, part: part["labels"].fill(np.nan),
        "train: labels are 6 values, not 6 finite ones",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_another_file_is_told(read, name):
    how, said = FAULTS[name]
    with pytest.raises(UserError, match=rf"some\.pkl: {said}"):
        read(spoil(authors_files.affect(), how))


def test_everything_that_is_wrong_is_told_at_once(read):
    raw = spoil(authors_files.affect(), lambda raw, part: raw.pop("valid"))
    raw["test"]["vision"] = raw["test"]["vision"][:, :, :3]
    raw["test"]["labels"][0] = np.nan
    with pytest.raises(UserError) as caught:
        read(raw)
    assert [line.rpartition("pkl: ")[2] for line in caught.value.message.splitlines()] == [
        "3 faults of some.pkl:",
        "has no split 'valid'",
        "test: vision is 3 wide, not 20: another set's or version's file",
        "test: labels are 5 values, not 5 finite ones",
    ]


@pytest.mark.parametrize("content", [[1, 2], "text", {}, {"train": 3}])
def test_a_pickle_of_something_else(read, content):
    with pytest.raises(UserError, match="has no split 'train'"):
        read(content)


# --- MIMIC ----------------------------------------------------------------------------------------


@pytest.fixture
def stays(tmp_path):
    def make(content, clean_test=False):
        return multibench.mimic(write(tmp_path / "im.pk", content), clean_test=clean_test)

    return make


@pytest.mark.parametrize("count", [10, 47, 1000])
def test_the_stays_are_shuffled_as_the_global_generator_does(count):
    state = random.getstate()
    try:
        random.seed(10)
        rows = [(row, "anything") for row in range(count)]
        random.shuffle(rows)
    finally:
        random.setstate(state)
    found = multibench.mimic_rows(count)
    assert found["val"] + found["test"] + found["train"] == [row for row, _ in rows]
    assert [len(found[split]) for split in ("val", "test")] == [
        count // 10,
        count // 5 - count // 10,
    ]
    assert random.getstate() == state


def test_static_features_and_series_are_standardised_over_the_whole_file(stays):
    raw = authors_files.mimic()
    found, rows = stays(raw, clean_test=True), multibench.mimic_rows(40)
    static, series = raw["adm_features_all"], raw["ep_tdata"]
    static = (static - np.average(static, axis=0)) / np.std(static, axis=0)
    series = (series - np.average(series, axis=(0, 1))) / np.std(series, axis=(0, 1))
    for split, chosen in rows.items():
        assert found[split]["static"].flat
        assert not found[split]["series"].per_step
        assert found[split]["static"].ids == found[split]["series"].ids == tuple(map(str, chosen))
        np.testing.assert_array_equal(
            found[split]["static"].values, static[chosen].astype(np.float32)
        )
        expected = series[chosen].astype(np.float32)
        np.testing.assert_array_equal(found[split]["series"].padded(range(len(chosen))), expected)
        labels = raw["y_icd9"][chosen, 7]
        assert (found[split]["static"].labels == labels).all()
        assert (found[split]["series"].labels == labels).all()


def test_the_test_stays_are_those_of_validation_or_clean(stays):
    official, clean = stays(authors_files.mimic()), stays(authors_files.mimic(), clean_test=True)
    for name in ("static", "series"):
        assert official["test"][name].ids == official["val"][name].ids == clean["val"][name].ids
        assert official["train"][name].ids == clean["train"][name].ids
        assert official["test"][name].notices == (
            "the stays of validation, as in the official code",
        )
    rows = [set(clean[split]["static"].ids) for split in ("train", "val", "test")]
    assert [len(part) for part in rows] == [32, 4, 4]
    assert len(set.union(*rows)) == 40


def test_stays_with_values_that_are_none_and_columns_that_do_not_vary(stays):
    raw = authors_files.mimic()
    first, second = multibench.mimic_rows(40)["train"][:2]
    raw["ep_tdata"][first, 5, 1], raw["ep_tdata"][second, 5, 1] = np.nan, -np.inf
    raw["adm_features_all"][2, 0] = np.inf
    raw["adm_features_all"][:, 4] = 1.0
    zeroed = np.where(np.isfinite(raw["ep_tdata"]), raw["ep_tdata"], 0)
    found = stays(raw, clean_test=True)["train"]
    assert np.isfinite(found["static"].values).all()
    assert (found["static"].values[:, 4] == 0).all()
    scaled = (0 - zeroed[..., 1].mean()) / zeroed[..., 1].std()
    assert found["series"].padded([0, 1])[:, 5, 1] == pytest.approx(scaled)


def test_widths_of_the_series_come_from_the_file(stays):
    assert stays(authors_files.mimic(series=30))["train"]["series"].width == 30


def test_other_files_for_mimic(stays):
    raw = authors_files.mimic()
    raw["y_icd9"] = raw["y_icd9"][1:]
    del raw["ep_tdata"]
    with pytest.raises(UserError) as caught:
        stays(raw)
    assert [line.rpartition("pk: ")[2] for line in caught.value.message.splitlines()] == [
        "2 faults of im.pk:",
        "has no array of numbers 'ep_tdata' with 3 axes",
        "stays differ: adm_features_all (40, 5), y_icd9 (39, 20)",
    ]
    for labels, said in (
        (np.ones((40, 7)), "y_icd9 has 7 columns, none for task 7"),
        (np.full((40, 20), 2.0), "y_icd9 has other values than 0 and 1 in column 7"),
    ):
        with pytest.raises(UserError, match=said):
            stays(authors_files.mimic() | {"y_icd9": labels})
    with pytest.raises(UserError, match="3 faults"):
        stays([1])
