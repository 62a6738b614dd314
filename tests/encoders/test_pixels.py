import numpy as np
import pytest

from umlbench import data, encoders
from umlbench.errors import UserError


def test_pictures_become_rows_between_0_and_1():
    items = data.load("digits").split("val").items
    rows = encoders.load("pixels").encode(items)
    assert rows.shape == (359, encoders.load("pixels").width)
    assert rows.dtype == np.float32
    assert np.array_equal(rows, np.stack(items).reshape(359, 64).astype(np.float32) / 16)


def test_a_row_depends_on_its_own_picture_only():
    items = data.load("digits").split("val").items
    encoder = encoders.load("pixels")
    assert np.array_equal(encoder.encode(items)[7:8], encoder.encode(items[7:8]))
    assert encoder.encode([]).shape == (0, 64)


def test_other_shapes_and_half_precision_are_refused():
    with pytest.raises(UserError, match=r"reads pictures \(8, 8\), not \(4, 16\)"):
        encoders.load("pixels").encode([np.zeros((4, 16))])
    with pytest.raises(UserError, match="float32 only, not in bfloat16"):
        encoders.load("pixels", dtype="bfloat16")


def test_unknown_encoders_suggest_the_nearest():
    with pytest.raises(UserError, match="unknown encoder 'pixel', did you mean 'pixels'"):
        encoders.load("pixel")
