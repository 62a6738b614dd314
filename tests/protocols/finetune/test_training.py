"""One training: the linear probe's numbers behind an identity backbone, and what only it does."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from golden_runs import C7_EQUAL, METHODS, losses_of, trial_of
from torch import nn

from umlbench.encoders.clip import import_open_clip
from umlbench.errors import UserError
from umlbench.models.head import SharedHead, linear_init
from umlbench.protocols.finetune import training as module
from umlbench.protocols.finetune.feeds import Vectors
from umlbench.protocols.finetune.learner import Learner
from umlbench.protocols.finetune.training import Stream, Training, Tuning
from umlbench.sweep import Samples, Schedule, Shuffled, learning_rate, train

KEEP = ("losses", "best", "last")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def doubled(samples):
    return Vectors(Samples(samples.x.double(), samples.y))


def behind_identity(trial, schedule, **tuning):
    """A trial of the sweep as a fine-tuning in float64 whose towers do nothing."""
    scales = [trial.scale] * len(trial.streams)
    projections = [stream.projection for stream in trial.streams]
    head = SharedHead(trial.head, projections, scales, trial.learnable_scale).double()
    return Training(
        Learner([nn.Identity() for _ in trial.streams], head, "faithful"),
        [Stream(doubled(s.samples), s.order, s.weight) for s in trial.streams],
        doubled(trial.val),
        doubled(trial.test),
        Tuning(trial.learning_rate, trial.weight_decay, **tuning),
        schedule,
        KEEP,
    )


def assert_equal(one, two, atol):
    assert (one.val_correct, one.test_correct) == (two.val_correct, two.test_correct)
    assert (one.best_iteration, one.iterations) == (two.best_iteration, two.iterations)
    np.testing.assert_allclose(one.losses, two.losses, rtol=0, atol=atol)
    for mine, other in ((one.best, two.best), (one.last, two.last)):
        for ours, theirs in zip(parameters(mine), parameters(other), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def parameters(weights):
    assert len(weights.projections) == len(weights.scales)
    return [weights.head, weights.scales, *(p for p in weights.projections if p is not None)]


# The linear probe's numbers


@pytest.mark.parametrize("config", ["c0", "c3", "c5", "c7"])
@pytest.mark.parametrize("method", METHODS)
def test_behind_an_identity_it_computes_what_the_official_code_does(golden, method, config):
    run = golden.plain["A2"][f"f64__{method}__{config}"]
    trial = trial_of(golden, method, run, "A2_data", "A2_batches")
    equal = C7_EQUAL[method] if config == "c7" else 301
    schedule = Schedule(max_iterations=run["sched_max_iter"], iterations=equal)
    ours = behind_identity(trial, schedule).finish()
    theirs = losses_of(golden.arrays, f"A2/{method}__{config}")
    np.testing.assert_allclose(ours.losses, theirs[:equal], rtol=0, atol=1e-12)
    if equal == 301:
        np.testing.assert_allclose(ours.val_accuracy, run["val_acc"], atol=1e-7)
        assert ours.best_iteration == run["best_iter"]
        assert ours.test_accuracy == pytest.approx(run["test_acc"], abs=1e-7)


@pytest.mark.parametrize("config", ["c0", "c3", "c5"])
@pytest.mark.parametrize("method", METHODS)
def test_behind_an_identity_it_computes_what_the_sweep_does(golden, method, config):
    run = golden.plain["A2"][f"f64__{method}__{config}"]
    trial = trial_of(golden, method, run, "A2_data", "A2_batches")
    schedule = Schedule(max_iterations=run["sched_max_iter"], iterations=301)
    [swept] = train([trial], schedule, dtype=torch.float64, keep=KEEP, engine="stacked")
    assert_equal(behind_identity(trial, schedule).finish(), swept, 1e-12)


@pytest.mark.parametrize("case", ["easy_p3", "noisy_p3_f10", "not_triggered"])
def test_patience_ends_it_where_it_ended_the_official_one(golden, case):
    run = golden.plain["A5"][f"f64__{case}"]
    data = "A5_data" if run["data"].startswith("A5") else "A2_data"
    schedule = Schedule(
        max_iterations=run["sched_max_iter"],
        iterations=run["max_iters"],
        eval_every=run["eval_freq"],
        patience=run["patience"],
    )
    ours = behind_identity(trial_of(golden, run["method"], run, data, "A5"), schedule).finish()
    assert ours.stop_iteration == run["stop_iter"]
    assert ours.iterations == run["n_train_steps"]
    assert ours.best_iteration == run["best_iter"]


def test_micro_batches_are_the_same_step(golden):
    run = golden.plain["A2"]["f64__crossmodal_random__c0"]
    trial = trial_of(golden, "crossmodal_random", run, "A2_data", "A2_batches")
    schedule = Schedule(max_iterations=12800, iterations=101)
    whole = behind_identity(trial, schedule).finish()
    for size in (1, 3, 1000):
        assert_equal(behind_identity(trial, schedule, micro_batch=size).finish(), whole, 1e-12)


# Modes


CLIP = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64}


def rn50():
    """open_clip's ResNet of CLIP, tiny; its weights from a stream of their own."""
    open_clip = import_open_clip()
    tower = open_clip.modified_resnet.ModifiedResNet(
        CLIP["layers"], output_dim=12, heads=2, image_size=64, width=CLIP["width"]
    )
    stream = torch.Generator().manual_seed(0)
    for parameter in tower.parameters():
        parameter.data = torch.randn(parameter.shape, generator=stream) * 0.2
    return tower


