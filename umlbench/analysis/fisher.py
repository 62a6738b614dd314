"""Fisher information of two unpaired linear Gaussian modalities (section 3 of the paper).

    X_i = A_c theta_c + A_x theta_x + eps,  eps ~ N(0, Sigma_x),  i = 1 .. n_x
    Y_j = B_c theta_c + B_y theta_y + eps,  eps ~ N(0, Sigma_y),  j = 1 .. n_y

theta_c is shared; theta_x and theta_y are nuisances. The samples are independent, so information
adds up. Let C = L^-1 A_c and O = L^-1 A_x with Sigma_x = L L'. One sample of X informs of theta_c,
once theta_x is eliminated, by the Schur complement of the joint matrix, the **effective**
information

    J_x = C'C - C'O (O'O)^+ O'C = C' (I - P_O) C,      P_O the projector onto the range of O.

The nuisances of X and Y are disjoint, hence the effective information of both data sets is
n_x J_x + n_y J_y. The variance of a direction v means the least variance of an unbiased linear
estimate of v' theta_c: v' I^+ v where v lies in the range of I, infinite elsewhere.

The theorems are the paper's in substance. The paper's own wording of the corollaries was not at
hand: every closed form below is derived here, and its docstring says how.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh, solve_triangular

from umlbench.errors import UserError

Array: TypeAlias = npt.NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Modality:
    """One linear Gaussian modality.

    `common` (observed, common) and `own` (observed, own; zero columns: no nuisance) are its
    projections, `noise` (observed, observed) the covariance of one sample's noise.
    """

    common: Array
    own: Array
    noise: Array

    @cached_property
    def whitened(self) -> tuple[Array, Array]:
        """Both projections in units of the noise: L^-1 common and L^-1 own, noise = L L'.

        Raises `UserError` where the noise covariance is not positive definite.
        """
        try:
            root = np.linalg.cholesky(self.noise)
        except np.linalg.LinAlgError as error:
            raise UserError(
                "the noise covariance of a modality is not positive definite",
                "give every observed coordinate a noise variance above 0",
            ) from error
        both = solve_triangular(root, np.hstack([self.common, self.own]), lower=True)
        return both[:, : self.common.shape[1]], both[:, self.common.shape[1] :]


@dataclass(frozen=True, eq=False)
class Information:
    """A Fisher information F'F held by its factor F (rows, dim), positive semi-definite by form.

    `rounding` bounds the error of F in the spectral norm. A singular value of F at or below it
    cannot be told from zero, and counts as zero.
    """

    factor: Array
    rounding: float

    @cached_property
    def matrix(self) -> Array:
        """The information matrix F'F, (dim, dim)."""
        return np.asarray(self.factor.T @ self.factor)

    @cached_property
    def _svd(self) -> tuple[Array, Array]:
        """Singular values of F (padded with zeros to dim) and right singular vectors as columns."""
        _, values, right = np.linalg.svd(_compact(self.factor), full_matrices=True)
        padded = np.zeros(self.factor.shape[1])
        padded[: len(values)] = values
        return padded, right.T

    @property
    def rank(self) -> int:
        """How many independent directions are identifiable."""
        return int(np.count_nonzero(self._svd[0] > self.rounding))

    @property
    def range(self) -> Array:
        """Orthonormal basis of the identifiable directions, (dim, rank)."""
        return self._svd[1][:, : self.rank]

    @property
    def null(self) -> Array:
        """Orthonormal basis of the directions the data say nothing about, (dim, dim - rank)."""
        return self._svd[1][:, self.rank :]

    @property
    def subspace_rounding(self) -> float:
        """Bound of the angle (rad) by which rounding turns `range`: rounding over the spectral gap.

        The gap is the smallest singular value that is not zero (Wedin's theorem).
        """
        gap = float(self._svd[0][self.rank - 1]) if self.rank else float("inf")
        return float(self.factor.shape[1] * EPS + self.rounding / gap)

    @property
    def variance_rounding(self) -> float:
        """First-order bound of the relative error of `variance`.

        With u = I^+ v an error E of F moves v'I^+v by 2 u'F'E u <= 2 |E| v'I^+v / sigma_rank.
        """
        return 2.0 * self.subspace_rounding

    def along(self, direction: Array) -> float:
        """Information along a direction (dim,): v' I v."""
        return float(np.sum((self.factor @ direction) ** 2))

    def identifies(self, direction: Array) -> bool:
        """Whether a direction (dim,) lies in the range, up to `subspace_rounding`."""
        outside = float(np.linalg.norm(self.null.T @ direction))
        return outside <= self.subspace_rounding * float(np.linalg.norm(direction))

    def variance(self, direction: Array) -> float:
        """Least variance of an unbiased estimate along a direction (dim,); `inf` outside the range.

        The Cramer-Rao bound v' I^+ v, which generalised least squares attains in this model.
        """
        if not self.identifies(direction):
            return float("inf")
        return float(np.sum((self.range.T @ direction / self._svd[0][: self.rank]) ** 2))

    def covariance(self) -> Array:
        """The pseudo-inverse I^+, (dim, dim)."""
        half = self.range / self._svd[0][: self.rank]
        return np.asarray(half @ half.T)

    def times(self, samples: float) -> Information:
        """The information of `samples` independent samples (any number >= 0)."""
        root = float(np.sqrt(samples))
        return Information(root * self.factor, root * self.rounding)

    def __add__(self, other: Information) -> Information:
        factor = np.vstack([self.factor, other.factor])
        return Information(factor, self.rounding + other.rounding)


