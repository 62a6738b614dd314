"""Theorems 1 to 3 and corollaries 1 to 3 of section 3, tested on random designs.

A job draws `designs` pairs of modalities, and on each sets the statement against the joint Fisher
matrix of (theta_c, theta_x, theta_y) with nothing eliminated by hand. The mathematics is
`umlbench.analysis.fisher`. A design breaks a statement (`violations`) only beyond the rounding
that follows from its norms and its smallest singular value.

Designs: `full_rank` draws standard normal projections. Under `rank_deficient` each modality is
blind to `blind` directions of theta_c, `blind_to_both` of them the same for X and Y, and
`confounded` more directions cannot be told from its own latents. Theorem 2 and corollary 2 are
about directions that X misses, so there X is deficient in both, and `design` is Y's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

from pydantic import Field, model_validator

from umlbench.jobs import Context, Job, Outcome
from umlbench.protocols import Metric
from umlbench.schema import Closed
from umlbench.seeds import numpy_stream

if TYPE_CHECKING:
    import numpy as np

    from umlbench.analysis.fisher import Array, Information, Modality

VERSION = 1
DTYPE = "float64"
WHOLE_BATCHES = False

Check = Literal["theorem1", "theorem2", "theorem3", "corollary1", "corollary2", "corollary3"]
ABOUT_BLIND_X: tuple[Check, ...] = ("theorem2", "corollary2")

METRICS: dict[str, Metric] = {
    "violations": Metric("Designs that break it", "designs", False, 0, over_seeds="max"),
    "smallest_gap": Metric("Smallest gap", "relative", True, 1, True, over_seeds="min"),
    "closed_form_error": Metric(
        "Closed form's largest error", "relative", False, 1, True, over_seeds="max"
    ),
    "variance_ratio": Metric("Variance ratio", "ratio", False, 4),
    "estimator_ratio": Metric("Least squares' squared error over the bound", "ratio", False, 3),
    "newly_identified": Metric("Share of X's blind directions that Y reveals", "share", True, 3),
    "exchange_share": Metric("Designs with such a direction in X's range", "share", True, 3),
    "exchange_rate": Metric("X samples one Y sample is worth", "samples", True, 3),
}


class Settings(Closed):
    """One check on one kind of design; the dimensions are those of the Gaussian experiment."""

    check: Check
    design: Literal["full_rank", "rank_deficient"] = "full_rank"
    common_dim: int = Field(10, ge=1)
    x_dim: int = Field(5, ge=0)
    y_dim: int = Field(5, ge=0)
    observed_dim: int = Field(50, ge=1)
    noise_variance: float = Field(0.09, gt=0)
    samples_x: int = Field(100, ge=1)
    samples_y: int = Field(100, ge=1)
    blind: int = Field(3, ge=0)  # directions of theta_c that a deficient modality cannot see
    blind_to_both: int = Field(1, ge=0)  # of these, shared by X and Y
    confounded: int = Field(1, ge=0)  # more directions lost to the modality's own latents
    designs: int = Field(30, ge=1)
    replicates: int = Field(50, ge=1)  # simulated data sets per design (theorem 1)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        missed = 2 * (self.blind + self.confounded) - self.blind_to_both
        if self.blind_to_both > self.blind:
            raise ValueError(f"blind_to_both ({self.blind_to_both}) is above blind ({self.blind})")
        if self.confounded > min(self.x_dim, self.y_dim):
            raise ValueError(f"confounded ({self.confounded}) is above x_dim or y_dim")
        if self.blind - self.blind_to_both + self.confounded < 1:
            raise ValueError("X misses no direction that Y sees: raise blind or confounded")
        if missed >= self.common_dim:
            raise ValueError(
                f"X and Y miss {missed} of the {self.common_dim} common directions:"
                " lower blind or confounded, or raise common_dim"
            )
        if self.observed_dim < self.common_dim + max(self.x_dim, self.y_dim):
            raise ValueError("observed_dim is below the latent dimensions of a modality")
        return self


def inputs(settings: Closed, context: Context) -> dict[str, str]:  # noqa: ARG001
    """Nothing is read from disk."""
    del settings
    return {}


def batch(job: Job) -> str:
    """Every job runs alone."""
    return job.id


def run(jobs: Sequence[Job], context: Context) -> Iterator[tuple[Job, Outcome]]:
    """Test each job's statement on its designs; numpy on the CPU on every device."""
    for job in jobs:
        settings = cast(Settings, job.settings)
        context.say(f"{settings.check} on {settings.designs} {settings.design} designs")
        findings = [CHECKS[settings.check](draw) for draw in draws(settings, job.seed)]
        yield job, Outcome(metrics=summary(findings))