class Pictures:
    """Random pictures and labels as a feed."""

    def __init__(self, count, seed):
        stream = torch.Generator().manual_seed(seed)
        self.x = torch.randn(count, 3, 64, 64, generator=stream)
        self.y = torch.randint(0, 3, (count,), generator=stream)

    def __len__(self):
        return len(self.y)

    def batches(self, rows, first=0):
        return ((self.x[row],) for row in rows)


def pictured(backbone, mode, schedule, width=12, **tuning):
    head = linear_init(3, width, torch.Generator().manual_seed(1))
    learner = Learner([backbone], SharedHead(head, [None], [100.0], learnable=False), mode)
    target, val = Pictures(8, 2), Pictures(6, 3)
    return Training(
        learner,
        [Stream(target, Shuffled(8, 4, 0))],
        val,
        val,
        Tuning(5e-5, **tuning),
        schedule,
        KEEP,
    )


def first_norm(tower):
    return next(m for m in tower.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("mode", "updates"), [("faithful", 1), ("corrected", 3), ("evaluation", 0)]
)
def test_running_statistics_after_three_steps(mode, updates):
    """Released: training mode in step 0 alone, so that momentum .1 acts once; corrected: thrice.

    The expected statistics are computed from what went into the first BatchNorm.
    """
    tower = rn50()
    norm, seen = first_norm(tower), []

    def see(norm, x, _):
        seen.append((norm.training, x[0].detach(), deepcopy(norm.state_dict())))

    norm.register_forward_hook(see)
    pictured(tower, mode, Schedule(max_iterations=100, warmup_iterations=1, iterations=3)).finish()
    assert [len(x) for _, x, _ in seen] == [
        4,
        4,
        2,
        4,
        4,
        4,
        2,
    ]  # step, validation, two steps, test
    steps = [x for training, x, _ in seen if training]
    assert len(steps) == updates
    mean, var = torch.zeros(len(norm.running_mean)), torch.ones(len(norm.running_mean))
    for x in steps:
        mean = 0.9 * mean + 0.1 * x.mean((0, 2, 3))
        var = 0.9 * var + 0.1 * x.var((0, 2, 3), unbiased=True)
    after = seen[4][2]  # the third step
    torch.testing.assert_close(after["running_mean"], mean)
    torch.testing.assert_close(after["running_var"], var)
    assert int(after["num_batches_tracked"]) == updates


def test_the_best_weights_come_with_their_statistics():
    """Iteration 0 alone is validated here, so its state is what the test set meets."""
    tower = rn50()
    pictured(tower, "corrected", Schedule(max_iterations=100, iterations=3)).finish()
    assert int(first_norm(tower).num_batches_tracked) == 1


def test_the_logit_scale_of_clip_is_100_and_its_features_stay_raw():
    """Protocol 1.4 and 2: no projection, no normalisation, 100 x head(features)."""
    training = pictured(rn50(), "faithful", Schedule(max_iterations=100))
    x = training.val.x
    training.learner.eval()
    with torch.no_grad():
        features = training.learner.towers[0](x)
        expected = 100 * features @ training.learner.head.head.T
        torch.testing.assert_close(training.learner.logits(0, x), expected)
    assert list(training.learner.head.projections) == [None]
    assert not training.learner.head.scales.requires_grad


# The optimizer, precision, memory


