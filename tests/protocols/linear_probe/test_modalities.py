"""Any number of modalities as trials: projections, shares of a step, starting points."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from umlbench.protocols.linear_probe.modalities import (
    TARGET,
    Auxiliary,
    Modalities,
    first_head,
    projection,
)
from umlbench.sweep import Samples

CLASSES = 3


@dataclass(frozen=True)
class Point:
    """A grid point of a made-up protocol."""

    starts_from: str = "random"
    learning_rate: float = 0.1
    weight_decay: float = 0.0
    batch_size: int = 2
    learnable_scale: bool = False
    scale: float = 1.0
    shots: int | None = None

    def share(self, modality):
        return {"text": (4, 0.5), "sound": (3, 2.0)}[modality]

    def model_copy(self, update):
        return Point(**{**vars(self), **update})


def samples(width, rows=6):
    return Samples(torch.randn(rows, width), torch.arange(rows) % CLASSES)


def modalities(point, auxiliaries, own=5, width=5, grid=({},)):
    job = SimpleNamespace(seed=1, settings=point, trials=lambda: list(grid))
    sets = [samples(own) for _ in range(3)]
    return Modalities(job, CLASSES, width, *sets, tuple(auxiliaries), {}, "all")


@given(
    own=st.integers(1, 6), others=st.lists(st.integers(1, 6), max_size=2), width=st.integers(1, 6)
)
def test_whatever_is_of_another_width_is_projected(own, others, width):
    names = ("text", "sound")
    auxiliaries = [Auxiliary(n, {None: samples(w)}) for n, w in zip(names, others, strict=False)]
    [trial] = modalities(Point(), auxiliaries, own, width).trials()
    assert trial.head.shape == (CLASSES, width)
    for stream, size in zip(trial.streams, [own, *others], strict=True):
        shape = None if stream.projection is None else tuple(stream.projection.shape)
        assert shape == (None if size == width else (width, size))
    shares = [(2, 1.0), (4, 0.5), (3, 2.0)][: len(trial.streams)]
    assert [(s.order.batch_size, s.weight) for s in trial.streams] == shares


def test_a_target_s_projection_is_the_same_whoever_helps():
    alone, first, second = (projection(name, 1, 4, 6) for name in (TARGET, "text", "sound"))
    [trial] = modalities(Point(), [Auxiliary("sound", {None: samples(4)})], 6, 4).trials()
    assert torch.equal(trial.target.projection, alone)
    assert len({tuple(p.flatten().tolist()) for p in (alone, first, second)}) == 3


def test_a_choice_of_the_grid_decides_samples_and_start():
    sets = {1: samples(5, 3), None: samples(5)}
    text = Auxiliary("text", sets, "shots")
    grid = ({"shots": 1}, {"shots": None}, {"shots": 1, "learning_rate": 0.2})
    one = modalities(Point("means"), [text], grid=grid)
    a, b, c = one.trials()
    assert [t.auxiliary[0].samples for t in (a, b, c)] == [sets[1], sets[None], sets[1]]
    assert a.head is c.head
    assert not torch.equal(a.head, b.head)
    assert torch.equal(a.head, torch.nn.functional.normalize(sets[1].x, dim=1))


@pytest.mark.parametrize("start", ["random", "zero", "means"])
def test_a_start_without_vectors(start):
    [trial] = modalities(Point(start), []).trials()
    expected = first_head("zero" if start == "zero" else "random", 1, (CLASSES, 5))
    assert torch.equal(trial.head, expected)
