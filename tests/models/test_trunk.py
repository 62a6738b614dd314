"""The trunk against the official code's numbers and against PyTorch's own transformer."""

import numpy as np
import pytest
import released_trunk as released
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from umlbench.models import trunk as module
from umlbench.models.dropout import Dropout
from umlbench.models.trunk import LONGEST, SharedTrunk, sinusoidal, within

CLOSE = {"rtol": 0, "atol": 1e-10}
SMALL = {"width": 8, "layers": 2, "heads": 2, "feedforward": 16}


def golden(name):
    return released.arrays()[f"forward/f64__{name}"]


def small(widths=None, seed=0, **changes):
    made = SharedTrunk(widths or {"a": 3}, **{**SMALL, **changes})
    made.reset(lambda name: torch.Generator().manual_seed(seed + sum(map(ord, name))))
    return made


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The official numbers


@pytest.mark.parametrize("positions", released.POSITIONS)
def test_losses_and_embeddings_are_the_official_ones(positions):
    trunk = released.trunk(positions)
    for name in "xy":
        x = released.sample(name)
        loss = trunk.loss(name, x).detach()
        np.testing.assert_allclose(loss, golden(f"{positions}__loss_{name}"), **CLOSE)
        embedding = trunk(name, x).mean(1).detach()
        np.testing.assert_allclose(embedding, golden(f"{positions}__emb_{name}"), **CLOSE)


@pytest.mark.parametrize("positions", released.POSITIONS)
def test_single_vectors_are_encoded_as_the_official_code_does(positions):
    trunk = released.trunk(positions)
    for name in "xy":
        loss = trunk.loss(name, released.sample(f"{name}2d")).detach()
        np.testing.assert_allclose(loss, golden(f"{positions}__loss_{name}_2d"), **CLOSE)


@pytest.mark.parametrize("positions", released.POSITIONS)
def test_every_gradient_has_the_official_norm(positions):
    trunk = released.trunk(positions)
    sum(trunk.loss(name, released.sample(name)) for name in "xy").backward()
    norms = {name: weight.grad.norm() for name, weight in trunk.named_parameters()}
    start = f"forward/f64__{positions}__gradnorm__"
    seen = 0
    for key, norm in released.arrays().items():
        if key.startswith(start):
            np.testing.assert_allclose(norms[released.ours(key[len(start) :])], norm, **CLOSE)
            seen += 1
    assert seen >= 21


def test_the_sinusoidal_table_is_the_official_one():
    np.testing.assert_allclose(sinusoidal(40), golden("sin__pos_table"), rtol=0, atol=1e-6)


@pytest.mark.real
def test_every_state_of_the_full_reference():
    if not released.REFERENCE.is_dir():
        pytest.skip("the full reference numbers are not beside the checkout")
    full = np.load(released.REFERENCE / "A4_forward.npz")
    states = released.trunk()("x", released.sample("x")).detach()
    np.testing.assert_allclose(states, full["f64__none__zx"], **CLOSE)
    for name, weight in np.load(released.REFERENCE / "A4_state_init.npz").items():
        np.testing.assert_array_equal(released.initial()[name], weight)


# PyTorch's own transformer


def torchs(trunk, width=8, heads=2, feedforward=16):
    """`nn.TransformerEncoder` with the weights of our layers."""
    layer = nn.TransformerEncoderLayer(width, heads, feedforward, dropout=0.0, batch_first=True)
    theirs = nn.TransformerEncoder(layer, len(trunk.layers), enable_nested_tensor=False)
    state = {}
    for name in theirs.state_dict():
        mine = name
        for a, b in released.NAMES.items():
            mine = mine.replace(a, b)
        state[name] = trunk.state_dict()[mine]
    theirs.load_state_dict(state)
    return theirs


def test_padding_needs_no_mask_under_the_causal_one():
    """Attention's key padding mask changes no true step, for padding stands behind it."""
    trunk = small()
    x, lengths = noise(4, 6, 3), torch.tensor([6, 4, 1, 3])
    true = within(lengths, 6)
    hidden = trunk.conv(trunk.inputs["a"](x))
    causal = torch.full((6, 6), float("-inf")).triu(1)
    padding = torch.zeros(4, 6).masked_fill(~true, float("-inf"))
    masked = torchs(trunk)(hidden, mask=causal, src_key_padding_mask=padding)
    torch.testing.assert_close(trunk("a", x)[true], masked[true])


# What must not change


