"""Names of sets of sequences, where their files lie, and what a fingerprint holds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import authors_files
import numpy as np
import pytest

from umlbench import paper
from umlbench.data import sequence_sets
from umlbench.data.sequence_sets import NAMES, SETS
from umlbench.errors import Exit, MissingInput, UserError

VISION = {"mosi": 20, "mosei": 35, "mustard": 371, "ur_funny": 371}


@pytest.fixture
def load(tmp_path):
    return lambda name, root=tmp_path: sequence_sets.load(name, root, tmp_path / "cache")


def content(name):
    if name.startswith("mimic"):
        return authors_files.mimic()
    return authors_files.affect(vision=VISION[name])


def test_the_papers_sets_go_by_the_names_of_its_table():
    (datasets,) = [
        values for axis, values in paper.load("table1").axes.items() if axis == "dataset"
    ]
    assert set(datasets) - set(NAMES) == {"oxford_pets", "ucf101", "dtd"}
    assert all(sequence_sets.is_known(name) for name in NAMES)
    assert sequence_sets.is_known("some/where/mine.npz")
    assert sequence_sets.is_known("mosi@/else/where.pkl")
    assert not sequence_sets.is_known("dtd")
    with pytest.raises(UserError, match="unknown set of sequences 'moseii', did you mean 'mosei'"):
        sequence_sets.file("moseii", Path())


@pytest.mark.parametrize("name", [*VISION, "mimic", "mimic_clean_test"])
def test_a_file_below_the_data_root_is_that_set(tmp_path, load, name):
    authors_files.write(tmp_path / SETS[name].file, content(name))
    found = load(name)
    assert (found.name, len(found.classes)) == (name, 2)
    assert list(found.splits) == ["train", "val", "test"]
    modalities = ("static", "series") if "mimic" in name else ("vision", "audio", "text")
    assert found.modalities == modalities
    for split, part in found.splits.items():
        assert found.paired(split, *modalities)
        for sequences in part.values():
            assert set(sequences.labels) <= {0, 1}


def test_which_rules_belong_to_which_set(tmp_path, load):
    """Thresholds, the one that is normalised, and the two tests of MIMIC."""
    for name in VISION:
        raw = content(name)
        raw["train"]["labels"] = np.array([-1, 0, 0.5, 1, 2, -3.0]).reshape(6, 1, 1)
        authors_files.write(tmp_path / SETS[name].file, raw)
        found = load(name).splits["train"]["vision"]
        sentiment = name in ("mosi", "mosei")
        assert found.labels.tolist() == ([0, 1, 1, 1, 1, 0] if sentiment else [0, 0, 0, 1, 1, 0])
        assert (found.values.mean() > 1) == (name != "mustard")
    authors_files.write(tmp_path / SETS["mimic"].file, authors_files.mimic())
    ids = {name: load(name).splits for name in ("mimic", "mimic_clean_test")}
    assert ids["mimic"]["test"]["static"].ids == ids["mimic"]["val"]["static"].ids
    clean = ids["mimic_clean_test"]
    assert not set(clean["test"]["static"].ids) & set(clean["val"]["static"].ids)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_told_with_its_place_and_source(tmp_path, load, name):
    with pytest.raises(MissingInput) as caught:
        load(name)
    message = caught.value.message
    assert message.startswith(f"{name}: {tmp_path / SETS[name].file}: no such file; get ")
    assert "github.com" in message
    assert "licence" in message.lower() or "license" in message.lower()
    assert ("physionet.org" in message) == name.startswith("mimic")
    assert "\n" not in message
    assert f"{name}@FILE" in caught.value.hint
    assert caught.value.exit_code == Exit.MISSING_INPUT


def test_a_file_elsewhere_is_the_same_set(tmp_path, load):
    here = authors_files.write(tmp_path / SETS["mosi"].file, content("mosi"))
    there = tmp_path / "other" / "mine.bin"
    there.parent.mkdir()
    there.write_bytes(here.read_bytes())
    one, two = load("mosi"), load(f"mosi@{there}")
    assert (one.name, one.fingerprint) == (two.name, two.fingerprint)
    checksum = hashlib.sha256(here.read_bytes()).hexdigest()
    assert one.fingerprint == f"mosi {sequence_sets.RULES} sha256:{checksum}"
    there.write_bytes(here.read_bytes() + b" ")
    assert load(f"mosi@{there}").fingerprint != one.fingerprint


def test_the_two_tests_of_mimic_are_two_sets(tmp_path, load):
    authors_files.write(tmp_path / SETS["mimic"].file, authors_files.mimic())
    assert load("mimic").fingerprint != load("mimic_clean_test").fingerprint


def test_a_published_file_is_opened_when_its_samples_are_asked_for(tmp_path, load):
    path = tmp_path / SETS["mosi"].file
    path.parent.mkdir()
    path.write_bytes(b"no pickle at all")
    found = load("mosi")
    assert list(found.splits) == ["train", "val", "test"]
    with pytest.raises(UserError, match=r"mosi_data\.pkl: is not a pickle"):
        found.splits["train"]


def test_ones_own_file_is_a_set(tmp_path, load):
    arrays = {f"{name}_{split}": np.ones((4, 3, 2)) for name in "ab" for split in ("train", "test")}
    labels = {f"label_{split}": np.array([0, 1, 0, 1]) for split in ("train", "test")}
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays, **labels)
    found = load(str(path))
    assert (found.name, found.modalities, found.classes) == ("npz:mine", ("a", "b"), ("0", "1"))
    assert str(tmp_path) not in found.fingerprint
    assert found.fingerprint.startswith("npz ")
    with pytest.raises(MissingInput, match="no sequences at"):
        load(str(tmp_path / "none.npz"))


# --- the real utterances --------------------------------------------------------------------------

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
MOSI = SHARED / SETS["mosi_utterances"].file
real = [
    pytest.mark.real,
    pytest.mark.skipif(not MOSI.is_file(), reason="no real data beside the checkout"),
]


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    return sequence_sets.load("mosi_utterances", SHARED, tmp_path_factory.mktemp("cache"))


class TestUtterances:
    """93 videos, whose utterances are the steps."""

    pytestmark = real

    def test_it_is_the_file_of_the_checksums(self, utterances):
        sums = (SHARED / "SHA256SUMS").read_text().splitlines()
        (line,) = [line for line in sums if line.endswith("mosi_utterances.npz")]
        assert utterances.fingerprint.endswith(f"sha256:{line.split()[0]}")

    def test_videos_and_utterances_are_the_published_ones(self, utterances):
        text = {split: part["text"] for split, part in utterances.splits.items()}
        assert {split: len(one) for split, one in text.items()} == {
            "train": 50,
            "val": 12,
            "test": 31,
        }
        assert len(text["train"].values) + len(text["val"].values) == 1447
        assert len(text["test"].values) == 752
        assert max(one.lengths.max() for one in text.values()) == 63
        names = [name for one in text.values() for name in one.ids]
        assert len(set(names)) == 93
        for split, part in utterances.splits.items():
            assert utterances.paired(split, "text", "audio", "video")
            widths = {name: one.width for name, one in part.items()}
            assert widths == {"text": 100, "audio": 73, "video": 100}
            assert all(one.per_step and not one.flat for one in part.values())
        assert round(100 * text["test"].labels.mean(), 1) == 62.1

    @pytest.mark.parametrize(
        ("modality", "expected"), [("text", 75.7), ("audio", 55.7), ("video", 51.5)]
    )
    def test_a_linear_probe_of_raw_features_has_the_known_figures(
        self, utterances, modality, expected
    ):
        """Trained on all 62 training videos; one of 752 utterances is 0.13 point."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        train, val, test = (part[modality] for part in utterances.splits.values())
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        values, labels = [train.values, val.values], [train.labels, val.labels]
        probe.fit(np.concatenate(values), np.concatenate(labels))
        assert 100 * probe.score(test.values, test.labels) == pytest.approx(expected, abs=0.15)
