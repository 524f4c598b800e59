"""Second derivatives of all classes' objectives: rows taken out of them, and linear systems with them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.errors import DataError

Matrix = npt.NDArray[np.float64]

STRANGERS = "Some of these rows cannot have been part of the fit; give rows exactly as they were fitted."

_MOST_DIRECTIONS = 8
_SOLVED = 1e-9
"""What may be left of a linear system, relative to its right side, before the matrix is inverted again."""


def inverses(matrices: Matrix) -> Matrix:
    """Inverse of each of several positive definite matrices ``(C, P, P)``."""
    from scipy.linalg import cho_factor, cho_solve

    identity = np.eye(matrices.shape[1])
    return np.stack([cho_solve(cho_factor(matrix, lower=True), identity) for matrix in matrices])


def times_each(matrices: Matrix, vectors: Matrix) -> Matrix:
    """Product of each matrix ``(C, P, P)`` with its vector ``(C, P)``."""
    product: Matrix = np.matmul(matrices, vectors[..., None])[..., 0]
    return product


def without_rows(hessian: Matrix, rows: Matrix, curvature: Matrix) -> Matrix:
    """Hessians ``(C, P, P)`` without rows ``(M, P)`` of some curvature ``(M, C)``."""
    less = np.empty_like(hessian)
    for index, roots in enumerate(np.sqrt(curvature).T):
        scaled = rows * roots[:, None]
        np.subtract(hessian[index], scaled.T @ scaled, out=less[index])
    return less


def solved(hessian: Matrix, pull: Matrix, step: Matrix, inverse: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """The solution of ``hessian step = pull``, what is left of it, and the inverse that served.

    The inverse of the rows before serves, with conjugate gradients, until too many are gone.
    """
    enough = _SOLVED * float(np.linalg.norm(pull))
    found = _descended(hessian, pull, step, inverse, enough)
    if float(np.linalg.norm(rest := pull - times_each(hessian, found))) > enough:
        inverse = _inverses_of_rest(hessian)
        found = _descended(hessian, pull, step, inverse, enough)
        rest = pull - times_each(hessian, found)
    return found, rest, inverse


def _descended(hessian: Matrix, pull: Matrix, step: Matrix, inverse: Matrix, enough: float) -> Matrix:
    """A step nearer to ``hessian step = pull``, by conjugate gradients that the inverse guides."""
    rest = pull - times_each(hessian, step)
    direction, before = np.zeros_like(rest), np.ones((len(rest), 1))
    for _ in range(_MOST_DIRECTIONS):
        if float(np.linalg.norm(rest)) <= enough:
            break
        guided = times_each(inverse, rest)
        now = (guided * rest).sum(1, keepdims=True)
        direction = guided + now / before * direction
        ahead = times_each(hessian, direction)
        steepness = (direction * ahead).sum(1, keepdims=True)
        length = np.divide(now, steepness, out=np.zeros_like(now), where=steepness > 0)
        step, rest, before = step + length * direction, rest - length * ahead, np.where(now > 0, now, 1.0)
    return step


def _inverses_of_rest(hessian: Matrix) -> Matrix:
    """Inverses of Hessians from which rows were taken out."""
    try:
        return inverses(hessian)
    except np.linalg.LinAlgError:
        raise DataError(STRANGERS) from None
