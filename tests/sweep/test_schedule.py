from __future__ import annotations

import numpy as np
import pytest

from umlbench.errors import UserError
from umlbench.sweep import Schedule, learning_rate

RATES = [(base, length) for base in ("0.001", "0.0001", "5e-05", "0.1") for length in (12800, 301)]


def traced(base: str, length: int) -> np.ndarray:
    schedule = Schedule(max_iterations=length)
    return np.array([learning_rate(i, float(base), schedule) for i in range(length)])


@pytest.mark.parametrize(("base", "length"), RATES)
def test_equals_the_official_schedule(golden, base, length):
    ours = traced(base, length)
    kept = np.concatenate([ours[:301], ours[301::50]])
    np.testing.assert_allclose(kept, golden.arrays[f"A1/lr_{base}_T{length}"], rtol=1e-13)


@pytest.mark.real
@pytest.mark.parametrize(("base", "length"), RATES)
def test_equals_every_step_of_the_official_schedule(reference, base, length):
    theirs = np.load(reference / "A1_lr_schedule.npz")[f"lr_{base}_T{length}"]
    np.testing.assert_allclose(traced(base, length), theirs, rtol=1e-13)


def test_first_step_uses_the_minimum_also_below_it():
    assert learning_rate(0, 5e-6, Schedule()) == 1e-5
    assert learning_rate(0, 1e-3, Schedule(warmup_iterations=0)) == 1e-3


def test_blocks_cover_every_iteration_once_and_end_at_evaluations():
    schedule = Schedule(max_iterations=250, eval_every=100)
    blocks = list(schedule.blocks())
    assert [(b.start, b.stop) for b in blocks] == [(0, 1), (1, 101), (101, 201), (201, 250)]
    assert [schedule.evaluates(b[-1]) for b in blocks] == [True, True, True, False]


@pytest.mark.parametrize(
    "fields",
    [
        {"patience": 0},
        {"iterations": 0},
        {"eval_every": 0},
        {"max_iterations": 40},
        {"warmup_iterations": -1},
        {"iterations": 12801},
    ],
)
def test_impossible_schedules_are_refused(fields):
    with pytest.raises(UserError, match=next(iter(fields)).split("_")[0]):
        Schedule(**fields)
