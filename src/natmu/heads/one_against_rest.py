"""The objective of a logistic head, one class against the rest, and its minimum by Newton's method.

For each class ``c``, with labels ``y`` of +1 in the class and -1 outside it::

    L_c(w) = sum_i log(1 + exp(-y_i w.x_i)) + l2 / 2 |w|^2 + b_c.w

``b``, the perturbation, is drawn once. ``l2`` stands beside a sum, so that it is the same however many rows are left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natmu.errors import TrainingError
from natmu.types import IntArray

Matrix = npt.NDArray[np.float64]

_BLOCK = 1024
_PART, _ENOUGH = 16, 12
"""The first Newton steps take one row in 16 for the Hessian, or so many that there are 12 for each feature."""
_NEAR = 0.01
"""Newton decrement from which on one Hessian serves for all further steps."""
_MOST_STEPS = 200


@dataclass(frozen=True)
class Minimum:
    """Where the gradient is almost 0.

    Attributes:
        weights: ``(C, P)``.
        anchor: ``(C, P)``, where the Hessian was taken.
        hessian: ``(C, P, P)`` at the anchor.
        inverse: ``(C, P, P)``, its inverse.
        residual: Norm of the gradient that is left at the weights, by class ``(C,)``.
    """

    weights: Matrix
    anchor: Matrix
    hessian: Matrix
    inverse: Matrix
    residual: Matrix


def slopes(margins: Matrix, labels: IntArray) -> Matrix:
    """Derivative of each row's loss by its margin: ``(N, C)``, the probability less 1 in the row's own class."""
    from scipy.special import expit

    slope: Matrix = expit(margins)
    slope[np.arange(len(labels)), labels] -= 1
    return slope


def curvatures(margins: Matrix) -> Matrix:
    """Second derivative of each row's loss by its margin ``(N, C)``; it does not depend on the label."""
    from scipy.special import expit

    chance: Matrix = expit(margins)
    return chance * (1 - chance)


def objective(margins: Matrix, weights: Matrix, labels: IntArray, l2: float, perturbation: Matrix) -> Matrix:
    """Objective of each class ``(C,)`` at weights ``(C, P)`` that give rows these margins ``(N, C)``."""
    losses = np.logaddexp(0, margins).sum(0)
    losses -= np.bincount(labels, margins[np.arange(len(labels)), labels], margins.shape[1])
    return losses + ((l2 / 2 * weights + perturbation) * weights).sum(1)


def gradient(weights: Matrix, rows: Matrix, labels: IntArray, l2: float, perturbation: Matrix) -> Matrix:
    """Gradient of all classes' objectives ``(C, P)``."""
    total = l2 * weights + perturbation
    for block in _blocks(len(rows)):
        total += slopes(rows[block] @ weights.T, labels[block]).T @ rows[block]
    return total


def hessian(weights: Matrix, rows: Matrix, l2: float, *, times: float = 1.0) -> Matrix:
    """Second derivative of each class's objective ``(C, P, P)``, its sum over rows taken ``times`` times."""
    classes, width = weights.shape
    total, scaled = np.zeros((classes, width, width)), np.empty((_BLOCK, width))
    for block in _blocks(len(rows)):
        roots = np.sqrt(times * curvatures(rows[block] @ weights.T))
        for index in range(classes):
            np.multiply(rows[block], roots[:, index, None], out=scaled[: len(roots)])
            total[index] += scaled[: len(roots)].T @ scaled[: len(roots)]
    total[:, np.arange(width), np.arange(width)] += l2
    return total


def inverses(matrices: Matrix) -> Matrix:
    """Inverse of each of several positive definite matrices ``(C, P, P)``."""
    from scipy.linalg import cho_factor, cho_solve

    identity = np.eye(matrices.shape[1])
    return np.stack([cho_solve(cho_factor(matrix, lower=True), identity) for matrix in matrices])


