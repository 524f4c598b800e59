"""Positive definite systems, solved with the same bits whatever the number of cores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.heads.sums import UNIT
from natmu.heads.threads import one_thread

Matrix = npt.NDArray[np.float64]


def factor_of(matrix: Matrix) -> Matrix | None:
    """The Cholesky factor of a symmetric matrix; None where it is not positive definite to rounding."""
    from scipy.linalg import lapack

    with one_thread():
        factor, failed = lapack.dpotrf(matrix.T)
    return None if failed else factor


def solved(factor: Matrix, right: Matrix) -> Matrix:
    """The solution of the system, given the factor of its matrix."""
    from scipy.linalg import lapack

    with one_thread():
        solution, failed = lapack.dpotrs(factor, right)
    assert not failed
    return np.asarray(solution)


def condition_of(matrix: Matrix, factor: Matrix) -> float:
    """LAPACK's estimate of the condition number in the 1-norm; it is never above the true one."""
    from scipy.linalg import lapack

    with one_thread():
        reciprocal, failed = lapack.dpocon(factor, np.linalg.norm(matrix, 1))
    assert not failed
    return 1 / reciprocal if reciprocal else np.inf


def least_eigenvalue(matrix: Matrix, factor: Matrix) -> float:
    """A lower bound on the least eigenvalue, that holds; 0 where this finds none.

    The estimate of the condition number only says where to look. That a factorisation of the matrix less ``s`` times
    the identity does not fail proves that no eigenvalue is below ``s`` less its backward error, at most ``(P + 1)
    UNIT`` times the trace (Higham 2002, theorem 10.3; Rump, Verification of positive definiteness, 2006).
    """
    shift = float(np.linalg.norm(matrix, 1)) / condition_of(matrix, factor) / 2
    shifted = matrix.copy()
    np.fill_diagonal(shifted, matrix.diagonal() - shift)
    if factor_of(shifted) is None:
        return 0.0
    return max(0.0, shift - (len(matrix) + 2) * UNIT * float(matrix.trace()))


def residual_bound(matrix: Matrix, solution: Matrix, right: Matrix) -> float:
    """A bound on the Frobenius norm of what a solution leaves: what is computed, and how far that may be off.

    A product of ``P`` terms and two more operations, one of them on the diagonal of the matrix before.
    """
    with one_thread():
        left = float(np.linalg.norm(right - matrix @ solution))
        magnitude = float(np.linalg.norm(np.abs(matrix) @ np.abs(solution) + np.abs(right)))
    return left + (len(matrix) + 2) * UNIT * magnitude
