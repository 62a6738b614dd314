import numpy as np
import pytest

from umlbench.data.samples import Samples, content_digest
from umlbench.errors import UserError


def make(ids=("a", "b", "c"), labels=(0, 1, 0), items=("x", "y", "z")):
    return Samples(tuple(ids), np.array(labels), list(items))


def test_fingerprint_depends_on_ids_labels_contents_and_order():
    variants = [
        make(),
        make(ids=("a", "b", "d")),
        make(labels=(0, 1, 1)),
        make(items=("x", "y", "w")),
        make().select([1, 0, 2]),
        make().select([0, 1]),
    ]
    assert len({samples.fingerprint for samples in variants}) == len(variants)
    assert make().fingerprint == make().select([0, 1, 2]).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        np.zeros((4, 2), np.uint8),
        np.zeros((2, 4), np.int8),
        np.zeros((2, 4), np.float32),
        "\0\0\0\0\0\0\0\0",
    ],
)
def test_content_tells_shape_type_and_kind_apart(other):
    assert content_digest(other) != content_digest(np.zeros((2, 4), np.uint8))


def test_content_knows_values_and_not_memory_layout():
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert content_digest(array) == content_digest(np.asfortranarray(array))
    assert content_digest(array) == content_digest(array.astype(">i4"))
    assert content_digest(array) != content_digest(array + 1)


def test_select_keeps_rows_together():
    chosen = make(labels=(5, 6, 7)).select([2, 0])
    assert chosen.ids == ("c", "a")
    assert chosen.labels.tolist() == [7, 5]
    assert list(chosen.items) == ["z", "x"]


def test_labels_are_frozen_int64_and_the_callers_array_is_not():
    labels = np.array([1, 2], dtype=np.int16)
    samples = Samples(("a", "b"), labels, ["x", "y"])
    assert samples.labels.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        samples.labels[0] = 3
    labels[0] = 9
    assert samples.labels[0] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ("a", "b", "a")}, "'a' occurs twice"),
        ({"labels": (0, 1)}, "do not belong together"),
        ({"items": ("x",)}, "do not belong together"),
        ({"labels": (0.0, 1.0, 2.0)}, "must be integers"),
    ],
)
def test_samples_that_do_not_fit_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        make(**change)