@dataclass(frozen=True)
class Finding:
    """One design: whether the statement holds, and by how much.

    `gap` is the margin of the inequality (negative: broken), `error` the deviation of the closed
    form from the joint matrix, both allowed to reach `rounding` on the wrong side.
    """

    gap: float
    error: float
    rounding: float
    strict: bool = True  # what must hold exactly, beside the two figures
    extra: Mapping[str, float] | None = None

    @property
    def holds(self) -> bool:
        """Whether the design agrees with the statement."""
        return self.strict and self.gap >= -self.rounding and self.error <= self.rounding


def summary(findings: Sequence[Finding]) -> dict[str, float]:
    """A job's metrics: worst gap and error, number of violations, means of the rest."""
    metrics = {
        "violations": float(sum(not finding.holds for finding in findings)),
        "smallest_gap": min(finding.gap for finding in findings),
        "closed_form_error": max(finding.error for finding in findings),
    }
    extras = [finding.extra or {} for finding in findings]
    for name in extras[0]:
        metrics[name] = sum(extra[name] for extra in extras) / len(extras)
    return metrics


@dataclass(frozen=True)
class Draw:
    """One random design: both modalities, their information on theta_c, and the job's streams."""

    settings: Settings
    x: Modality
    y: Modality
    vectors: np.random.Generator
    simulation: np.random.Generator

    @cached_property
    def j_x(self) -> Information:
        """Effective information of one X sample."""
        from umlbench.analysis.fisher import effective_information

        return effective_information(self.x)

    @cached_property
    def j_y(self) -> Information:
        """Effective information of one Y sample."""
        from umlbench.analysis.fisher import effective_information

        return effective_information(self.y)

    @property
    def i_x(self) -> Information:
        """Effective information of all X samples."""
        return self.j_x.times(self.settings.samples_x)

    @property
    def i_y(self) -> Information:
        """Effective information of all Y samples."""
        return self.j_y.times(self.settings.samples_y)

    def direction(self, basis: Array) -> Array:
        """A random unit vector (dim,) in the span of `basis` (dim, k)."""
        import numpy as np

        vector = basis @ self.vectors.standard_normal(basis.shape[1])
        return np.asarray(vector / np.linalg.norm(vector))


def draws(settings: Settings, seed: int) -> Iterator[Draw]:
    """The job's random designs; at one seed all checks draw from the same streams."""
    stream = numpy_stream("design", seed, design=settings.design)
    vectors = numpy_stream("direction", seed, design=settings.design)
    simulation = numpy_stream("simulation", seed, design=settings.design)
    deficient = settings.design == "rank_deficient"
    for _ in range(settings.designs):
        blind_x, blind_y = _blind(stream, settings)
        x_deficient = deficient or settings.check in ABOUT_BLIND_X
        x = modality(stream, settings, settings.x_dim, blind_x if x_deficient else None)
        y = modality(stream, settings, settings.y_dim, blind_y if deficient else None)
        yield Draw(settings, x, y, vectors, simulation)


def _blind(stream: np.random.Generator, settings: Settings) -> tuple[Array, Array]:
    """Orthonormal bases (common, blind) of what X and Y cannot see, overlapping as set."""
    import numpy as np

    total = 2 * settings.blind - settings.blind_to_both
    basis = np.linalg.qr(stream.standard_normal((settings.common_dim, total)))[0]
    return basis[:, : settings.blind], basis[:, total - settings.blind :]


def modality(
    stream: np.random.Generator, settings: Settings, own_dim: int, blind: Array | None
) -> Modality:
    """A random modality; with `blind` (common, k) it is rank-deficient as the module describes."""
    import numpy as np

    from umlbench.analysis.fisher import Modality

    common = stream.standard_normal((settings.observed_dim, settings.common_dim))
    own = stream.standard_normal((settings.observed_dim, own_dim))
    if blind is not None:
        common = common - common @ blind @ blind.T
        mixed = stream.standard_normal((settings.common_dim, settings.confounded))
        own[:, : settings.confounded] = common @ mixed
    return Modality(common, own, settings.noise_variance * np.eye(settings.observed_dim))


def _joint(draw: Draw, n_x: float, n_y: float, y: Modality | None = None) -> Information:
    """The joint matrix of n_x X and n_y Y, every nuisance in it."""
    from umlbench.analysis.fisher import joint_information

    return joint_information(draw.x, y or draw.y, n_x, n_y)


def _joint_variance(joint: Information, direction: Array) -> float:
    """Variance along a direction of theta_c in a joint matrix."""
    import numpy as np

    return joint.variance(np.pad(direction, (0, joint.factor.shape[1] - len(direction))))


