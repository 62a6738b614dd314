"""The official code's numbers, replayed (tests/golden/README.md)."""

from __future__ import annotations

import json
from functools import cache, partial

import numpy as np
import pytest
import torch
from golden_runs import C7_EQUAL, CONFIGS, METHODS, losses_of, trial_of

from umlbench.sweep import Schedule, TrialResult, engines, train


@pytest.fixture(scope="module", params=engines("cpu"))
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def replay(golden, engine):
    """All configurations of a method in one call."""
    return cache(partial(replayed, golden, engine))


def replayed(golden, engine: str, method: str, dtype: torch.dtype) -> dict[str, TrialResult]:
    runs = [golden.plain["A2"][f"f64__{method}__{config}"] for config in CONFIGS]
    trials = [trial_of(golden, method, run, "A2_data", "A2_batches") for run in runs]
    keep = ("losses", "val_loss", "best", "last")
    results = train(trials, Schedule(iterations=301), dtype=dtype, keep=keep, engine=engine)
    return dict(zip(CONFIGS, results, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_float64_losses_and_outcomes_equal_the_official_ones(golden, replay, method):
    for config, ours in replay(method, torch.float64).items():
        equal = C7_EQUAL[method] if config == "c7" else 301
        theirs = losses_of(golden.arrays, f"A2/{method}__{config}")
        assert ours.losses is not None
        assert ours.losses.shape == theirs.shape
        np.testing.assert_allclose(ours.losses[:equal], theirs[:equal], rtol=0, atol=1e-12)
        if equal < 301:
            continue
        run = golden.plain["A2"][f"f64__{method}__{config}"]
        np.testing.assert_allclose(ours.val_accuracy, run["val_acc"], atol=1e-7)
        assert ours.best_iteration == run["best_iter"]
        assert ours.test_accuracy == pytest.approx(run["test_acc"], abs=1e-7)
        val_loss = golden.arrays[f"A2/{method}__{config}__val_loss"]
        np.testing.assert_allclose(ours.val_loss, val_loss, rtol=1e-12)


@pytest.mark.parametrize("config", ["c0", "c5"])
@pytest.mark.parametrize("method", METHODS)
def test_float64_weights_equal_the_official_ones(golden, replay, method, config):
    ours = replay(method, torch.float64)[config]
    prefix = f"A2/{method}__{config}__"
    for name, weights in (("last", ours.last), ("best", ours.best)):
        assert weights is not None
        np.testing.assert_allclose(
            weights.head, golden.arrays[f"{prefix}{name}__head.weight"], rtol=0, atol=1e-13
        )
    for modality, name in enumerate(("img", "txt")[: len(ours.last.scales)]):
        theirs = golden.arrays.get(f"{prefix}last__{name}_scale", np.ones(()))
        assert float(ours.last.scales[modality]) == pytest.approx(float(theirs), abs=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_float32_is_within_the_natural_gap_of_the_official_float32(golden, replay, method):
    for config, ours in replay(method, torch.float32).items():
        if config == "c7" and method != "unimodal":
            continue
        theirs = losses_of(golden.arrays, f"A2_f32/{method}__{config}")
        gap = golden.plain["A2_f32_gap"][f"{method}__{config}"]
        for modality in range(theirs.shape[1]):
            natural = gap[("img_loss", "txt_loss")[modality]]
            off = np.abs(ours.losses[:, modality].numpy() - theirs[:, modality])
            # Two float32 numbers differ by whole spacings: the gap is rounded up to the next one.
            spacing = np.spacing(theirs[:, modality].astype(np.float32)).astype(np.float64)
            assert (off <= np.ceil(natural / spacing) * spacing).all(), (config, modality)
        run = golden.plain["A2"][f"f64__{method}__{config}"]
        np.testing.assert_allclose(ours.val_accuracy, run["val_acc"], atol=1e-7)
        assert ours.best_iteration == run["best_iter"]
        assert ours.test_accuracy == pytest.approx(run["test_acc"], abs=1e-7)


@pytest.mark.parametrize("precision", ["f64", "f32"])
@pytest.mark.parametrize(
    "case", ["easy_p3", "easy_p10_f10", "noisy_p3_f10", "noisy_p5_f5", "not_triggered"]
)
def test_patience_ends_a_trial_where_it_ended_the_official_one(golden, engine, case, precision):
    run = golden.plain["A5"][f"{precision}__{case}"]
    data = "A5_data" if run["data"].startswith("A5") else "A2_data"
    schedule = Schedule(
        max_iterations=run["sched_max_iter"],
        iterations=run["max_iters"],
        eval_every=run["eval_freq"],
        patience=run["patience"],
    )
    dtype = torch.float64 if precision == "f64" else torch.float32
    trial = trial_of(golden, run["method"], run, data, "A5")
    [ours] = train([trial], schedule, dtype=dtype, engine=engine)
    assert ours.stop_iteration == run["stop_iter"]
    assert ours.iterations == run["n_train_steps"]
    assert ours.best_iteration == run["best_iter"]
    np.testing.assert_allclose(
        ours.val_accuracy, golden.arrays[f"A5/{precision}__{case}__val_acc"], atol=1e-7
    )


@pytest.mark.real
@pytest.mark.parametrize("method", METHODS)
def test_every_weight_equals_the_official_one(replay, reference, method):
    theirs = np.load(reference / "A2_runs_f64.npz")
    names = ("head.weight", "img_proj.weight")
    for config, ours in replay(method, torch.float64).items():
        if config == "c7" and method != "unimodal":
            continue
        for moment, weights in (("last", ours.last), ("best", ours.best)):
            for mine, name in zip((weights.head, weights.projections[0]), names, strict=True):
                key = f"{method}__{config}__{moment}__{name}"
                if key in theirs:
                    np.testing.assert_allclose(mine, theirs[key], rtol=0, atol=1e-13)


@pytest.mark.real
def test_the_subset_is_cut_from_the_full_set(golden, reference):
    data = np.load(reference / "A2_runs_f64.npz")
    for key, value in golden.arrays.items():
        if key.startswith("A2/"):
            np.testing.assert_array_equal(value, data[key.removeprefix("A2/")])
    summary = json.loads((reference / "A2_summary.json").read_text())
    assert golden.plain["A2_f32_gap"] == summary["f32_vs_f64_max_abs_gap"]
