from __future__ import annotations

import random
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umlbench.errors import UserError
from umlbench.sweep import (
    Replay,
    Samples,
    Schedule,
    Shuffled,
    Stream,
    TrialResult,
    Weights,
    engines,
    train,
)

SCHEDULE = Schedule(max_iterations=400, iterations=121, eval_every=10, patience=3)
KEEP = ("losses", "val_loss", "best", "last")


def same(a: TrialResult, b: TrialResult) -> bool:
    """Equal to the last bit, weights and losses included."""

    def equal(x: object, y: object) -> bool:
        if isinstance(x, torch.Tensor):
            return torch.equal(x, y)
        if isinstance(x, Weights):
            return all(equal(getattr(x, f.name), getattr(y, f.name)) for f in fields(x))
        if isinstance(x, tuple):
            return len(x) == len(y) and all(map(equal, x, y))
        return x == y

    return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


ENGINES = engines("cpu")
MODALITIES = [
    {"auxiliary": ("text",), "batch": 4},
    {"auxiliary": (), "batch": 8},
    {"auxiliary": ("text", "text"), "batch": 32},
    {"auxiliary": ("text", "audio"), "batch": 8},
    {"auxiliary": ("audio", "text"), "batch": 4},
]
fused = pytest.mark.skipif(len(ENGINES) < 2, reason="the fused engine needs numba")