@given(extra=st.integers(1, 5), seed=st.integers(0, 100))
@settings(max_examples=20)
def test_a_masked_loss_does_not_see_padding(extra, seed):
    trunk, lengths = small(), torch.tensor([4, 2, 1])
    x = noise(3, 4, 3, seed=seed)
    padded = torch.cat([x, noise(3, extra, 3, seed=seed + 1)], 1)
    loss, more = (trunk.loss("a", one, lengths) for one in (x, padded))
    torch.testing.assert_close(loss, more)
    alone = torch.stack(
        [((trunk.decoders["a"](trunk("a", one[None, :n]))[0, :-1] - one[1:n]) ** 2).sum()
         for one, n in zip(x, lengths, strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(loss, alone.sum() / (3 * (4 + 2 + 1 - 3)))


def test_a_step_does_not_see_the_future():
    trunk, x = small(), noise(2, 5, 3)
    changed = x.clone()
    changed[:, 3:] += 1
    before, after = trunk("a", x), trunk("a", changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3:], after[:, 3:])


def test_rows_in_chunks_are_rows_at_once(monkeypatch):
    """Values and gradients, with dropout."""
    results = []
    for rows in (3, 10**6):
        monkeypatch.setattr(module, "ROWS", rows)
        trunk = small()
        trunk.loss("a", noise(4, 5, 3), dropout=Dropout(0.2, 1)).backward()
        results.append([weight.grad for weight in trunk.parameters()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_gradients_are_those_of_finite_differences(p):
    trunk, x = small(feedforward=4).double(), noise(2, 3, 3).double()
    trunk.loss("a", x, dropout=Dropout(p, 1)).backward()
    for name, weight in trunk.named_parameters():
        at = torch.argmax(weight.grad.abs())
        losses = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight.view(-1)[at] += step
                losses.append(trunk.loss("a", x, dropout=Dropout(p, 1)).item())
                weight.view(-1)[at] -= step
        slope = (losses[0] - losses[1]) / 2e-6
        assert weight.grad.view(-1)[at].item() == pytest.approx(slope, abs=1e-7), name


def test_the_mean_over_masks_is_near_the_value_without_one():
    trunk, x = small(layers=1), noise(2, 3, 3)
    masks = Dropout(0.05, 1)
    with torch.no_grad():
        mean = torch.stack([trunk("a", x, masks) for _ in range(400)]).mean(0)
        torch.testing.assert_close(mean, trunk("a", x), rtol=0, atol=0.1)


# Initial weights


def test_a_reset_follows_pytorchs_laws():
    """Against a TransformerEncoderLayer drawn by PyTorch: same spread, same zeros."""
    trunk = SharedTrunk({"a": 30}, width=40, layers=1)
    trunk.reset(lambda name: torch.Generator().manual_seed(sum(map(ord, name))))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = nn.TransformerEncoderLayer(40, 5).state_dict()
    mine = trunk.layers[0].state_dict()
    for name, weight in theirs.items():
        drawn = mine[released.ours(name)]
        assert drawn.std().item() == pytest.approx(weight.std().item(), rel=0.25), name
        few = 0.15 if drawn.numel() < 100 else 0.01  # the largest of forty is less certain
        assert drawn.abs().max().item() == pytest.approx(weight.abs().max().item(), rel=few), name
    assert trunk.conv.weight.abs().max().item() == pytest.approx(40**-0.5, rel=0.02)
    assert trunk.inputs["a"].bias.abs().max().item() == pytest.approx(30**-0.5, rel=0.2)


def test_layers_start_equal_and_modalities_do_not():
    trunk = small({"a": 3, "b": 3, "c": 3}, positions="learned")
    first, second = (layer.state_dict() for layer in trunk.layers)
    assert all(torch.equal(first[name], second[name]) for name in first)
    weights = [trunk.inputs[name].weight for name in "abc"]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert trunk.positions.std().item() == pytest.approx(1, rel=0.1)


def test_what_two_trunks_have_in_common_starts_equal():
    one, three = small({"a": 3}), small({"a": 3, "b": 2, "c": 5})
    theirs = three.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in one.state_dict().items())


def test_building_draws_nothing_global():
    before = torch.get_rng_state()
    small({"a": 3, "b": 2}, positions="sinusoidal")
    assert torch.equal(before, torch.get_rng_state())


def test_positions_are_for_so_many_steps():
    trunk = small(positions="learned")
    assert trunk("a", noise(1, LONGEST, 3)).shape == (1, LONGEST, 8)
    assert not torch.allclose(
        trunk("a", torch.ones(1, 4, 3))[0, 0], trunk("a", torch.ones(1, 4, 3))[0, 1]
    )
