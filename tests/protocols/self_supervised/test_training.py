"""The training loop: the official code's 20 steps, batches, and what a step trains."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import released_trunk as released
import tiny_sequences
import torch

from umlbench.protocols.self_supervised.settings import Settings
from umlbench.protocols.self_supervised.training import (
    Batch,
    build,
    dropouts,
    feed,
    padded,
    train,
)

ONCE = {"epochs": 1}
RUNS = {  # official name: modalities, positions, and settings; 20 steps are one epoch or 20
    "xy": ("xy", "none", ONCE),
    "xy_learnable": ("xy", "learnable", ONCE),
    "x": ("x", "none", ONCE),
    "y": ("y", "none", ONCE),
    "xy_stepk5": ("xy", "none", {"epochs": 20, "warmup_epochs": 5}),
    "xy_lr1e-3": ("xy", "none", {"epochs": 1, "learning_rate": 1e-3}),
}


def settings(method="uml", **changes):
    small = {"width": 8, "layers": 1, "heads": 2, "feedforward": 16, "batch_size": 8}
    return Settings(**{"dataset": "tiny.npz", "method": method, **small, **changes})


@cache
def rerun(name):
    """Losses and trunk of an official run, by the loop that trains every job."""
    modalities, positions, changes = RUNS[name]
    how = Settings(
        dataset="tiny.npz",
        method="uml" if len(modalities) > 1 else "unimodal",
        target=modalities[0],
        auxiliary=("y",),
        dropout=0.0,
        **changes,
    )
    trunk = released.trunk(positions, modalities)
    feeds = {m: itertools.repeat(Batch(released.sample(m), None)) for m in modalities}
    history = train(trunk, feeds, how, 20 // how.epochs, dropouts(how, seed=1))
    return history, trunk


@pytest.mark.parametrize("name", RUNS)
def test_twenty_steps_are_the_official_ones(name):
    history, trunk = rerun(name)
    assert len(history) == 20
    for modality in RUNS[name][0]:
        theirs = released.arrays()[f"train/f64__{name}__loss_{modality}"]
        mine = [step[modality].item() if modality in step else None for step in history]
        waits = [step for step, loss in enumerate(mine) if loss is None]
        assert waits == (list(range(6)) if (name, modality) == ("xy_stepk5", "x") else [])
        first = len(waits)
        np.testing.assert_allclose(mine[first:], theirs[first:], rtol=0, atol=1e-9)
    _compare(trunk, name, released.arrays(), "train/")


def _compare(trunk, name, arrays, prefix):
    state, seen = trunk.state_dict(), 0
    for key, weight in arrays.items():
        official = key.removeprefix(f"{prefix}f64__{name}__final__")
        if official != key and released.ours(official) in state:
            mine = state[released.ours(official)]
            np.testing.assert_allclose(mine, weight.reshape(mine.shape), rtol=0, atol=1e-9)
            seen += 1
    assert seen >= 6


@pytest.mark.real
@pytest.mark.parametrize("name", RUNS)
def test_every_final_parameter_of_the_full_reference(name):
    if not released.REFERENCE.is_dir():
        pytest.skip("the full reference numbers are not beside the checkout")
    _compare(rerun(name)[1], name, np.load(released.REFERENCE / "A4_train20.npz"), "")


# Batches


def test_an_epoch_is_a_permutation_with_a_short_last_batch():
    found = tiny_sequences.sequences(20, 3, 0)
    batches = feed("vision", found, settings(), 1, "cpu")
    epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
    for epoch in epochs:
        assert [len(batch.values) for batch in epoch] == [8, 8, 4]
        sums = sorted(row.sum().item() for batch in epoch for row in batch.values)
        every = [found.padded([row]).sum() for row in range(20)]
        np.testing.assert_allclose(sums, sorted(every), rtol=1e-5, atol=1e-5)
    assert not torch.equal(epochs[0][2].values, epochs[1][2].values)


def test_modalities_are_shuffled_apart_and_a_target_alike_in_all_methods():
    found = tiny_sequences.sequences(20, 3, 0, kind="flat")
    a, b, again = (
        next(feed(name, found, settings(method), 1, "cpu")).values
        for name, method in (("a", "uml"), ("b", "uml"), ("a", "unimodal"))
    )
    assert not torch.equal(a, b)
    assert torch.equal(a, again)


def test_a_batch_is_padded_to_its_longest_and_cut_where_positions_end():
    found = tiny_sequences.sequences(5, 3, 0)
    lengths = found.lengths[:2]
    plain = padded(found, [0, 1], settings(), "cpu")
    assert plain.values.shape == (2, lengths.max(), 3)
    assert plain.lengths is None
    masked = padded(found, [0, 1], settings(mask_padding=True), "cpu")
    assert masked.lengths.tolist() == lengths.tolist()
    assert padded(found, [4], settings(), "cpu").values.shape == (1, 1, 3)  # an empty sample
    long = tiny_sequences.Sequences(
        np.ones((200, 3), np.float32), np.array([0, 200]), np.array([0]), ("long",)
    )
    cut = padded(long, [0], settings(positions="learned", mask_padding=True), "cpu")
    assert cut.values.shape == (1, 128, 3)
    assert cut.lengths.tolist() == [128]
    assert padded(long, [0], settings(), "cpu").values.shape == (1, 200, 3)


# What trains when


def trained(how, seed=1, on_epoch=lambda _: None, names=("vision", "text"), per_epoch=3):
    found = tiny_sequences.sequence_set().splits["train"]
    trunk = build({name: found[name].width for name in names}, how, seed)
    before = {name: weight.clone() for name, weight in trunk.state_dict().items()}
    feeds = {name: feed(name, found[name], how, seed, "cpu") for name in names}
    history = train(trunk, feeds, how, per_epoch, dropouts(how, seed), on_epoch)
    return history, trunk, before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["vt", "vt", "vt"]),
        ({"warmup_epochs": 0}, ["t", "vt", "vt"]),
        ({"warmup_epochs": 1}, ["t", "t", "vt"]),
        ({"warmup": "target"}, ["vt", "vt", "vt"]),
        ({"warmup": "target", "warmup_epochs": 0}, ["vt", "vt", "vt"]),
        ({"warmup": "target", "warmup_epochs": 2}, ["v", "v", "vt"]),
    ],
)
def test_the_curriculum_says_who_trains_in_an_epoch(changes, expected):
    history, _, _ = trained(settings(epochs=3, **changes))
    by_epoch = ["".join(name[0] for name in history[step]) for step in (0, 3, 6)]
    assert by_epoch == expected
    assert len(history) == 9


def test_unimodal_has_no_warmup():
    how = settings("unimodal", epochs=2, warmup_epochs=1)
    history, _, _ = trained(how, names=("vision",))
    assert all(set(step) == {"vision"} for step in history)


def test_who_waits_does_not_change():
    _, trunk, before = trained(settings(epochs=3, warmup_epochs=1, iterations=6))
    after = trunk.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in after if "vision" not in name}


@pytest.mark.parametrize(
    "changes",
    [
        {"target_weight": 0.3, "auxiliary_weight": 2.5},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "optimizer": "adamw"},
        {"schedule": "cosine"},
    ],
)
def test_a_plain_loop_trains_the_same(changes):
    """Weights, decay and schedule; without dropout, in float64."""
    how = settings(epochs=4, dropout=0.0, learning_rate=1e-2, **changes)
    found = tiny_sequences.sequence_set().splits["train"]
    mine, plain = (build({"vision": 4, "text": 6}, how, 1).double() for _ in range(2))

    def feeds():
        for name in ("vision", "text"):
            for batch in itertools.islice(feed(name, found[name], how, 1, "cpu"), 12):
                yield name, Batch(batch.values.double(), None)

    by_name = {name: [b for n, b in feeds() if n == name] for name in ("vision", "text")}
    train(mine, {n: iter(b) for n, b in by_name.items()}, how, 3, dropouts(how, 1))
    kind = torch.optim.AdamW if how.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(plain.parameters(), lr=1e-2, weight_decay=how.weight_decay)
    for step in range(12):
        rate = 1e-2 / 2 * (1 + math.cos(math.pi * step / 12))
        optimizer.param_groups[0]["lr"] = rate if how.schedule == "cosine" else 1e-2
        vision, text = (plain.loss(n, by_name[n][step].values) for n in ("vision", "text"))
        optimizer.zero_grad()
        (how.target_weight * vision + how.auxiliary_weight * text).backward()
        optimizer.step()
    theirs = plain.state_dict()
    for name, weight in mine.state_dict().items():
        if not name.endswith("qkv.bias"):  # the keys' bias has no gradient but rounding
            torch.testing.assert_close(weight, theirs[name], rtol=0, atol=1e-9)


def test_a_training_that_diverges_ends():
    history, _, _ = trained(settings(epochs=50, learning_rate=1e30))
    assert len(history) < 150


def test_epochs_are_told_and_iterations_count_instead():
    told = []
    trained(settings(epochs=4), on_epoch=told.append)
    assert told == [1, 2, 3, 4]
    told.clear()
    history, _, _ = trained(settings(iterations=7), on_epoch=told.append)
    assert (told, len(history)) == ([1, 2], 7)


def test_losses_fall():
    history, _, _ = trained(settings(epochs=60, learning_rate=1e-2))
    for name in ("vision", "text"):
        first, last = (
            sum(step[name].item() for step in part) / len(part)
            for part in (history[:6], history[-6:])
        )
        assert last < 0.8 * first
