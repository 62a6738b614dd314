from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umlbench.data.sequences import Sequences, SequenceSet
from umlbench.errors import UserError


def make(lengths=(2, 0, 3, 1), *, per_step=False, **how):
    rows = sum(lengths)
    values = np.arange(2.0 * rows, dtype=np.float32).reshape(rows, 2)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    labels = np.arange(rows if per_step else len(lengths))
    ids = tuple(f"s{number}" for number in range(len(lengths)))
    return Sequences(values, starts, labels, ids, **how)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.booleans(), st.data())
def test_chosen_samples_are_those_of_the_whole(lengths, per_step, draw):
    whole = make(lengths, per_step=per_step, notices=("told",))
    rows = draw.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8))
    found = whole.select(rows)
    assert found.ids == tuple(f"s{row}" for row in rows)
    assert found.lengths.tolist() == [lengths[row] for row in rows]
    np.testing.assert_array_equal(found.padded(range(len(rows))), whole.padded(rows))
    assert (found.flat, found.notices) == (whole.flat, whole.notices)
    for place, row in enumerate(rows):
        steps = whole.labels[whole.starts[row] : whole.starts[row + 1]]
        here = found.labels[found.starts[place] : found.starts[place + 1]]
        assert (here == steps).all() if whole.per_step else found.labels[place] == row


def test_padding_is_zeros_at_the_end():
    assert make().padded([3, 0, 1]).tolist() == [
        [[10, 11], [0, 0]],
        [[0, 1], [2, 3]],
        [[0, 0], [0, 0]],
    ]


def test_flat_samples_have_one_row_each():
    assert make((1, 1, 1), flat=True).select([2, 0]).labels.tolist() == [2, 0]
    with pytest.raises(UserError, match="3 rows for 2 flat samples"):
        make((1, 2), flat=True)


@pytest.mark.parametrize(
    "other",
    [
        {"values": np.zeros((5, 2), np.float32)},
        {"starts": np.array([0, 2, 1, 5, 6])},
        {"starts": np.array([1, 2, 2, 5, 6])},
        {"labels": np.zeros(5, np.int64)},
        {"ids": ("a", "b")},
    ],
)
def test_parts_that_do_not_fit_are_refused(other):
    with pytest.raises(UserError, match="sequences with values"):
        dataclasses.replace(make(), **other)


def test_a_set_knows_its_pairs_and_tells_each_notice_once():
    split = {"a": make(notices=("x", "y")), "b": make(notices=("x",))}
    lonely = {"a": make(), "b": dataclasses.replace(make(), ids=("t0", "t1", "t2", "t3"))}
    found = SequenceSet("toy", ("no", "yes"), {"train": split, "test": lonely}, "")
    assert found.modalities == ("a", "b")
    assert found.notices == ("train: x", "train: y")
    assert found.paired("train", "a", "b")
    assert not found.paired("test", "a", "b")