def convolutions():
    """A network with BatchNorm and dropout, in channels-last layout as backbones are."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)),
        *(nn.Conv2d(8, 6, 3, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    stream = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=stream) * 0.3
    return net.to(memory_format=torch.channels_last)


SHORT = Schedule(max_iterations=40, warmup_iterations=2, eval_every=5, iterations=21)


def small(mode="evaluation", schedule=SHORT, **tuning):
    return pictured(convolutions(), mode, schedule, width=6, **tuning)


def test_a_step_is_adamw_s_on_everything_that_learns():
    """Against autograd and torch's plain, unfused AdamW: all in one group, biases decayed too."""
    ours = small(weight_decay=0.1)
    twin = deepcopy(ours.learner)
    ours.finish()
    plain = torch.optim.AdamW(twin.learning(), weight_decay=0.1, fused=False, foreach=False)
    losses = []
    for i in range(21):
        plain.param_groups[0]["lr"] = learning_rate(i, 5e-5, SHORT)
        row = ours.streams[0].order.rows(i, i + 1)[0]
        x, y = ours.streams[0].feed.x[row], ours.streams[0].feed.y[row]
        loss = nn.functional.cross_entropy(twin.logits(0, x), y)
        plain.zero_grad()
        loss.backward()
        plain.step()
        losses.append(float(loss.detach()))
    assert ours.progress.losses
    ours_losses = torch.cat(ours.progress.losses)[:, 0]
    torch.testing.assert_close(ours_losses, torch.tensor(losses), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_computes_in_halves_and_keeps_float32_weights(precision):
    full, half = small(), small(precision=precision)
    dtypes = []
    half.learner.towers[0][4].register_forward_hook(lambda m, x, y: dtypes.append(y.dtype))
    exact, rounded = full.finish(), half.finish()
    assert set(dtypes) == {getattr(torch, precision)}
    assert {p.dtype for p in half.learner.parameters()} == {torch.float32}
    torch.testing.assert_close(rounded.losses[0], exact.losses[0], rtol=0.05, atol=0.05)
    assert not torch.equal(rounded.losses, exact.losses)


def test_auxiliary_towers_may_have_a_rate_of_their_own():
    made = {}
    for rate in (None, 1e-2):
        head = SharedHead(torch.ones(3, 6), [None] * 2, [1.0, 1.0], learnable=False)
        learner = Learner([convolutions(), nn.Linear(6, 6)], head, "evaluation")
        optimizer = module._optimizer(learner, Tuning(5e-5, apart_rate=rate))
        made[rate] = [(len(g["params"]), g["base"]) for g in optimizer.param_groups]
    assert made == {None: [(6, 5e-5), (2, 5e-5)], 1e-2: [(6, 5e-5), (2, 1e-2)]}


def test_a_compiled_backbone_is_called_in_the_place_of_the_plain_one(monkeypatch):
    calls = []

    def compiled(tower):
        return lambda *x: calls.append(len(x[0])) or tower(*x)

    plain, ours = small().finish(), small()
    monkeypatch.setattr(torch, "compile", compiled)
    ours.learner.compile_backbone()
    assert_equal(ours.finish(), plain, 0)
    assert calls[:3] == [4, 4, 2]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_memory_that_ends_is_one_clear_line(error):
    def fail(*_):
        raise error

    training = small(micro_batch=3)
    training.learner.towers[0].register_forward_hook(fail)
    with pytest.raises(UserError, match="3 rows at once do not fit into the memory of cpu") as told:
        training.finish()
    assert told.value.hint.startswith("set micro_batch=1")


def test_other_errors_are_not_dressed_up():
    training = small()
    training.learner.towers[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.finish()


# Going on


def state(training):
    return {name: value.clone() for name, value in training.learner.state().items()}


def frozen(moment):
    """A copy: a moment's tensors are those of the running training."""
    return deepcopy(moment)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("mode", ["faithful", "corrected"])
def test_a_resumed_training_equals_an_unbroken_one_to_the_bit(mode, precision):
    """With dropout, BatchNorm, channels-last weights, from every evaluation."""
    moments, unbroken = [], small(mode, precision=precision)
    expected = unbroken.finish(save=lambda moment: moments.append(frozen(moment)))
    assert [m.progress.iterations for m in moments] == [1, 6, 11, 16, 21]
    for moment in moments:
        again = small(mode, precision=precision)
        result = again.finish(frozen(moment))
        assert result.val_correct == expected.val_correct
        assert (result.best_iteration, result.test_correct) == (
            expected.best_iteration,
            expected.test_correct,
        )
        assert torch.equal(result.last.head, expected.last.head)
        for name, value in state(unbroken).items():
            assert torch.equal(again.learner.state()[name], value), name


def test_dropout_leaves_the_global_generator_alone():
    training = small("corrected")
    before = torch.get_rng_state()
    training.finish()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_moment_of_another_model_is_refused():
    moments = []
    small().finish(save=moments.append)
    with pytest.raises(KeyError, match="another model"):
        pictured(rn50(), "faithful", SHORT).finish(moments[0])


def test_waiting_is_told_from_training(monkeypatch):
    """By a clock that stands still but for a feed that takes 2 s a batch and steps of 5 s."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    class Slow(Pictures):
        def batches(self, rows, first=0):
            for batch in super().batches(rows):
                now[0] += 2
                yield batch

    training = small(schedule=Schedule(max_iterations=9, warmup_iterations=0, eval_every=9))
    slow = Slow(8, 2)
    training.streams = [Stream(slow, training.streams[0].order)]
    step = training._step
    training._step = lambda iteration: now.__setitem__(0, now[0] + 5) or step(iteration)
    training.finish()
    assert training.seconds == {"train": 9 * 5, "wait": 9 * 2}
