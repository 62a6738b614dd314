from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from umlbench.jobs import Job, job_id, spec_id
from umlbench.schema import Closed


class Settings(Closed):
    rate: float = 0.1
    size: int | None = None
    unread: int = 0

    def identity(self) -> dict[str, Any]:
        return {"rate": self.rate, "size": self.size}


JOB = Job(
    recipe="table",
    protocol="linear_probe",
    version=1,
    cell={"shots": 1},
    seed=3,
    settings=Settings(),
    grid={"rate": (0.1, 0.2), "size": (8, 32, None)},
    selection="val_accuracy",
    inputs={"data": "0f", "encoder": "1a"},
)


def test_the_id_never_changes() -> None:
    """Stored records are found by it."""
    assert JOB.id == PINNED
    assert JOB.id == job_id(JOB.spec, JOB.seed, JOB.inputs)
    assert JOB.spec_id == spec_id(JOB.spec, JOB.seed)


PINNED = "491de1a1ebc58e05"


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "gaussian"},
        {"version": 2},
        {"seed": 4},
        {"settings": Settings(rate=0.2)},
        {"grid": {"rate": (0.1, 0.2), "size": (8, 32)}},
        {"grid": {"rate": (0.2, 0.1), "size": (8, 32, None)}},  # ties go to the first
        {"selection": None},
    ],
)
def test_what_can_change_a_figure_changes_the_id(change: dict[str, Any]) -> None:
    assert replace(JOB, **change).id != JOB.id
    assert replace(JOB, **change).spec_id != JOB.spec_id


def test_inputs_change_the_id_but_not_what_a_report_matches() -> None:
    other = replace(JOB, inputs={"data": "0f", "encoder": "2b"})
    assert other.id != JOB.id
    assert other.spec_id == JOB.spec_id


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "another"},
        {"cell": {"method": "uml"}},
        {"settings": Settings(unread=1)},
        {"inputs": {"encoder": "1a", "data": "0f"}},
    ],
)
def test_names_and_order_do_not(change: dict[str, Any]) -> None:
    assert replace(JOB, **change).id == JOB.id


def test_trials_are_the_product_the_last_name_fastest() -> None:
    assert JOB.trials() == [
        {"rate": rate, "size": size} for rate in (0.1, 0.2) for size in (8, 32, None)
    ]
    assert replace(JOB, grid={}).trials() == [{}]


def test_a_grid_name_without_effect_is_neither_identity_nor_trial() -> None:
    wider = replace(JOB, grid={**JOB.grid, "unread": (1, 2)})
    assert wider.id == JOB.id
    assert wider.trials() == JOB.trials()


def test_a_job_travels_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(JOB))
    assert copy == JOB
    assert copy.id == JOB.id