def _relative(measured: float, expected: float) -> float:
    """Relative deviation; two infinities agree."""
    return 0.0 if measured == expected else abs(measured / expected - 1.0)


def theorem1(draw: Draw) -> Finding:
    """I_XY >= I_X, jointly and on theta_c, and Var falls along what both modalities identify."""
    from umlbench.analysis.fisher import loewner_gap, shared_range

    n_x, n_y = draw.settings.samples_x, draw.settings.samples_y
    direction = draw.direction(shared_range(draw.j_x, draw.j_y))
    i_xy, joint = draw.i_x + draw.i_y, _joint(draw, n_x, n_y)
    on_common = loewner_gap(i_xy.matrix, draw.i_x.matrix)
    on_all = loewner_gap(joint.matrix, _joint(draw, n_x, 0).matrix)
    before, after = draw.i_x.variance(direction), i_xy.variance(direction)
    return Finding(
        gap=min(on_common, on_all),
        error=_relative(_joint_variance(joint, direction), after),
        rounding=joint.variance_rounding + i_xy.variance_rounding,
        strict=after < before and draw.i_y.along(direction) > 0,
        extra={
            "variance_ratio": after / before,
            "estimator_ratio": squared_error(draw, direction) / after,
        },
    )


def squared_error(draw: Draw, direction: Array) -> float:
    """Mean squared error of generalised least squares along a direction, on simulated data.

    The sample means (sufficient here) of `replicates` data sets are drawn and fitted over all
    latents at once with `numpy.linalg.lstsq`, which takes nothing from the information matrices.
    """
    import numpy as np

    settings, stream = draw.settings, draw.simulation
    x, y = draw.x, draw.y
    gap_x = np.zeros((settings.observed_dim, settings.y_dim))
    gap_y = np.zeros((settings.observed_dim, settings.x_dim))
    design = np.vstack([np.hstack([x.common, x.own, gap_x]), np.hstack([y.common, gap_y, y.own])])
    latents = stream.standard_normal((design.shape[1], settings.replicates))
    samples = np.repeat([settings.samples_x, settings.samples_y], settings.observed_dim)
    deviation = np.sqrt(settings.noise_variance / samples)[:, None]
    means = design @ latents + deviation * stream.standard_normal((len(design), latents.shape[1]))
    fitted = np.linalg.lstsq(design / deviation, means / deviation, rcond=None)[0]
    errors = direction @ (fitted - latents)[: settings.common_dim]
    return float(np.mean(errors**2))


def theorem2(draw: Draw) -> Finding:
    """Null(I_XY) = null(I_X) & null(I_Y): Y reveals what X misses and Y does not.

    `gap` is the least information along an identifiable direction, in units of the largest; the
    error is the distance of the projectors onto both sides. Finite and infinite variances are read
    from the joint matrix.
    """
    import numpy as np

    from umlbench.analysis.fisher import shared_null

    settings = draw.settings
    both = shared_null(draw.j_x, draw.j_y)
    joint = _joint(draw, settings.samples_x, settings.samples_y)
    i_xy = draw.i_x + draw.i_y
    revealed = draw.j_x.null.shape[1] - both.shape[1]
    identified = sum(np.isfinite(_joint_variance(joint, v)) for v in i_xy.range.T)
    hidden = sum(np.isinf(_joint_variance(joint, v)) for v in both.T)
    values = np.linalg.eigvalsh(i_xy.matrix)
    return Finding(
        gap=float(values[-i_xy.rank] / values[-1]),
        error=float(np.linalg.norm(i_xy.null @ i_xy.null.T - both @ both.T, 2)),
        rounding=i_xy.variance_rounding + draw.j_x.variance_rounding + draw.j_y.variance_rounding,
        strict=revealed > 0 and identified == i_xy.rank and hidden == both.shape[1],
        extra={"newly_identified": revealed / draw.j_x.null.shape[1]},
    )