@pytest.fixture(scope="module", params=ENGINES)
def mixed(request, problem, one_thread):
    """Trials that differ in everything a call allows, and what each gives alone."""
    trials = [
        problem.trial(
            seed=n % 2,
            number=n,
            learning_rate=(1e-2, 1e-1)[n % 2],
            weight_decay=(0.0, 0.3)[n // 2 % 2],
            learnable_scale=n % 2 == 0,
            scale=(1.0, 3.0)[n // 3 % 2],
            **MODALITIES[n % 5],
        )
        for n in range(15)
    ]
    alone = [train([t], SCHEDULE, keep=KEEP, engine=request.param)[0] for t in trials]
    return trials, alone, request.param


@given(seed=st.integers(0, 10**6), chunk=st.integers(1, 15), threads=st.integers(1, 4))
@settings(max_examples=8)
def test_company_order_and_threads_do_not_change_a_bit(mixed, seed, chunk, threads):
    """Stacks have one thread here; the fused engine may have any number."""
    trials, alone, engine = mixed
    numbers = list(range(len(trials)))
    random.Random(seed).shuffle(numbers)
    how = {"engine": engine, "chunk": chunk, "threads": threads}
    results = train([trials[n] for n in numbers], SCHEDULE, keep=KEEP, **how)
    for n, result in zip(numbers, results, strict=True):
        assert same(result, alone[n]), n


def test_threads_change_a_stack_no_more_than_rounding(problem):
    trials = [problem.trial(number=n, batch=32) for n in range(4)]
    schedule = Schedule(max_iterations=400, iterations=61)
    how = {"keep": ("losses",), "dtype": torch.float64, "engine": "stacked"}
    together = train(trials, schedule, **how)
    torch.set_num_threads(2)
    one_by_one = train(trials, schedule, **how, chunk=1)
    torch.set_num_threads(1)
    for alone, stacked in zip(one_by_one, together, strict=True):
        np.testing.assert_allclose(stacked.losses, alone.losses, rtol=0, atol=1e-13)


def wide(problem, classes, width, target_width, batch, audio_width):
    """A trial whose shared coordinates make several chunks, in shapes that need padding.

    A width of 0 is the head's own, and no modality at all for audio.
    """
    g = torch.Generator().manual_seed(3)

    def draw(count, size):
        y = torch.randint(0, classes, (count,), generator=g)
        return Samples(torch.randn(count, size, generator=g), y)

    def stream(count, depth, rows, seed, weight):
        projection = torch.randn(width, depth, generator=g) / 5 if depth else None
        order = Shuffled(count, rows, seed)
        return Stream(draw(count, depth or width), order, weight, projection)

    audio = (stream(13, audio_width, batch + 1, 3, 1.3),) if audio_width else ()
    return replace(
        problem.trial(learnable_scale=True),
        target=stream(21, target_width, batch, 1, 1.0),
        auxiliary=(*audio, stream(17, 0, batch, 2, 0.7)),
        val=draw(33, target_width or width),
        test=draw(5, target_width or width),
        head=torch.randn(classes, width, generator=g) / 30,
    )


SHAPES = [
    (37, 1030, 19, 5, 0),
    (3, 513, 40, 8, 0),
    (20, 770, 0, 3, 0),
    (7, 530, 19, 8, 33),
    (20, 770, 0, 3, 10),
]


@fused
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_team_of_threads_changes_not_a_bit(problem, shape, dtype):
    trial, schedule = wide(problem, *shape), Schedule(iterations=23, eval_every=10)
    how = {"keep": KEEP, "dtype": dtype, "engine": "fused"}
    [alone] = train([trial], schedule, **how, threads=1)
    for threads in (2, 3):
        [team] = train([trial], schedule, **how, threads=threads)
        assert same(team, alone)


@fused
@pytest.mark.parametrize("shape", SHAPES)
def test_engines_agree_to_rounding(problem, shape):
    trial, schedule = wide(problem, *shape), Schedule(iterations=23, eval_every=10)
    how = {"keep": KEEP, "dtype": torch.float64}
    [a], [b] = (train([trial], schedule, **how, engine=engine) for engine in ENGINES)
    assert (a.engine, b.engine) == ENGINES
    assert a.val_correct == b.val_correct
    np.testing.assert_allclose(a.losses, b.losses, rtol=0, atol=1e-11)
    np.testing.assert_allclose(a.val_loss, b.val_loss, rtol=0, atol=1e-11)
    start = [stream.projection for stream in trial.streams]
    ours, theirs = ([w.head, w.scales, *w.projections] for w in (a.last, b.last))
    for values in (ours, theirs):
        assert [p is None for p in values[2:]] == [p is None for p in start]
    for mine, other in zip(ours, theirs, strict=True):
        if mine is not None:
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-11)


def test_without_numba_the_stacked_engine_trains(problem, monkeypatch):
    monkeypatch.delitem(sys.modules, "umlbench.sweep.kernel", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert engines("cpu") == ("stacked",)
    [result] = train([problem.trial()], SCHEDULE)
    assert result.engine == "stacked"
    with pytest.raises(UserError, match="'fused' does not run on cpu"):
        train([problem.trial()], SCHEDULE, engine="fused")


@fused
def test_the_fused_engine_is_the_default_on_a_cpu_and_only_there(problem):
    assert train([problem.trial()], SCHEDULE)[0].engine == "fused"
    assert engines("cuda") == ("stacked",)


def test_trials_of_the_mix_end_at_different_times(mixed):
    _, alone, _ = mixed
    ends = {result.iterations for result in alone}
    assert len(ends) > 3
    for result in alone:
        assert len(result.losses) == result.iterations
        assert result.stop_iteration in (None, result.iterations - 1)


def test_what_is_kept_changes_no_figure(mixed):
    trials, alone, engine = mixed
    for bare, full in zip(train(trials, SCHEDULE, engine=engine), alone, strict=True):
        assert bare.losses is bare.val_loss is bare.best is bare.last is None
        assert bare.val_correct == full.val_correct
        assert (bare.test_correct, bare.best_iteration) == (full.test_correct, full.best_iteration)


def test_ties_keep_the_earlier_checkpoint_and_use_up_patience(problem):
    constant = Samples(torch.zeros(4, 8), torch.zeros(4, dtype=torch.int64))
    [result] = train([problem.trial(val=constant)], SCHEDULE)
    assert result.val_correct == (4, 4, 4, 4)
    assert (result.best_iteration, result.stop_iteration, result.iterations) == (0, 30, 31)


def test_best_weights_give_the_test_accuracy(problem):
    trial = problem.trial(scale=2.0)
    [result] = train([trial], SCHEDULE, keep=("best",))
    logits = trial.test.x @ result.best.projections[0].T @ result.best.head.T
    assert result.test_correct == int((logits.argmax(1) == trial.test.y).sum())
    assert result.test_accuracy == result.test_correct / 50
    assert result.best_val_accuracy == result.val_accuracy[result.best_iteration // 10]


def test_training_learns_the_classes(problem):
    [result] = train([problem.trial()], Schedule(max_iterations=400, patience=99))
    chance = 1 / 5
    assert result.test_accuracy > 2 * chance
    assert result.val_accuracy[0] < 2 * chance


def test_a_scale_that_is_not_trained_stays(problem):
    trials = [problem.trial(learnable_scale=flag, scale=5.0) for flag in (False, True)]
    fixed, free = train(trials, SCHEDULE, keep=("last",))
    assert fixed.last.scales.tolist() == [5.0, 5.0]
    assert all(scale != 5.0 for scale in free.last.scales.tolist())


def test_an_auxiliary_of_weight_zero_leaves_the_target_alone(problem):
    silent = problem.trial(weight_decay=0.0)
    stream = silent.auxiliary[0]
    silent = replace(silent, auxiliary=(Stream(stream.samples, stream.order, 0.0),))
    alone = problem.trial(weight_decay=0.0, auxiliary=())
    a, b = train([silent, alone], SCHEDULE, keep=("last",), dtype=torch.float64)
    np.testing.assert_allclose(a.last.head, b.last.head, rtol=0, atol=1e-12)


def test_aligned_modalities_need_no_projection(problem):
    text = problem.sets[0]["text"]
    trial = problem.trial(target=Stream(text, Shuffled(60, 8, 0)), val=text, test=text)
    [result] = train([trial], SCHEDULE, keep=("best",))
    assert result.best.projections == (None, None)
    assert result.test_accuracy > 0.5


def test_no_trials_no_results():
    assert train([], SCHEDULE) == []


def broken(problem, name):
    text = problem.sets[0]["text"]
    image = problem.sets[0]["image"]
    far = Replay(torch.full((200, 8), 30))
    wrong = Samples(image.x, image.y + (image.y == 4))
    target, audio = problem.trial(auxiliary=("audio",)).streams
    return {
        "shape": lambda: problem.trial(head=torch.zeros(6, 12)),
        "learning rate": lambda: problem.trial(learning_rate=0.0),
        "weight decay": lambda: problem.trial(weight_decay=-1.0),
        "val features": lambda: problem.trial(val=text),
        "test features": lambda: problem.trial(test=Samples(image.x[:0], image.y[:0])),
        "target labels span 0 to 5": lambda: problem.trial(target=replace(target, samples=wrong)),
        "an order asks for samples 30 to 30": lambda: problem.trial(
            target=replace(target, order=far)
        ),
        "auxiliary 0 features": lambda: replace(
            problem.trial(), auxiliary=(replace(audio, samples=image),)
        ),
        "auxiliary 0 projection to 9, head of width 12": lambda: replace(
            problem.trial(), auxiliary=(replace(audio, projection=audio.projection[:9]),)
        ),
    }[name]()


@pytest.mark.parametrize(
    "message",
    [
        "shape",
        "learning rate",
        "weight decay",
        "val features",
        "test features",
        "target labels span 0 to 5",
        "an order asks for samples 30 to 30",
        "auxiliary 0 features",
        "auxiliary 0 projection to 9, head of width 12",
    ],
)
def test_trials_that_cannot_be_trained_are_named(problem, message):
    with pytest.raises(UserError, match=message):
        train([problem.trial(), broken(problem, message)], SCHEDULE)


def test_a_projection_that_misses_the_head_is_named(problem):
    target = replace(problem.trial().target, projection=torch.zeros(9, 8))
    with pytest.raises(UserError, match="target projection to 9, head of width 12"):
        train([problem.trial(target=target)], SCHEDULE)


def test_samples_that_do_not_pair_up_are_refused():
    with pytest.raises(UserError, match="labels of shape"):
        Samples(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))
