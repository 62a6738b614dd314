"""Three modalities, each with a projection of its own where its width is not the head's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from umlbench.models.head import SharedHead
from umlbench.sweep import (
    Samples,
    Schedule,
    Shuffled,
    Stream,
    Trial,
    Weights,
    engines,
    learning_rate,
    train,
)

SCHEDULE = Schedule(max_iterations=400, iterations=61, eval_every=10)
KEEP = ("losses", "val_loss", "best", "last")


@pytest.fixture(scope="module", params=engines("cpu"))
def engine(request):
    return request.param


@pytest.fixture(params=["projected target", "direct target"])
def make(request, problem):
    """Makes a trial whose target is narrower than the head, or as wide."""

    def trial(**fields) -> Trial:
        made = problem.trial(**fields)
        if request.param == "projected target":
            return made
        text = problem.sets[1]["text"]
        order = Shuffled(len(text), made.target.order.batch_size, 3)
        return replace(made, target=Stream(text, order), val=text, test=text)

    return trial


def correct(model: SharedHead, samples: Samples) -> int:
    """Right answers through the target's projection."""
    projection = model.projections[0]
    x = samples.x.double() if projection is None else samples.x.double() @ projection.T
    return int(((x @ model.head.T).argmax(1) == samples.y).sum())


def by_autograd(trial: Trial) -> tuple[SharedHead, torch.Tensor, list[int]]:
    """Modules, autograd and torch's AdamW in float64: model, losses, right answers."""
    streams = trial.streams
    projections = [None if s.projection is None else s.projection.double() for s in streams]
    scales = [trial.scale] * len(streams)
    model = SharedHead(trial.head.double(), projections, scales, trial.learnable_scale)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=trial.weight_decay)
    weights = torch.tensor([stream.weight for stream in streams], dtype=torch.float64)
    kept, right = [], []
    for i in range(SCHEDULE.total):
        optimizer.param_groups[0]["lr"] = learning_rate(i, trial.learning_rate, SCHEDULE)
        rows = [stream.order.rows(i, i + 1)[0] for stream in streams]
        logits = model(*(s.samples.x[r].double() for s, r in zip(streams, rows, strict=True)))
        labels = [s.samples.y[r] for s, r in zip(streams, rows, strict=True)]
        losses = torch.stack([cross_entropy(z, y) for z, y in zip(logits, labels, strict=True)])
        optimizer.zero_grad()
        (weights * losses).sum().backward()
        optimizer.step()
        kept.append(losses.detach())
        if SCHEDULE.evaluates(i):
            right.append(correct(model, trial.val))
    return model, torch.stack(kept), right


@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("batch", [4, 7, 32])
@pytest.mark.parametrize("auxiliary", [("audio", "text"), ("text", "audio")])
def test_three_modalities_equal_autograd(make, engine, auxiliary, batch, learnable):
    """A stack multiplies batches of 4 by P first and of 32 by W P; at 7 audio and images differ."""
    trial = make(auxiliary=auxiliary, batch=batch, learnable_scale=learnable, scale=2.0)
    model, losses, right = by_autograd(trial)
    [ours] = train([trial], SCHEDULE, dtype=torch.float64, keep=KEEP, engine=engine)
    np.testing.assert_allclose(ours.losses, losses, rtol=0, atol=1e-12)
    assert list(ours.val_correct) == right
    theirs = (model.head, model.scales, *model.projections)
    mine = (ours.last.head, ours.last.scales, *ours.last.projections)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            np.testing.assert_allclose(a, b.detach(), rtol=0, atol=1e-12)


def parts(weights: Weights, modalities: list[int]) -> list[torch.Tensor]:
    """Head, scales and projections of some modalities."""
    projections = [weights.projections[m] for m in modalities]
    return [weights.head, weights.scales[modalities], *(p for p in projections if p is not None)]


HOW = [("fused", torch.float32, 0), ("fused", torch.float64, 0), ("stacked", torch.float64, 1e-13)]


@pytest.mark.parametrize(("name", "dtype", "tolerance"), [h for h in HOW if h[0] in engines("cpu")])
@pytest.mark.parametrize("batch", [4, 32])
@pytest.mark.parametrize("third", ["audio", "text"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_third_modality_of_weight_zero_changes_nothing(
    make, place, third, batch, name, dtype, tolerance
):
    """Not a bit of the fused engine; a stack's matrix products may sum in another order."""
    trial = make(batch=batch, learnable_scale=True)
    silent = replace(make(auxiliary=(third,), batch=batch).auxiliary[0], weight=0.0)
    auxiliary = [*trial.auxiliary]
    auxiliary.insert(place, silent)
    three = replace(trial, auxiliary=tuple(auxiliary))
    a, b = train([trial, three], SCHEDULE, dtype=dtype, keep=KEEP, engine=name)
    heard = [0, 2 - place]
    assert a.val_correct == b.val_correct
    assert (a.test_correct, a.best_iteration) == (b.test_correct, b.best_iteration)
    figures = [(a.losses, b.losses[:, heard]), (a.val_loss, b.val_loss)]
    for two, more in ((a.best, b.best), (a.last, b.last)):
        figures += zip(parts(two, [0, 1]), parts(more, heard), strict=True)
    for ours, theirs in figures:
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_a_projection_of_weight_zero_only_decays(problem, engine):
    trial = problem.trial(auxiliary=("audio", "text"))
    silent = replace(trial.auxiliary[0], weight=0.0)
    trial = replace(trial, auxiliary=(silent, trial.auxiliary[1]))
    [result] = train([trial], SCHEDULE, dtype=torch.float64, keep=("last",), engine=engine)
    rates = [learning_rate(i, trial.learning_rate, SCHEDULE) for i in range(SCHEDULE.total)]
    kept = float(np.prod([1 - rate * trial.weight_decay for rate in rates]))
    start = silent.projection.double()
    np.testing.assert_allclose(result.last.projections[1], kept * start, rtol=1e-12)


def test_every_modality_has_a_scale_of_its_own(problem, engine):
    trials = [
        problem.trial(auxiliary=("audio", "text"), learnable_scale=flag, scale=5.0)
        for flag in (False, True)
    ]
    fixed, free = train(trials, SCHEDULE, keep=("last",), engine=engine)
    assert fixed.last.scales.tolist() == [5.0] * 3
    assert len({5.0, *free.last.scales.tolist()}) == 4


def test_results_keep_projections_in_the_order_of_the_modalities(problem, engine):
    shapes = {"audio": (12, 6), "text": None}
    for auxiliary in (("audio", "text"), ("text", "audio")):
        [result] = train([problem.trial(auxiliary=auxiliary)], SCHEDULE, keep=KEEP, engine=engine)
        for weights in (result.best, result.last):
            found = [None if p is None else tuple(p.shape) for p in weights.projections]
            assert found == [(12, 8), *(shapes[name] for name in auxiliary)]
