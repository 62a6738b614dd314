from __future__ import annotations

import itertools

import pytest
import torch
from pydantic import ValidationError

from umlbench.errors import UserError
from umlbench.jobs import Context, Job
from umlbench.protocols import gaussian
from umlbench.protocols.gaussian import Settings

SMALL = {
    "budget": 200,
    "batch_size": 20,
    "steps": 40,
    "eval_every": 10,
    "validation_size": 100,
    "width": 16,
}


def job(method="unimodal", seed=1, **settings):
    resolved = Settings(method=method, **{**SMALL, **settings})
    cell = {"projection_scale": resolved.projection_scale, "method": method}
    return Job("figure3", "gaussian", gaussian.VERSION, cell, seed, resolved)


def outcomes(*jobs):
    return [outcome for _, outcome in gaussian.run(jobs, Context())]


def errors(outcome):
    return torch.tensor(outcome.curves[0].values["x_error"])


def test_defaults_are_the_papers():
    settings = Settings()
    assert (settings.common_dim, settings.x_dim, settings.y_dim) == (10, 5, 5)
    assert (settings.noise_variance, settings.kept_common, settings.attenuation) == (0.09, 1, 0.05)
    assert settings.budget == 10_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kept_common": 11}, "kept_common is 11, but only common_dim = 10"),
        ({"budget": 201}, "budget is 201; uml halves it"),
        ({"batch_size": 101}, "batch_size is 101, more than uml's 100 rows"),
        ({"batch_size": 21, "batch_split": True}, "batch_split needs an even one"),
        ({"batch_size": 202, "batch_split": True}, "batch_size is 202, more than uml's 100"),
        ({"steps": 41}, "not a multiple of eval_every = 10"),
        ({"attenuation": 1.5}, "less than or equal to 1"),
        ({"noise_variance": -0.1}, "greater than or equal to 0"),
        ({"learning_rate": "1e-3"}, "valid number"),
        ({"learning_rates": 1e-3}, "Extra inputs"),
        ({"method": "both"}, "'unimodal' or 'uml'"),
    ],
)
def test_nonsense_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Settings(**{**SMALL, **settings})


def test_batch_split_allows_what_each_modality_can_fill():
    assert Settings(**{**SMALL, "batch_size": 200, "batch_split": True}, method="uml").batch == 100


def test_methods_share_one_budget_and_the_first_x_rows():
    unimodal, uml = Settings(**SMALL), Settings(**SMALL, method="uml")
    alone = unimodal.training_rows("x", 1)
    x, y = (uml.training_rows(name, 1) for name in uml.modalities)
    assert len(alone) == len(x) + len(y) == 200
    assert torch.equal(x, alone[:100])
    assert torch.equal(unimodal.validation_rows(1), uml.validation_rows(1))


def test_training_x_is_attenuated_and_neither_y_nor_validation_is():
    settings = Settings(**{**SMALL, "budget": 4000, "validation_size": 2000}, method="uml")
    variance = {name: settings.training_rows(name, 1).var(0).mean() for name in ("x", "y")}
    # per feature scale^2 (latents) + noise, for this seed's projections
    assert settings.validation_rows(1).var(0).mean() > 2 * variance["x"]
    assert variance["y"] > 2 * variance["x"]
    weak = settings.model_copy(update={"y_attenuation": 0.05})
    assert weak.training_rows("y", 1).var(0).mean() < 0.5 * variance["y"]


def test_methods_start_equal_and_then_part():
    unimodal, uml = (errors(outcome) for m in ("unimodal", "uml") for outcome in outcomes(job(m)))
    assert unimodal[0] == uml[0]
    assert unimodal[-1] != uml[-1]
    assert unimodal[-1] < unimodal[0]
    assert uml[-1] < uml[0]


def test_curve_and_metrics():
    (outcome,) = outcomes(job())
    (curve,) = outcome.curves
    assert (curve.axis, curve.points) == ("step", (0.0, 10.0, 20.0, 30.0, 40.0))
    assert outcome.metrics == {"x_error": curve.values["x_error"][-1]}
    assert outcome.seconds["train"] > 0
    (long,) = outcomes(job(steps=520))
    assert long.metrics["x_error_500"] == long.curves[0].values["x_error"][50]
    assert set(long.metrics) == set(gaussian.METRICS)


