"""The theory protocol: every cell holds, is deterministic, and a wrong formula is noticed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from umlbench import protocols
from umlbench.analysis import fisher
from umlbench.jobs import Context, Job
from umlbench.protocols import theory
from umlbench.protocols.theory import Finding, Settings

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "theory.yaml"
CELLS = list(itertools.product(theory.CHECKS, ("full_rank", "rank_deficient")))


def metrics(check, design="full_rank", seed=1, **fields):
    settings = Settings(check=check, design=design, **{"designs": 10, **fields})
    job = Job("theory", "theory", theory.VERSION, {"check": check}, seed, settings)
    ((same, outcome),) = theory.run([job], Context())
    assert same is job
    return outcome.metrics


def test_contract():
    module = protocols.load("theory")
    job = Job("theory", "theory", 1, {}, 1, Settings(check="theorem1"))
    assert module.inputs(job.settings, Context()) == {}
    assert module.batch(job) == job.id
    assert set(get_args(theory.Check)) == set(theory.CHECKS)


def test_importing_the_protocol_imports_no_numpy():
    code = "import sys, umlbench.protocols.theory; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("check", "design"), CELLS)
def test_the_statement_holds(check, design):
    found = metrics(check, design)
    assert set(found) <= set(theory.METRICS)
    assert found["violations"] == 0
    assert found["smallest_gap"] >= -1e-13
    assert found["closed_form_error"] <= 2e-13
    assert all(type(value) is float and np.isfinite(value) for value in found.values())


def test_same_seed_same_figures_other_seed_other_figures():
    first = metrics("theorem1", "rank_deficient")
    assert first == metrics("theorem1", "rank_deficient")
    assert first != metrics("theorem1", "rank_deficient", seed=2)


def test_more_designs_extend_the_same_ones():
    few, many = (
        [draw.x.common for draw in theory.draws(Settings(check="theorem3", designs=n), 1)]
        for n in (2, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))


def test_checks_share_their_designs():
    one, two = (
        next(theory.draws(Settings(check=c, design="rank_deficient"), 1))
        for c in ("theorem1", "corollary2")
    )
    assert np.array_equal(one.x.common, two.x.common)


def test_ranks_of_the_designs():
    draw = next(theory.draws(Settings(check="theorem1", design="rank_deficient"), 1))
    assert np.linalg.matrix_rank(draw.x.common) == 10 - 3  # blind
    assert (draw.j_x.rank, draw.j_y.rank) == (10 - 4, 10 - 4)  # and confounded
    assert fisher.shared_null(draw.j_x, draw.j_y).shape == (10, 1)
    full = next(theory.draws(Settings(check="theorem1"), 1))
    assert (full.j_x.rank, full.j_y.rank) == (10, 10)
    about_x = next(theory.draws(Settings(check="theorem2"), 1))
    assert (about_x.j_x.rank, about_x.j_y.rank) == (6, 10)


def test_share_of_revealed_directions_is_that_of_the_construction():
    assert metrics("theorem2")["newly_identified"] == 1.0
    assert metrics("theorem2", "rank_deficient")["newly_identified"] == pytest.approx(3 / 4)
    revealed = metrics("theorem2", "rank_deficient", blind_to_both=2)["newly_identified"]
    assert revealed == pytest.approx(2 / 4)


def test_least_squares_reaches_the_bound():
    found = metrics("theorem1", designs=40, replicates=100)["estimator_ratio"]
    # four standard errors of 4000 squared normal draws
    assert found == pytest.approx(1.0, abs=4 * np.sqrt(2 / 4000))


def test_more_y_lowers_the_variance_further():
    few, many = (metrics("theorem1", samples_y=n)["variance_ratio"] for n in (10, 1000))
    assert 0 < many < few < 1


def forget_the_nuisance(modality):
    """C'C in place of the Schur complement."""
    common, _ = modality.whitened
    return fisher.effective(common, np.zeros((len(common), 0)))


@pytest.mark.parametrize(
    "check", ["theorem1", "theorem3", "corollary1", "corollary2", "corollary3"]
)
def test_forgetting_the_nuisance_is_noticed(check, monkeypatch):
    monkeypatch.setattr(fisher, "effective_information", forget_the_nuisance)
    assert metrics(check)["violations"] > 0


def test_forgetting_the_nuisance_is_noticed_where_it_hides_a_direction(monkeypatch):
    monkeypatch.setattr(fisher, "effective_information", forget_the_nuisance)
    found = metrics("theorem2", "rank_deficient", blind=1, blind_to_both=1, designs=3)
    # what each loses to its own latents is forgotten: X seems to miss nothing that Y reveals
    assert found["violations"] == 3


@pytest.mark.parametrize(
    ("check", "name", "wrong"),
    [
        ("theorem1", "loewner_gap", lambda larger, smaller: -0.1),
        ("theorem2", "shared_null", lambda x, y: np.eye(10)[:, :1]),
        ("theorem3", "surplus", lambda x, y: -0.1),
        ("corollary1", "rank_one_ratio", lambda x, b, v: 0.9),
        ("corollary1", "proportional_ratio", lambda n_x, n_y, rho: n_x / (n_x + n_y)),
        ("corollary2", "blind_variance", lambda x, y, v: 1 / y.along(v)),
        ("corollary3", "break_even", lambda n_x, before, after: n_x * before / after),
        ("corollary3", "marginal_rate", lambda j_x, j_y, v: 1e-3),
    ],
)
def test_a_wrong_formula_is_noticed(check, name, wrong, monkeypatch):
    monkeypatch.setattr(fisher, name, wrong)
    assert metrics(check)["violations"] == 10


def test_finding_holds_up_to_its_rounding_only():
    assert Finding(gap=-1e-15, error=1e-15, rounding=1e-14).holds
    assert not Finding(gap=-1e-13, error=0.0, rounding=1e-14).holds
    assert not Finding(gap=0.1, error=1e-13, rounding=1e-14).holds
    assert not Finding(gap=0.1, error=0.0, rounding=1e-14, strict=False).holds


def test_summary_takes_the_worst_and_the_mean():
    found = theory.summary(
        [
            Finding(gap=0.5, error=0.1, rounding=0.2, extra={"variance_ratio": 0.2}),
            Finding(gap=-1.0, error=0.0, rounding=0.2, extra={"variance_ratio": 0.4}),
        ]
    )
    assert found == {
        "violations": 1.0,
        "smallest_gap": -1.0,
        "closed_form_error": 0.1,
        "variance_ratio": pytest.approx(0.3),
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blind_to_both": 4}, "above blind"),
        ({"confounded": 6}, "above x_dim or y_dim"),
        ({"blind": 1, "confounded": 0}, "misses no direction"),
        ({"blind": 5}, "X and Y miss 11 of the 10"),
        ({"observed_dim": 14}, "observed_dim"),
        ({"check": "theorem4"}, "theorem1"),
        ({"noise_variance": 0.0}, "greater than 0"),
        ({"nosuch": 1}, "Extra inputs"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Settings(**{"check": "theorem1", **fields})


def test_the_recipe_names_what_exists():
    recipe = yaml.safe_load(RECIPE.read_text())
    for check, design in itertools.product(recipe["axes"]["check"], recipe["axes"]["design"]):
        Settings(check=check, design=design, **recipe["settings"])
    assert set(recipe["axes"]["check"]) == set(theory.CHECKS)
    assert set(recipe["report"]["metrics"]) <= set(theory.METRICS)
    assert {claim["metric"] for claim in recipe["claims"]} <= set(theory.METRICS)
