"""Self-supervised UML end to end on tiny sequences: figures, streams, selection, neurons."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny_sequences
import torch

from umlbench import protocols
from umlbench.data.sequences import SequenceSet
from umlbench.errors import UserError
from umlbench.executors.work import work
from umlbench.jobs import Context, Job
from umlbench.needs import SequencesNeed
from umlbench.protocols import self_supervised
from umlbench.protocols.self_supervised import training
from umlbench.protocols.self_supervised.settings import Settings

SMALL = {
    "width": 8, "layers": 1, "heads": 2, "feedforward": 16, "batch_size": 8, "eval_batch_size": 8,
    "epochs": 2, "learning_rate": 1e-2,
}  # fmt: skip
GRID = {"learning_rate": (1e-2, 1e-3), "width": (8, 4)}


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """The sets that cells find, by name; tests add their own."""
    sets = {"tiny.npz": tiny_sequences.sequence_set()}
    monkeypatch.setattr(SequencesNeed, "find", lambda self, _: sets[self.dataset])
    return sets


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def job(method="uml", seed=1, grid=None, **changes):
    settings = Settings(**{"dataset": "tiny.npz", "method": method, **SMALL, **changes})
    cell = {"method": method}
    return Job("t", "self_supervised", 1, cell, seed, settings, grid or {}, "val_accuracy")


def run(*jobs):
    return [outcome for _, outcome in self_supervised.run(jobs, Context())]


def figures(outcome):
    return outcome.metrics, outcome.selection, outcome.trials, outcome.curves


def test_it_is_a_protocol():
    assert protocols.load("self_supervised") is self_supervised
    assert self_supervised.batch(job()) != self_supervised.batch(job(seed=2))
    assert self_supervised.inputs(job().settings, Context()) == {"tiny.npz": "fingerprint"}
    reads = protocols.reads(self_supervised, job().settings)
    assert reads.needs == (SequencesNeed("tiny.npz"),)


def test_a_job_is_the_same_alone_and_after_others():
    one, other = job(grid=GRID), job("unimodal", seed=2)
    alone = figures(run(one)[0])
    torch.manual_seed(0)
    junk = [np.zeros(n) for n in range(1000, 5000, 7)]  # other places in memory
    assert figures(run(other, one)[1]) == alone
    assert junk


def test_a_trial_is_the_same_in_a_grid_and_alone():
    together = run(job(grid=GRID))[0]
    for index, point in enumerate(job(grid=GRID).trials()):
        alone = run(job(**point))[0]
        for name, values in together.trials.items():
            assert values[index] == alone.trials[name][0], (point, name)


def test_seeds_differ():
    losses = {run(job(seed=seed))[0].trials["loss"][0] for seed in (1, 2, 3)}
    assert len(losses) == 3


def test_the_chosen_trial_is_the_first_best_on_validation():
    one = job(grid=GRID)
    outcome = run(one)[0]
    val = outcome.trials["val_accuracy"]
    chosen = outcome.selection["trial"]
    assert len(val) == 4
    assert chosen == val.index(max(val))
    assert {name: outcome.selection[name] for name in GRID} == one.trials()[chosen]
    for name in ("accuracy", "val_accuracy", "accuracy_auxiliary", "accuracy_all"):
        each = outcome.trials["test_accuracy" if name == "accuracy" else name]
        assert outcome.metrics[name] == each[chosen]
        assert name in self_supervised.METRICS


def test_unimodal_computes_no_other_branch(found, monkeypatch):
    """Its trunk has no other modality, and the data of others are not looked at."""
    built = []
    real = training.build

    def build(widths, *args):
        built.append(dict(widths))
        return real(widths, *args)

    monkeypatch.setattr(training, "build", build)
    alone = {split: {"vision": one["vision"]} for split, one in found["tiny.npz"].splits.items()}
    both = run(job("unimodal"))[0]
    found["tiny.npz"] = SequenceSet("tiny", ("no", "yes"), alone, "fingerprint")
    assert figures(run(job("unimodal"))[0]) == figures(both)
    assert built == [{"vision": 4}] * 2
    assert set(both.metrics) == {"accuracy", "val_accuracy"}


def test_three_modalities_train_together():
    outcome = run(job(auxiliary=["text", "audio"]))[0]
    assert {"accuracy_text", "accuracy_audio"} <= set(outcome.trials)
    assert outcome.metrics["accuracy_auxiliary"] == pytest.approx(
        (outcome.metrics["accuracy_text"] + outcome.metrics["accuracy_audio"]) / 2
    )


def test_the_order_of_auxiliaries_is_a_matter_of_rounding():
    one, other = (run(job(auxiliary=a))[0] for a in ("text+audio", "audio+text"))
    assert one.trials["loss"] == pytest.approx(other.trials["loss"], rel=1e-4)


def test_single_vectors_and_sequences_share_a_trunk(found):
    """MIMIC: five static figures are the target, a series the auxiliary."""
    found["tiny.npz"] = tiny_sequences.sequence_set("vision", "text", flat=("vision",))
    outcome = run(job())[0]
    assert "accuracy_all" in outcome.metrics
    assert math.isfinite(outcome.trials["loss"][0])


def test_a_label_a_step(found):
    found["tiny.npz"] = tiny_sequences.sequence_set("vision", "text", kind="stepwise")
    outcome = run(job())[0]
    assert {"accuracy", "accuracy_all"} <= set(outcome.metrics)


def test_modalities_of_other_samples_are_scored_apart(found):
    found["tiny.npz"] = tiny_sequences.sequence_set(paired=False)
    assert "accuracy_all" not in run(job())[0].metrics


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": "learned"},
        {"positions": "sinusoidal", "mask_padding": True},
        {"warmup_epochs": 0},
        {"warmup_epochs": 1, "warmup": "target"},
        {"iterations": 4, "optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.01},
        {"probe": "scaled_liblinear", "probe_iterations": 1000},
    ],
)
def test_every_choice_runs_and_matters(changes):
    plain, changed = run(job(), job(**changes))
    assert figures(changed) != figures(plain)


def test_a_trunk_learns_what_tells_classes_apart():
    outcome = run(job(epochs=20))[0]
    assert outcome.metrics["accuracy"] >= 75


def test_a_modality_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"modality of tiny\.npz 'vison', did you mean 'vision'"):
        run(job(target="vison"))
    results = list(work([job(auxiliary="tex")], Context()))
    assert "unknown modality of tiny.npz 'tex', did you mean 'text'?" in results[0].error


def test_a_split_without_samples_is_said(found):
    whole = found["tiny.npz"]
    found["tiny.npz"] = replace(whole, splits={**whole.splits, "val": {}})
    with pytest.raises(UserError, match="has no vision in its val split"):
        run(job())


def test_a_diverged_trial_is_not_chosen():
    grid = {"learning_rate": (1e30, 1e-3)}
    outcome = run(job(grid=grid))[0]
    assert outcome.selection["trial"] == 1
    assert math.isnan(outcome.trials["val_accuracy"][0])
    with pytest.raises(UserError, match="every trial diverged"):
        run(job(learning_rate=1e30))


# Neurons


def test_neurons_are_followed_from_before_the_first_epoch():
    outcome = run(job(samples="all"))[0]
    (curve,) = outcome.curves
    assert (curve.axis, curve.points) == ("epoch", (0.0, 1.0, 2.0))
    mean, *neurons = curve.values.values()
    assert len(neurons) == 8  # all of them: fewer than fourteen
    last = [values[-1] for values in neurons]
    assert last == sorted(last, reverse=True)
    assert mean[-1] == pytest.approx(np.mean(last[:7]))
    assert outcome.metrics["correlation"] == mean[-1]
    untrained = max(abs(values[0]) for values in neurons)
    assert outcome.metrics["untrained_correlation"] == untrained


def test_samples_of_one_training_are_looked_at_together():
    jobs = [job(samples=name) for name in ("all", "no", "yes")]
    assert len({self_supervised.batch(one) for one in jobs}) == 1 < len({one.id for one in jobs})
    assert self_supervised.batch(job()) != self_supervised.batch(jobs[0])
    together, (alone,) = run(*jobs), run(jobs[2])
    assert together[2].curves == alone.curves
    assert together[0].curves != alone.curves
    assert list(together[0].curves[0].values) == list(alone.curves[0].values)  # the same neurons


def test_an_unknown_class_of_samples_is_told():
    with pytest.raises(UserError, match=r"unknown samples of tiny\.npz 'maybe'"):
        run(job(samples="maybe"))


def test_following_neurons_changes_no_figure():
    plain, followed = run(job(), job(samples="all"))
    assert plain.trials == followed.trials
    assert run(job("unimodal", samples="all"))[0].curves == ()


def test_only_paired_samples_have_correlations(found):
    found["tiny.npz"] = tiny_sequences.sequence_set(paired=False)
    with pytest.raises(UserError, match="vision, text are not paired"):
        run(job(samples="all"))
