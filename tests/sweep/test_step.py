from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy

from umlbench.models.head import SharedHead
from umlbench.sweep import Schedule, learning_rate
from umlbench.sweep.step import Batch, Parameters, Stack, folding_pays, gradients

K, C, D, T, ROWS = 3, 4, 5, 6, (7, 2, 3)


def stack_of(widths: tuple[int, ...]) -> tuple[Parameters, Batch]:
    """Modalities of these widths, projected where they are not T."""
    g = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    rows = ROWS[: len(widths)]
    scales = 1 + draw(K, len(rows)) / 4
    projections = tuple(None if width == T else draw(K, T, width) for width in widths)
    parameters = Parameters(draw(K, C, T), scales, projections)
    modality = torch.arange(len(rows)).repeat_interleave(torch.tensor(rows))
    batch = Batch(
        tuple(draw(K, n, width) for n, width in zip(rows, widths, strict=True)),
        torch.randint(0, C, (K, sum(rows), 1), generator=g),
        (torch.tensor([1.0, 0.3, 1.7], dtype=torch.float64) / torch.tensor(ROWS))[modality]
        .expand(K, -1)
        .unsqueeze(2),
        modality,
    )
    return parameters, batch


def by_autograd(parameters: Parameters, batch: Batch, k: int) -> list[torch.Tensor]:
    projections = [None if p is None else p[k] for p in parameters.projections]
    model = SharedHead(parameters.head[k], projections, parameters.scales[k].tolist(), True)
    logits = torch.cat(model(*(x[k] for x in batch.x)))
    losses = cross_entropy(logits, batch.labels[k, :, 0], reduction="none")
    (losses * batch.weights[k, :, 0]).sum().backward()
    own = [p for p in model.projections if p is not None]
    return [p.grad for p in (model.head, model.scales, *own)]


WIDTHS = [(T,), (D,), (D, T), (T, D), (D, T, T), (D, 3, T), (D, T, 3), (T, 3, D), (D, 3, 2)]


@pytest.mark.parametrize(
    ("widths", "fold"),
    [
        (widths, fold)
        for widths in WIDTHS
        for projected in [[m for m, width in enumerate(widths) if width != T]]
        for count in range(len(projected) + 1)
        for fold in itertools.combinations(projected, count)
    ],
)
def test_gradients_equal_those_of_autograd(widths, fold):
    parameters, batch = stack_of(widths)
    nothing = [None if p is None else torch.full_like(p, torch.nan) for p in parameters.projections]
    out = Parameters(*(torch.full_like(p, torch.nan) for p in parameters[:2]), tuple(nothing))
    gradients(parameters, batch, out, fold)
    for k in range(K):
        ours = [p[k] for p in (out.head, out.scales, *out.projections) if p is not None]
        for mine, theirs in zip(ours, by_autograd(parameters, batch, k), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def test_folding_needs_a_projection():
    parameters, batch = stack_of((D, T))
    with pytest.raises(ValueError, match="nothing to fold: modality 1"):
        gradients(parameters, batch, parameters, (0, 1))


def test_folding_pays_where_classes_are_few_and_batches_large():
    assert not folding_pays(8, 10, 128, 64)
    assert folding_pays(32, 10, 128, 64)
    assert not folding_pays(32, 1000, 3200, 384)


def test_update_equals_torch_adamw_and_leaves_fixed_scales_alone(problem):
    g = torch.Generator().manual_seed(2)
    schedule = Schedule(max_iterations=100)
    start = [torch.randn(2, 3, 4, generator=g, dtype=torch.float64), torch.ones(2, 2).double()]
    settings = [(1e-2, 0.1, True), (1e-1, 0.3, False)]
    trials = [
        problem.trial(learning_rate=lr, weight_decay=wd, learnable_scale=flag)
        for lr, wd, flag in settings
    ]
    stack = Stack(Parameters(start[0].clone(), start[1].clone(), (None, None)), trials)
    models = [[torch.nn.Parameter(p[k].clone()) for p in start] for k in range(2)]
    optimizers = [
        torch.optim.AdamW(model if flag else model[:1], lr=lr, weight_decay=wd, foreach=False)
        for model, (lr, wd, flag) in zip(models, settings, strict=True)
    ]
    for step in range(60):
        for part, values in enumerate((stack.gradient.head, stack.gradient.scales)):
            values.normal_(generator=g)
            for k in range(2):
                models[k][part].grad = values[k].clone()
        stack.update(step, schedule)
        for optimizer, (base, _, _) in zip(optimizers, settings, strict=True):
            optimizer.param_groups[0]["lr"] = learning_rate(step, base, schedule)
            optimizer.step()
    for k in range(2):
        ours = (stack.values.head[k], stack.values.scales[k])
        for mine, theirs in zip(ours, models[k], strict=True):
            torch.testing.assert_close(mine, theirs.data, rtol=1e-13, atol=1e-14)
    assert torch.equal(stack.values.scales[1], start[1][1])
