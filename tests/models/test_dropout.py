"""Masks: their rate, their independence, and one mask for every implementation."""

import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from umlbench.errors import UserError
from umlbench.models import dropout
from umlbench.models.dropout import Draw, Dropout, gate_, gate_back_, thinned

pytest.importorskip("umlbench.models.kernel", reason="the kernel needs numba")

words = st.integers(0, 2**32 - 1)
draws = st.builds(Draw, words, words, words, st.floats(1, 10))
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def by_pytorch(work, *args):
    """The result without the kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dropout, "_kernel", lambda _: None)
        return work(*args)


def gated(x, start, draw):
    x = x.clone()
    gate_(x, start, draw)
    return x


def noise(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@given(draw=draws, start=st.integers(0, 10**9))
def test_the_kernel_and_pytorch_keep_the_same_elements(draw, start):
    x = noise(7, 9)
    torch.testing.assert_close(thinned(x, draw), by_pytorch(thinned, x, draw))
    torch.testing.assert_close(gated(x, start, draw), by_pytorch(gated, x, start, draw))


@dtypes
def test_gate_is_relu_then_dropout(dtype):
    x = noise(64, 33, dtype=dtype)
    draw = Dropout(0.3, 5).draw()
    out = gated(x, 0, draw)
    torch.testing.assert_close(out, thinned(x.relu(), draw))
    kept = out > 0
    torch.testing.assert_close(out[kept], x[kept] / 0.7)


@dtypes
@pytest.mark.parametrize("compiled", [True, False])
def test_the_gradient_of_a_gate_passes_where_its_output_is_not_zero(dtype, compiled):
    grad, out = noise(20, 5, dtype=dtype), noise(20, 5, dtype=dtype).relu()
    expected = grad * (out > 0) * 1.25
    sums = torch.ones(5, dtype=dtype)
    args = (gate_back_, grad, out, 1.25, sums)
    args[0](*args[1:]) if compiled else by_pytorch(*args)
    torch.testing.assert_close(grad, expected)
    torch.testing.assert_close(sums, 1 + expected.sum(0))


def test_a_part_of_a_gate_is_the_part_of_the_whole():
    x, draw = noise(10, 6), Dropout(0.5, 1).draw()
    assert torch.equal(gated(x, 0, draw)[4:], gated(x[4:], 4 * 6, draw))


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_the_rate_and_the_mean_are_right(p):
    """Within five standard deviations of a million coins, in every one of twenty masks."""
    masks, count = Dropout(p, 3), 10**6
    bound = 5 * math.sqrt(p * (1 - p) / count)
    for _ in range(20):
        thin = masks(torch.ones(count))
        assert abs((thin == 0).float().mean().item() - p) < bound
        assert thin.max().item() == pytest.approx(1 / (1 - p))


def test_masks_and_neighbours_are_independent():
    """Correlations of a mask with the next, with itself shifted, and between rows and columns."""
    masks, side = Dropout(0.5, 4), 1024
    one, two = ((masks(torch.ones(side, side)) > 0).double() - 0.5 for _ in range(2))
    bound = 5 * 0.25 / side
    for other in (two, one.T, *(one.roll(by, axis) for by in (1, 2, 64) for axis in (0, 1))):
        upper = torch.triu(one * other, 1) * 2 if other is one.T else one * other
        assert abs(upper.mean().item()) < bound
    # No column or row is favoured.
    assert one.mean(0).abs().max() < 6 * 0.5 / math.sqrt(side)
    assert one.mean(1).abs().max() < 6 * 0.5 / math.sqrt(side)


def test_a_stream_is_a_function_of_its_seed_and_of_nothing_global():
    x = torch.ones(1000)
    one, again, other = Dropout(0.5, 7), Dropout(0.5, 7), Dropout(0.5, 8)
    first = [one(x) for _ in range(3)]
    torch.manual_seed(1)
    assert all(torch.equal(a, again(x)) for a in first)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other(x))


def test_the_gradient_has_the_mask():
    x = torch.ones(500, requires_grad=True)
    thin = Dropout(0.4, 2)(x)
    thin.sum().backward()
    assert torch.equal(x.grad, thin.detach())


def test_no_dropout_is_nothing():
    x = noise(5, 5)
    assert Dropout(0.0, 1)(x) is x
    with pytest.raises(UserError, match="below 1"):
        Dropout(1.0, 1)


def test_without_numba_pytorch_does_it(monkeypatch):
    expected = Dropout(0.5, 1)(torch.ones(100))
    dropout._compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "umlbench.models.kernel", None)
    try:
        assert dropout._compiled() is None
        assert torch.equal(Dropout(0.5, 1)(torch.ones(100)), expected)
    finally:
        dropout._compiled.cache_clear()