def _rounding(factor: Array) -> float:
    """Bound of the spectral-norm error of a product or factorisation of a matrix."""
    return float(max(factor.shape) * EPS * np.linalg.norm(factor))


def _compact(factor: Array) -> Array:
    """A factor of the same F'F in at most dim rows (the R of F = QR)."""
    rows, columns = factor.shape
    return factor if rows <= columns else np.asarray(np.linalg.qr(factor, mode="r"), np.float64)


def effective(kept: Array, nuisance: Array, known_to: float = 0.0) -> Information:
    """Information on `kept`'s columns once the columns of `nuisance` are eliminated.

    kept (rows, dim) and nuisance (rows, k) are whitened. The factor (I - P) kept has the Schur
    complement of the joint matrix as its square; a nuisance of deficient rank is allowed.
    `known_to` bounds the error that the columns came with. Beside it `rounding` counts the
    projector, which enters twice and is off by the nuisance's condition number, and its two
    products.
    """
    unit = max(_rounding(kept), nuisance.shape[1] * EPS * float(np.linalg.norm(kept)), known_to)
    rounding = unit
    if nuisance.shape[1]:
        left, values, _ = np.linalg.svd(nuisance, full_matrices=False)
        used = values > max(_rounding(nuisance), known_to)
        if used.any():
            basis = left[:, used]
            kept = kept - basis @ (basis.T @ kept)
            rounding = unit * (3.0 + 2.0 * float(values[0] / values[used][-1]))
    return Information(_compact(kept), rounding)


def effective_information(modality: Modality) -> Information:
    """J of the module docstring: what one sample says about theta_c, (common, common)."""
    return effective(*modality.whitened)


def joint_information(x: Modality, y: Modality, n_x: float, n_y: float) -> Information:
    """Information of n_x X and n_y Y on (theta_c, theta_x, theta_y) together; n_y = 0: X alone."""
    (x_common, x_own), (y_common, y_own) = x.whitened, y.whitened
    rows_x = [x_common, x_own, np.zeros((len(x_own), y_own.shape[1]))]
    rows_y = [y_common, np.zeros((len(y_own), x_own.shape[1])), y_own]
    factor = np.vstack([np.sqrt(n_x) * np.hstack(rows_x), np.sqrt(n_y) * np.hstack(rows_y)])
    return Information(factor, _rounding(factor))


def loewner_gap(larger: Array, smaller: Array) -> float:
    """Smallest eigenvalue of larger - smaller (dim, dim), in units of larger's largest one.

    Theorem 1 in one figure: below zero by more than rounding, larger >= smaller is false.
    """
    scale = float(np.linalg.eigvalsh(larger)[-1])
    return float(np.linalg.eigvalsh(larger - smaller)[0]) / scale if scale else 0.0


def shared_range(x: Information, y: Information) -> Array:
    """Orthonormal basis (dim, k) of the directions that X and Y each identify alone.

    Along these the fall of the variance is strict (theorem 1): with v = I_Y w and u = I_X^+ v,
    Y leaves the variance as it is only if I_Y u = 0; then 0 = w'I_Y u = v'I_X^+ v and v = 0.
    v'I_Y v > 0 alone does not suffice: it makes the information along v grow, not the variance
    fall.
    """
    return _complement(np.hstack([x.null, y.null]), x.subspace_rounding + y.subspace_rounding)


def shared_null(x: Information, y: Information) -> Array:
    """Orthonormal basis (dim, k) of the directions that neither X nor Y identifies.

    For positive semi-definite matrices null(I_X + I_Y) = null(I_X) & null(I_Y) (theorem 2).
    """
    return _complement(np.hstack([x.range, y.range]), x.subspace_rounding + y.subspace_rounding)


def _complement(spanning: Array, angle: float) -> Array:
    """Orthonormal basis of the orthogonal complement of the columns' span."""
    left, values, _ = np.linalg.svd(spanning, full_matrices=True)
    return left[:, int(np.count_nonzero(values > angle)) :]