def times_each(matrices: Matrix, vectors: Matrix) -> Matrix:
    """Product of each matrix ``(C, P, P)`` with its vector ``(C, P)``."""
    product: Matrix = np.matmul(matrices, vectors[..., None])[..., 0]
    return product


def minimum(rows: Matrix, labels: IntArray, l2: float, perturbation: Matrix, *, goal: float) -> Minimum:
    """The minimum of all classes' objectives.

    Steps with a Hessian of a part of the rows lead near it; from there on one Hessian of all rows, taken once, serves
    for the steps that are left.

    Args:
        rows: ``(N, P)``, none longer than 1.
        labels: ``(N,)``.
        l2: Weight of half the squared norm.
        perturbation: ``(C, P)``.
        goal: Norm of all classes' gradients together at which to stop.

    Raises:
        TrainingError: It was not reached.
    """
    part = rows[:: max(1, min(_PART, len(rows) // (_ENOUGH * rows.shape[1])))]
    weights = np.zeros_like(perturbation)
    downhill = gradient(weights, rows, labels, l2, perturbation)
    decrement, inverse = math.inf, np.empty(0)
    for _ in range(_MOST_STEPS):
        if decrement > 1:
            inverse = inverses(hessian(weights, part, l2, times=len(rows) / len(part)))
        steps = times_each(inverse, downhill)
        decrement = math.sqrt(float((steps * downhill).sum(1).max()))
        if decrement <= _NEAR:
            break
        lengths = _lengths(weights, steps, downhill, rows, labels, l2, perturbation) if decrement > 1 else 1.0
        weights = weights - lengths * steps
        downhill = gradient(weights, rows, labels, l2, perturbation)
    return _finished(weights, downhill, rows, labels, l2, perturbation, goal)


def _finished(
    weights: Matrix, downhill: Matrix, rows: Matrix, labels: IntArray, l2: float, perturbation: Matrix, goal: float
) -> Minimum:
    """The minimum from weights that are near it, and their gradient."""
    anchor, before = weights, 0.0
    curved = inverse = np.empty(0)
    for _ in range(_MOST_STEPS):
        residual = np.linalg.norm(downhill, axis=1)
        size = float(np.linalg.norm(residual))
        if not curved.size or (size > goal and size > before / 2):
            anchor, curved = weights, hessian(weights, rows, l2)
            inverse = inverses(curved)
        if size <= goal:
            return Minimum(weights, anchor, curved, inverse, residual)
        before = size
        weights = weights - times_each(inverse, downhill)
        downhill = gradient(weights, rows, labels, l2, perturbation)
    raise TrainingError(
        f"The logistic head did not reach its minimum: {size:.2g} of its gradient is left, which may be at most "
        f"{goal:.2g}; raise l2 or the noise."
    )


def _lengths(
    weights: Matrix, steps: Matrix, downhill: Matrix, rows: Matrix, labels: IntArray, l2: float, perturbation: Matrix
) -> Matrix:
    """How much of its step each class takes ``(C, 1)``: all of it where that lowers the objective, else what must.

    Along a step ``d`` the logarithm of a row's curvature changes by at most ``s = max |x.d|`` for each unit of length
    ``t``, so that the objective falls by at least ``q (t - (exp(t s) - 1 - t s) / s^2)`` with ``q = d.Hd``; that is
    largest at ``t = log(1 + s) / s``.
    """
    moved = rows @ steps.T
    largest = np.abs(moved).max(axis=0)
    margins = rows @ weights.T
    fall = objective(margins, weights, labels, l2, perturbation) - objective(
        margins - moved, weights - steps, labels, l2, perturbation
    )
    safe = np.divide(np.log1p(largest), largest, out=np.ones_like(largest), where=largest > 0)
    return np.where(fall >= (steps * downhill).sum(1) / 4, 1.0, safe)[:, None]


def _blocks(count: int) -> Iterator[slice]:
    """Slices over so many rows that fit into the processor's cache."""
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))
