from __future__ import annotations

import dataclasses

import torch

from umlbench.data.gaussian import Attenuation, View

X = View("x", common_dim=10, private_dim=5, observed_dim=50, scale=0.5, noise_variance=0.09)
Y = dataclasses.replace(X, modality="y")
PAPER = Attenuation(kept=1, factor=0.05)


def covariance(rows):
    return (rows.T @ rows / len(rows)).double()


def closed_form(view, seed, gains):
    """A_c G^2 A_c' + A_p A_p' + noise, from the projection's own rows."""
    projection = view.projection(seed).double()
    common, private = projection[: view.common_dim], projection[view.common_dim :]
    noise = view.noise_variance * torch.eye(view.observed_dim, dtype=torch.float64)
    return common.T @ torch.diag(gains**2) @ common + private.T @ private + noise


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def test_validation_covariance_is_the_closed_form():
    rows = X.sample(seed=3, split="val", count=100_000)
    expected = closed_form(X, 3, torch.ones(10, dtype=torch.float64))
    assert relative(covariance(rows), expected) < 0.02
    # the same rows are far from what attenuation would give
    attenuated = closed_form(X, 3, torch.tensor([1.0] + 9 * [0.05], dtype=torch.float64))
    assert relative(covariance(rows), attenuated) > 0.5


def test_attenuation_keeps_the_first_common_latents_and_scales_the_rest():
    rows = X.sample(seed=3, split="train", count=100_000, attenuation=PAPER)
    gains = torch.tensor([1.0] + 9 * [0.05], dtype=torch.float64)
    assert relative(covariance(rows), closed_form(X, 3, gains)) < 0.02


def test_attenuation_changes_no_draw():
    plain = X.sample(seed=1, split="train", count=64)
    weak = X.sample(seed=1, split="train", count=64, attenuation=PAPER)
    lost = torch.linalg.lstsq(X.projection(1).T.double(), (plain - weak).T.double()).solution
    torch.testing.assert_close(lost[[0, *range(10, 15)]].abs().max().item(), 0.0, atol=1e-5, rtol=0)
    same = X.sample(seed=1, split="train", count=64, attenuation=Attenuation(10, 0.0))
    assert torch.equal(plain, same)


def test_noise_is_a_variance():
    silent = dataclasses.replace(X, noise_variance=0.0)
    noise = X.sample(2, "val", 20_000) - silent.sample(2, "val", 20_000)
    assert abs(noise.var().item() - 0.09) < 0.0005  # a million draws: 4 standard errors
    off_diagonal = covariance(noise) - torch.diag(covariance(noise).diag())
    assert off_diagonal.abs().max() < 0.004


def test_train_and_validation_share_projections_and_no_row():
    train, val = (X.sample(5, split, 1000) for split in ("train", "val"))
    silent = dataclasses.replace(X, noise_variance=0.0).sample(5, "val", 1000)
    span = torch.linalg.lstsq(X.projection(5).T, silent.T).solution
    torch.testing.assert_close(X.projection(5).T @ span, silent.T, atol=1e-4, rtol=0)
    assert abs(torch.corrcoef(torch.stack([train.flatten(), val.flatten()]))[0, 1]) < 0.05


def test_scale_multiplies_the_projection_only():
    half, full = (dataclasses.replace(X, scale=s, noise_variance=0.0) for s in (0.5, 1.0))
    torch.testing.assert_close(2 * half.sample(4, "val", 32), full.sample(4, "val", 32))
    assert abs(X.projection(4).var().item() - 0.25) < 0.05


def test_modalities_are_unpaired_and_see_through_other_projections():
    """No linear function of an X row foretells the Y row of the same index."""
    x, y = (view.sample(7, "train", 20_000) for view in (X, Y))
    z_x, z_y = ((rows - rows.mean(0)) / rows.std(0) for rows in (x, y))
    cross = z_x.T @ z_y / len(x)
    assert cross.abs().max() < 5 / 20_000**0.5
    assert not torch.allclose(X.projection(7), Y.projection(7))


def test_draws_repeat_and_depend_on_the_seed():
    assert torch.equal(X.sample(1, "train", 50), X.sample(1, "train", 50))
    assert not torch.equal(X.sample(1, "train", 50), X.sample(2, "train", 50))
    assert not torch.equal(X.projection(1), X.projection(2))
