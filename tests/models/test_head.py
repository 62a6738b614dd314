from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from umlbench.models.head import SharedHead, class_averages, linear_init, zero_shot_weights

GOLDEN = Path(__file__).parents[1] / "golden" / "sweep.npz"


def test_zero_shot_weights_equal_the_official_ones():
    golden = np.load(GOLDEN)
    x, y = (torch.from_numpy(golden[f"A3/text_{n}"]) for n in "xy")
    ours = zero_shot_weights(x, y, 10)
    np.testing.assert_allclose(ours, golden["A3/weights"], rtol=0, atol=1e-7)
    assert torch.equal(ours[7], torch.zeros(96))


def test_class_averages_equal_the_official_ones_and_give_the_same_head():
    golden = np.load(GOLDEN)
    x, y = (torch.from_numpy(golden[f"A3/text_{n}"]) for n in "xy")
    means, labels = class_averages(x, y, 10)
    assert labels.tolist() == golden["A3/average_y"].tolist()
    np.testing.assert_allclose(means, golden["A3/average_x"], rtol=0, atol=1e-6)
    head = zero_shot_weights(means, labels, 10)
    np.testing.assert_allclose(head, golden["A3/weights_from_average_ds"], rtol=0, atol=1e-7)


def test_linear_init_is_uniform_and_follows_its_stream():
    draw = [linear_init(200, 64, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert draw[0].shape == (200, 64)
    assert 0.99 / 8 < draw[0].abs().max() <= 1 / 8
    assert abs(float(draw[0].std()) * 8 * 3**0.5 - 1) < 0.02


def test_linear_init_draws_from_the_range_of_torch():
    layer = torch.nn.Linear(64, 200, bias=False)
    assert float(layer.weight.detach().abs().max()) <= 1 / 8


def test_shared_head_bridges_widths_and_scales_each_modality():
    g = torch.Generator().manual_seed(0)
    head, projection = torch.randn(3, 5, generator=g), torch.randn(5, 4, generator=g)
    audio = torch.randn(5, 2, generator=g)
    model = SharedHead(head, [projection, None, audio], [2.0, 3.0, 4.0], learnable=False)
    x, t, a = (torch.randn(n, width, generator=g) for n, width in ((6, 4), (7, 5), (3, 2)))
    target, text, sound = model(x, t, a)
    torch.testing.assert_close(target, 2 * (x @ (head @ projection).T))
    torch.testing.assert_close(text, 3 * (t @ head.T))
    torch.testing.assert_close(sound, 4 * (a @ (head @ audio).T))
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"head", "projections.0", "projections.2"}
