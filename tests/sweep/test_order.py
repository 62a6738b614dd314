from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umlbench.errors import UserError
from umlbench.sweep import Replay, Shuffled

sizes = st.integers(1, 40)


@given(count=sizes, batch=sizes, seed=st.integers(0, 2**40))
@settings(max_examples=60)
def test_every_epoch_draws_each_sample_at_most_once_and_leaves_out_less_than_a_batch(
    count, batch, seed
):
    order = Shuffled(count, batch, seed)
    per_epoch = order.batches_per_epoch
    rows = order.rows(0, 3 * per_epoch)
    assert order.batch_size == min(batch, count)
    assert rows.shape == (3 * per_epoch, order.batch_size)
    for epoch in rows.view(3, -1):
        assert epoch.unique().numel() == epoch.numel() > count - order.batch_size
        assert 0 <= epoch.min() <= epoch.max() < count


@given(cuts=st.lists(st.integers(0, 4000), max_size=5), count=st.sampled_from([3, 40, 9000]))
@settings(max_examples=25)
def test_the_order_does_not_depend_on_how_it_is_asked_for(cuts, count):
    whole = Shuffled(count, 8, 5).rows(0, 4000)
    order, edges = Shuffled(count, 8, 5), [0, *sorted(cuts), 4000]
    pairs = itertools.pairwise(edges)
    assert torch.equal(torch.cat([order.rows(a, b) for a, b in pairs]), whole)
    middle = order.rows(17, 23)
    assert torch.equal(middle, whole[17:23])


def test_epochs_and_seeds_differ():
    order = Shuffled(32, 32, 0)
    first, second = order.rows(0, 2)
    assert not torch.equal(first, second)
    assert not torch.equal(first, Shuffled(32, 32, 1).rows(0, 1)[0])


def test_every_sample_comes_first_equally_often():
    first = Shuffled(5, 5, 3).rows(0, 10000)[:, 0]
    share = torch.bincount(first, minlength=5) / len(first)
    assert (share - 0.2).abs().max() < 4 * (0.2 * 0.8 / 10000) ** 0.5


def test_a_subset_is_drawn_from_alone():
    subset = torch.tensor([4, 9, 11])
    assert set(Shuffled(subset, 2, 0).rows(0, 50).unique().tolist()) == {4, 9, 11}


def test_a_replay_returns_what_it_was_given_and_says_where_it_ends():
    indices = torch.arange(12).view(4, 3)
    assert torch.equal(Replay(indices).rows(1, 3), indices[1:3])
    with pytest.raises(UserError, match="iteration 4 asked of an order of 4 batches"):
        Replay(indices).rows(3, 5)


@pytest.mark.parametrize(("count", "batch"), [(0, 8), (8, 0)])
def test_empty_batches_are_refused(count, batch):
    with pytest.raises(UserError, match="cannot form batches"):
        Shuffled(count, batch, 0)
