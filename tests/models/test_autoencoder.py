from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from umlbench.models.autoencoder import SharedAutoencoder, StackedLinear
from umlbench.protocols.gaussian import Adam

MODELS, ROWS, WIDTH, HIDDEN, LATENT = 3, 40, 12, 6, 5
OBSERVED = {"x": 9, "y": 7}


def streams(layer):
    return [torch.Generator().manual_seed(100 * index + len(layer)) for index in range(MODELS)]


class Plain(nn.Module):
    """One autoencoder written layer by layer, with the weights of model `index` of a stack."""

    def __init__(self, stack, index):
        super().__init__()
        self.index = index
        self.in_heads = nn.ModuleDict({n: self.copy(s) for n, s in stack.in_heads.items()})
        self.encoder = nn.Sequential(
            self.copy(stack.encoder_in), nn.ReLU(), self.copy(stack.encoder_out)
        )
        self.decoder = nn.Sequential(
            self.copy(stack.decoder_in), nn.ReLU(), self.copy(stack.decoder_out)
        )
        self.out_heads = nn.ModuleDict({n: self.copy(s) for n, s in stack.out_heads.items()})

    def copy(self, layer):
        _, fan_in, fan_out = layer.weight.shape
        linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        linear.weight.data.copy_(layer.weight[self.index].T)
        linear.bias.data.copy_(layer.bias[self.index, 0])
        return linear

    def forward(self, modality, rows):
        return self.out_heads[modality](self.decoder(self.encoder(self.in_heads[modality](rows))))


@pytest.fixture
def stack():
    model = SharedAutoencoder(MODELS, OBSERVED, WIDTH, HIDDEN, LATENT)
    model.reset(streams)
    return model.double()


def rows(modality):
    generator = torch.Generator().manual_seed(7)
    shape = (MODELS, ROWS, OBSERVED[modality])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("modality", OBSERVED)
def test_forward_equals_separate_models(stack, modality):
    found = stack(modality, rows(modality))
    for index in range(MODELS):
        expected = Plain(stack, index)(modality, rows(modality)[index])
        torch.testing.assert_close(found[index], expected, atol=1e-12, rtol=0)


def test_twenty_adam_steps_equal_separate_models(stack):
    """One Adam over the summed loss trains each model as its own `torch.optim.Adam` would."""
    plains = [Plain(stack, index) for index in range(MODELS)]
    optimizer = Adam(list(stack.parameters()), 1e-2)
    for _ in range(20):
        sum((stack(m, rows(m)) - rows(m)).square().mean((1, 2)).sum() for m in OBSERVED).backward()
        optimizer.step()
    for index, plain in enumerate(plains):
        own = torch.optim.Adam(plain.parameters(), lr=1e-2)
        before = plain.encoder[0].weight.detach().clone()
        for _ in range(20):
            own.zero_grad()
            losses = [nn.functional.mse_loss(plain(m, r := rows(m)[index]), r) for m in OBSERVED]
            sum(losses).backward()
            own.step()
        assert (plain.encoder[0].weight - before).abs().max() > 0.01  # it did train
        expected = Plain(stack, index).state_dict()
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(value, expected[name], atol=1e-10, rtol=0, msg=name)


def test_models_do_not_interact(stack):
    inputs = rows("x").requires_grad_()
    stack("x", inputs)[1].sum().backward()
    assert inputs.grad[1].abs().sum() > 0
    assert inputs.grad[[0, 2]].abs().sum() == 0
    assert stack.encoder_in.weight.grad[[0, 2]].abs().sum() == 0


def test_unimodal_and_multimodal_start_from_the_same_shared_layers(stack):
    alone = SharedAutoencoder(MODELS, {"x": 9}, WIDTH, HIDDEN, LATENT)
    alone.reset(streams)
    both = stack.float().state_dict()
    assert set(alone.state_dict()) < set(both)
    assert all(torch.equal(value, both[name]) for name, value in alone.state_dict().items())


def test_reset_follows_the_law_of_nn_linear():
    layer = StackedLinear(2, 64, 500)
    layer.reset([torch.Generator().manual_seed(s) for s in (1, 2)])
    bound = 1 / math.sqrt(64)
    assert layer.weight.abs().max() <= bound
    assert abs(layer.weight.var().item() / (bound**2 / 3) - 1) < 0.02
    assert 0.9 * bound < layer.bias.abs().max() <= bound
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_reset_wants_a_stream_per_model():
    with pytest.raises(ValueError, match="zip"):
        StackedLinear(2, 3, 4).reset([torch.Generator()])