def test_error_is_the_mean_over_rows_and_features():
    settings = Settings(**SMALL)
    model = gaussian.build(settings, [1])
    rows = settings.validation_rows(1)
    for part in model.parameters():
        part.data.zero_()  # reconstructs zero: the error is the mean square
    expected = rows.double().square().mean().item()
    assert gaussian.x_errors(model, rows[None]) == pytest.approx([expected], rel=1e-5)


def test_unimodal_never_computes_y():
    assert set(gaussian.build(Settings(**SMALL), [1]).in_heads) == {"x"}
    unimodal, other = outcomes(job(), job(y_attenuation=0.1))
    assert unimodal.curves == other.curves


def test_a_run_repeats_bit_for_bit():
    jobs = [job("uml", seed) for seed in (1, 2, 3)]
    assert [o.curves for o in outcomes(*jobs)] == [o.curves for o in outcomes(*jobs)]


@pytest.mark.parametrize("method", ["unimodal", "uml"])
def test_a_figure_depends_on_stack_mates_by_rounding_only(method):
    jobs = [job(method, s, projection_scale=scale) for s in (1, 2, 3) for scale in (0.5, 1.0)]
    together = outcomes(*jobs)
    for one, outcome in zip(jobs, together, strict=True):
        (alone,) = outcomes(one)
        torch.testing.assert_close(errors(alone), errors(outcome), rtol=1e-5, atol=0)
    finals = [outcome.metrics["x_error"] for outcome in together]
    assert min(abs(a - b) for a, b in itertools.combinations(finals, 2)) > 1e-3


def test_batches_group_what_can_be_stacked():
    key = gaussian.batch(job())
    assert key == gaussian.batch(job(seed=2, projection_scale=1.0, noise_variance=0.0))
    others = [job("uml"), job(steps=50), job(hidden=11), job(batch_size=10), job(budget=400)]
    assert len({key, *map(gaussian.batch, others)}) == 6


def test_batches_pass_over_every_row_once_an_epoch():
    rows = torch.arange(2 * 10).view(2, 10, 1).float()
    orders = [torch.Generator().manual_seed(s) for s in (1, 2)]
    feed = gaussian.batches(rows, orders, 4)
    first, second, third = (next(feed) for _ in range(3))
    assert first.shape == (2, 4, 1)
    for model in range(2):
        seen = torch.cat([first[model], second[model]]).flatten().tolist()
        assert len(set(seen)) == 8
        assert set(seen) <= set(rows[model].flatten().tolist())
    assert not torch.equal(first, third)


def test_a_stack_equals_torch_adam_on_one_model():
    """The page's loop against the textbook: one model, its rows, `mse_loss`, Adam."""
    one = job("uml", steps=20)
    settings = one.settings
    model = gaussian.build(settings, [1])
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    feeds = {
        name: gaussian.batches(
            settings.training_rows(name, 1)[None],
            gaussian._orders(settings, name, [1]),
            settings.batch,
        )
        for name in ("x", "y")
    }
    for _ in range(20):
        losses = []
        for name, feed in feeds.items():
            rows = next(feed)
            losses.append(torch.nn.functional.mse_loss(model(name, rows), rows))
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
    expected = gaussian.x_errors(model, settings.validation_rows(1)[None])
    _, outcome, _ = outcomes(job("uml", 2, steps=20), one, job("uml", 3, steps=20))
    assert outcome.metrics["x_error"] == pytest.approx(expected[0], rel=1e-5)


def test_divergence_is_one_clear_line():
    with pytest.raises(UserError, match=r"figure3 .*seed 1: the X error is not finite") as caught:
        outcomes(job(learning_rate=1e30))
    assert "lower learning_rate" in caught.value.hint


def test_inputs_are_empty():
    assert gaussian.inputs(Settings(), Context()) == {}