def theorem3(draw: Draw) -> Finding:
    """Along some direction one more Y is worth more than one more X.

    `gap` says so of the information on all of theta_c. On the directions that X identifies, the
    variance must agree: such a direction exists if and only if J_y - J_x has a positive eigenvalue
    there, and a Y that is a quarter of X everywhere has none.
    """
    from umlbench.analysis.fisher import best_exchange, restrict, surplus

    n_x = draw.settings.samples_x
    ratio, direction = best_exchange(draw.i_x, draw.j_x, draw.j_y)
    plus_y, plus_x = _joint(draw, n_x, 1), _joint(draw, n_x + 1, 0)
    measured = _joint_variance(plus_y, direction) / _joint_variance(plus_x, direction)
    basis = draw.j_x.range
    on_range = surplus(restrict(draw.j_x, basis), restrict(draw.j_y, basis))
    weaker = best_exchange(draw.i_x, draw.j_x, draw.j_x.times(0.25))[0]
    return Finding(
        gap=surplus(draw.j_x, draw.j_y),
        error=_relative(measured, ratio),
        rounding=plus_y.variance_rounding + plus_x.variance_rounding,
        strict=(ratio < 1.0) == (on_range > 0.0) and weaker > 1.0,
        extra={"variance_ratio": ratio, "exchange_share": float(ratio < 1.0)},
    )


def corollary1(draw: Draw) -> Finding:
    """Closed forms of Var_XY / Var_X: Y one number per sample, and Y proportional to X."""
    import numpy as np

    from umlbench.analysis.fisher import Modality, proportional_ratio, rank_one_ratio

    n_x, n_y = draw.settings.samples_x, draw.settings.samples_y
    variance, rho = draw.settings.noise_variance, 0.25
    direction = draw.direction(draw.j_x.range)
    before = draw.i_x.variance(direction)
    seen = draw.direction(draw.j_x.range)
    anywhere = draw.direction(np.eye(len(seen)))
    expected, measured, rounding = [], [], 0.0
    for b in (seen, anywhere):
        scalar = Modality(b[None, :], np.zeros((1, 0)), np.array([[variance]]))
        expected.append(rank_one_ratio(draw.i_x, b * np.sqrt(n_y / variance), direction))
        joint = _joint(draw, n_x, n_y, scalar)
        measured.append(_joint_variance(joint, direction) / before)
        rounding = max(rounding, joint.variance_rounding)
    proportional = Modality(np.sqrt(rho) * draw.x.common, draw.x.own, draw.x.noise)
    expected.append(proportional_ratio(n_x, n_y, rho))
    joint = _joint(draw, n_x, n_y, proportional)
    measured.append(_joint_variance(joint, direction) / before)
    return Finding(
        gap=1.0 - max(measured),
        error=max(map(_relative, measured, expected)),
        rounding=max(rounding, joint.variance_rounding) + draw.i_x.variance_rounding,
        extra={"variance_ratio": measured[0]},
    )


def corollary2(draw: Draw) -> Finding:
    """A direction X is blind to: from infinite variance to a closed form between two bounds."""
    import numpy as np

    from umlbench.analysis.fisher import blind_bounds, blind_variance, shared_null

    settings = draw.settings
    both = shared_null(draw.j_x, draw.j_y)
    inside = draw.j_x.null - both @ (both.T @ draw.j_x.null)
    direction = draw.direction(inside)
    joint = _joint(draw, settings.samples_x, settings.samples_y)
    measured = _joint_variance(joint, direction)
    expected = blind_variance(draw.i_x, draw.i_y, direction)
    lower, upper = blind_bounds(draw.i_y, direction)
    rounding = joint.variance_rounding + (draw.i_x + draw.i_y).variance_rounding
    return Finding(
        gap=min(1.0 - lower / measured, 1.0 - measured / upper),
        error=_relative(measured, expected),
        rounding=rounding,
        strict=bool(np.isinf(draw.i_x.variance(direction)) and np.isfinite(measured)),
    )


def corollary3(draw: Draw) -> Finding:
    """Break-even: n_x + m samples of X alone match n_x X and n_y Y; the rate falls with n_y."""
    from umlbench.analysis.fisher import break_even, marginal_rate

    n_x, n_y = draw.settings.samples_x, draw.settings.samples_y
    direction = draw.direction(draw.j_x.range)
    both = draw.i_x + draw.i_y
    more = break_even(n_x, draw.i_x.variance(direction), both.variance(direction))
    with_y, with_x = _joint(draw, n_x, n_y), _joint(draw, n_x + more, 0)
    first = marginal_rate(draw.j_x, draw.j_y, direction)
    return Finding(
        gap=1.0 - more / n_y / first,
        error=_relative(_joint_variance(with_y, direction), _joint_variance(with_x, direction)),
        rounding=with_y.variance_rounding + with_x.variance_rounding,
        strict=more > 0,
        extra={"exchange_rate": more / n_y},
    )


CHECKS: Mapping[str, Callable[[Draw], Finding]] = {
    "theorem1": theorem1,
    "theorem2": theorem2,
    "theorem3": theorem3,
    "corollary1": corollary1,
    "corollary2": corollary2,
    "corollary3": corollary3,
}