def restrict(information: Information, basis: Array) -> Information:
    """Information on the coordinates of an orthonormal `basis` (dim, k), the rest unknown.

    The directions orthogonal to `basis` are eliminated like a nuisance.
    """
    rest = _complement(basis, max(basis.shape) * EPS)
    factor = information.factor
    return effective(factor @ basis, factor @ rest, known_to=information.rounding)


def best_exchange(base: Information, j_x: Information, j_y: Information) -> tuple[float, Array]:
    """Least variance ratio (`base` and one Y) / (`base` and one X), and its direction (dim,).

    Theorem 3: a ratio below 1 is a direction along which one Y is worth more than one X. On the
    range of I_X = base + J_x, (base + J_y)^-1 < (base + J_x)^-1 along some direction if and only
    if J_y - J_x has a positive eigenvalue there (inversion reverses the Loewner order), X's blind
    directions eliminated from J_y. In those no number of X helps: Y is worth more without bound.
    """
    plus_x, plus_y = base + j_x, base + j_y
    basis = plus_x.range
    ratios, directions = eigh(
        basis.T @ plus_y.covariance() @ basis, basis.T @ plus_x.covariance() @ basis
    )
    direction = basis @ directions[:, 0]
    return float(ratios[0]), direction / np.linalg.norm(direction)


def surplus(j_x: Information, j_y: Information) -> float:
    """Largest eigenvalue of J_y - J_x (dim, dim), in units of J_x's largest one.

    Positive: some v has v'J_y v > v'J_x v (theorem 3 in terms of information).
    """
    return -loewner_gap(j_x.matrix, j_y.matrix)


def proportional_ratio(n_x: float, n_y: float, rho: float) -> float:
    """Var_XY(v) / Var_X(v) = n_x / (n_x + rho n_y) where J_y = rho J_x (corollary 1).

    Derived here: I_XY = (n_x + rho n_y) J_x. It holds for every identifiable v and any rank of J_x;
    the isotropic case J_x = a I, J_y = rho a I is one of these.
    """
    return n_x / (n_x + rho * n_y)


def rank_one_ratio(x: Information, measured: Array, direction: Array) -> float:
    """Var_XY(v) / Var_X(v) where Y adds I_Y = b b' with b = `measured` (corollary 1).

    Derived here (Sherman and Morrison) for v in the range of I_X:
    1 - (b'I_X^+ v)^2 / ((1 + b'I_X^+ b) v'I_X^+ v) for b in the range of I_X. It is 1 for any other
    b: what X cannot see is then a free nuisance of the one new equation. For I_Y of any rank the
    variance is `(x + y).variance`.
    """
    if not x.identifies(measured):
        return 1.0
    covariance = x.covariance()
    seen = float(measured @ covariance @ direction) ** 2
    return 1.0 - seen / ((1.0 + x.variance(measured)) * x.variance(direction))


def blind_variance(x: Information, y: Information, direction: Array) -> float:
    """Var_XY(v) of a direction v (dim,) in the null space N of I_X: Var_X = inf (corollary 2).

    Derived here by blocks, R the range of I_X: a'(S^+)a with a = N'v and
    S = N'I_Y N - N'I_Y R (R'(I_X + I_Y)R)^-1 R'I_Y N; `inf` where a is outside the range of S.
    """
    return restrict(x + y, x.null).variance(x.null.T @ direction)


def blind_bounds(y: Information, direction: Array) -> tuple[float, float]:
    """Bounds of `blind_variance` that need no X: |v|^4 / v'I_Y v and v'I_Y^+ v (corollary 2).

    Derived here. Lower: Cauchy and Schwarz with v'I_XY v = v'I_Y v; exact as n_x grows if v spans
    the null space of I_X. Upper: I_XY >= I_Y; `inf` where Y alone does not identify v.
    """
    information = y.along(direction)
    lower = float(direction @ direction) ** 2 / information if information else float("inf")
    return lower, y.variance(direction)


def break_even(n_x: float, variance_x: float, variance_xy: float) -> float:
    """How many more X would lower the variance along v as the Y did (corollary 3).

    Derived here: n samples of X alone give v'J_x^+ v / n, hence m = n_x (Var_X / Var_XY - 1) for v
    in the range of J_x. m / n_y is the average exchange rate of the n_y samples of Y.
    """
    return n_x * (variance_x / variance_xy - 1.0)


def marginal_rate(j_x: Information, j_y: Information, direction: Array) -> float:
    """What the first Y is worth in X along v (dim,), a bound of the average rate (corollary 3).

    Derived here: the slope of `break_even` in n_y at 0 is w'J_y w / w'J_x w with w = J_x^+ v, J_y
    restricted to the range of J_x. 1 / v'I^-1 v = min over w'v = 1 of w'I w is concave in I, so
    later samples are worth less.
    """
    basis = j_x.range
    weights = basis.T @ j_x.covariance() @ direction
    return restrict(j_y, basis).along(weights) / restrict(j_x, basis).along(weights)
