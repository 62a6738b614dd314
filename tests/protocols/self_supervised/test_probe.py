"""Embeddings and the classifiers on them."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_sequences
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from umlbench.data.sequences import Sequences
from umlbench.errors import UserError
from umlbench.protocols.self_supervised.probe import Embedded, embed, probe, scores
from umlbench.protocols.self_supervised.settings import Settings
from umlbench.protocols.self_supervised.training import build

SMALL = {"width": 8, "layers": 1, "heads": 2, "feedforward": 16, "eval_batch_size": 4}


def settings(method="uml", **changes):
    return Settings(**{"dataset": "tiny.npz", "method": method, **SMALL, **changes})


def trunk_for(found, how):
    widths = {name: found.splits["train"][name].width for name in how.modalities}
    return build(widths, how, 1)


def one(how, found, name="vision", split="test"):
    return embed(trunk_for(found, how), name, found.splits[split][name], how, "cpu")


@torch.no_grad()
def test_an_embedding_is_the_mean_over_the_batch_s_steps():
    found, how = tiny_sequences.sequence_set(), settings("unimodal")
    trunk, test = trunk_for(found, how), found.splits["test"]["vision"]
    expected = trunk("vision", torch.from_numpy(test.padded(range(4, 8)))).mean(1)
    np.testing.assert_allclose(one(how, found).x[4:8], expected, rtol=1e-5, atol=1e-6)
    assert one(how, found).x.shape == (12, 8)


@torch.no_grad()
def test_a_masked_embedding_is_the_mean_over_its_own_steps():
    found, how = tiny_sequences.sequence_set(), settings("unimodal", mask_padding=True)
    trunk, test = trunk_for(found, how), found.splits["test"]["vision"]
    masked = one(how, found)
    for row in range(11):
        own = trunk("vision", torch.from_numpy(test.padded([row]))).mean(1)[0]
        np.testing.assert_allclose(masked.x[row], own, rtol=1e-4, atol=1e-6)
    assert not masked.x[11].any()  # it has no step


@pytest.mark.parametrize("mask", [True, False])
def test_only_masked_embeddings_do_without_their_company(mask):
    found = tiny_sequences.sequence_set()
    three, five = (
        one(settings("unimodal", mask_padding=mask, eval_batch_size=size), found).x
        for size in (3, 5)
    )
    assert np.allclose(three, five, rtol=1e-4, atol=1e-6) == mask


def test_steps_with_labels_are_embedded_one_by_one():
    found = tiny_sequences.sequence_set(kind="stepwise")
    embedded, test = one(settings("unimodal"), found), found.splits["test"]["vision"]
    assert embedded.x.shape == (len(test.values), 8)
    np.testing.assert_array_equal(embedded.y, test.labels)
    # The last step of the third sample, which sees the samples' own past only.
    trunk = trunk_for(found, settings("unimodal"))
    with torch.no_grad():
        own = trunk("vision", torch.from_numpy(test.padded([2])))[0, -1]
    np.testing.assert_allclose(embedded.x[test.starts[3] - 1], own, rtol=1e-4, atol=1e-6)


def test_steps_behind_the_last_position_are_left_out():
    starts = np.array([0, 130, 135])
    long = Sequences(np.ones((135, 4), np.float32), starts, np.arange(135) % 2, ("a", "b"))
    how = settings("unimodal", positions="sinusoidal")
    embedded = embed(build({"vision": 4}, how, 1), "vision", long, how, "cpu")
    assert len(embedded.x) == len(embedded.y) == 128 + 5
    np.testing.assert_array_equal(embedded.y, np.r_[np.arange(128), np.arange(130, 135)] % 2)


def splits(seed=0, classes=2):
    rng = np.random.default_rng(seed)
    return {
        split: Embedded(
            rng.normal(size=(40, 5)).astype(np.float32) * [1, 10, 1, 1, 1] + y[:, None], y
        )
        for split in ("train", "val", "test")
        for y in [rng.integers(0, classes, 40)]
    }


@pytest.mark.parametrize(
    ("changes", "classes", "make"),
    [
        ({}, 2, lambda: LogisticRegression(max_iter=200)),
        ({}, 3, lambda: LogisticRegression(max_iter=200)),
        ({"probe_iterations": 3}, 2, lambda: LogisticRegression(max_iter=3)),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_probe_is_scikit_learns(changes, classes, make):
    data = splits(classes=classes)
    theirs = make().fit(data["train"].x, data["train"].y)
    expected = tuple(100 * theirs.score(data[s].x, data[s].y) for s in ("val", "test"))
    assert probe(data, settings(**changes)) == expected


def test_the_probe_of_mosi_scales_by_the_training_split():
    data = splits()
    scaler = StandardScaler().fit(data["train"].x)
    fitted = LogisticRegression(max_iter=1000, solver="liblinear").fit(
        scaler.transform(data["train"].x), data["train"].y
    )
    expected = tuple(
        100 * fitted.score(scaler.transform(data[s].x), data[s].y) for s in ("val", "test")
    )
    assert probe(data, settings(probe="scaled_liblinear", probe_iterations=1000)) == expected


def test_a_trunk_that_diverged_has_no_score():
    data = splits()
    data["val"].x[0] = np.inf
    assert np.isnan(probe(data, settings())).all()
    one_class = Embedded(data["train"].x, np.zeros(40, int))
    with pytest.raises(UserError, match="all of one class"):
        probe({**splits(), "train": one_class}, settings())


NAMES = {"accuracy", "val_accuracy"}


@pytest.mark.parametrize(
    ("method", "auxiliary", "paired", "more"),
    [
        ("unimodal", "text", True, set()),
        ("uml", "text", True, {"accuracy_auxiliary", "accuracy_all"}),
        ("uml", "text", False, {"accuracy_auxiliary"}),
        (
            "uml",
            "text+audio",
            True,
            {"accuracy_text", "accuracy_audio", "accuracy_auxiliary", "accuracy_all"},
        ),
    ],
)
def test_what_is_scored(method, auxiliary, paired, more):
    found = tiny_sequences.sequence_set(paired=paired)
    how = settings(method, auxiliary=auxiliary)
    figures = scores(trunk_for(found, how), found, how, "cpu")
    assert set(figures) == NAMES | more
    assert all(0 <= value <= 100 for value in figures.values())


def test_labels_of_other_rows_are_not_paired():
    """Vision has a label a step and text one a sample: there is nothing to concatenate."""
    found = tiny_sequences.sequence_set("vision", kind="stepwise")
    text = tiny_sequences.sequence_set("text")
    both = replace(
        found, splits={s: {**found.splits[s], **text.splits[s]} for s in found.splits}
    )  # fmt: skip
    how = settings()
    assert "accuracy_all" not in scores(trunk_for(both, how), both, how, "cpu")
