"""The objective of a logistic head, one class against the rest, and its minimum by Newton's method.

For each class ``c``, with labels ``y`` of +1 in the class and -1 outside it::

    L_c(w) = sum_i log(1 + exp(-y_i w.x_i)) + l2 / 2 |w|^2 + b_c.w

``b``, the perturbation, is drawn once. ``l2`` stands beside a sum, so that it is the same however many rows are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from natmu.errors import TrainingError
from natmu.heads.hessians import Matrix, descended, inverses, times_each
from natmu.heads.threads import side_by_side
from natmu.types import IntArray

_BLOCK = 1024
_PART, _ENOUGH = 16, 12
"""The Hessian that guides the first Newton steps takes one row in 16, or so many that there are 12 for each feature."""
_MOST_DIRECTIONS, _SOLVED, _GUIDED = 30, 0.1, 6
"""Directions of a Newton step, what it may leave of the gradient, and directions after which the guide is renewed."""
_NEAR = 0.05
"""Newton decrement from which on one Hessian serves for all further steps."""
_SHORT = 0.5
"""Length up to which a Newton step is taken as it is: no margin changes by more."""
_MOST_PARTIAL, _MOST_STEPS = 30, 200
"""Steps with a Hessian of a part, and all steps."""


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
    losses: Matrix = np.logaddexp(0, margins).sum(0)
    losses -= np.bincount(labels, margins[np.arange(len(labels)), labels], margins.shape[1])
    ridge: Matrix = ((l2 / 2 * weights + perturbation) * weights).sum(1)
    return losses + ridge


def gradient(weights: Matrix, rows: Matrix, labels: IntArray, l2: float, perturbation: Matrix) -> Matrix:
    """Gradient of all classes' objectives ``(C, P)``."""

    def of_block(block: slice) -> Matrix:
        part: Matrix = slopes(rows[block] @ weights.T, labels[block]).T @ rows[block]
        return part

    total: Matrix = sum(side_by_side(of_block, _blocks(len(rows))), l2 * weights + perturbation)
    return total


def hessian(weights: Matrix, rows: Matrix, l2: float, *, times: float = 1.0) -> Matrix:
    """Second derivative of each class's objective ``(C, P, P)``, its sum over rows taken ``times`` times."""
    classes, width = weights.shape

    def of_class(index: int) -> Matrix:
        total, scaled = np.zeros((width, width)), np.empty((_BLOCK, width))
        for block in _blocks(len(rows)):
            roots = np.sqrt(times * curvatures(rows[block] @ weights[index]))
            np.multiply(rows[block], roots[:, None], out=scaled[: len(roots)])
            total += scaled[: len(roots)].T @ scaled[: len(roots)]
        total[np.arange(width), np.arange(width)] += l2
        return total

    return np.stack(side_by_side(of_class, range(classes)))


def minimum(rows: Matrix, labels: IntArray, l2: float, perturbation: Matrix, *, goal: float) -> Minimum:
    """The minimum of all classes' objectives.

    Newton steps by conjugate gradients lead near it: they only multiply vectors by the Hessian, and the Hessian of a
    part of the rows guides them. From there on one Hessian of all rows, taken once, serves for the steps that are left.

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
    anchor, curved, inverse = weights, np.empty(0), np.empty(0)
    whole, stale, decrement, size = False, True, math.inf, math.inf
    for count in range(_MOST_STEPS):
        downhill = gradient(weights, rows, labels, l2, perturbation)
        residual = np.linalg.norm(downhill, axis=1)
        before, size = size, float(np.linalg.norm(residual))
        if not whole and (decrement <= _NEAR or count == _MOST_PARTIAL):
            whole = stale = True
        if stale or (whole and goal < size > before / 2):
            used = rows if whole else part
            anchor, curved = weights, hessian(weights, used, l2, times=len(rows) / len(used))
            inverse = inverses(curved)
        if whole and size <= goal:
            return Minimum(weights, anchor, curved, inverse, residual)
        stale = False
        if whole:
            steps = times_each(inverse, downhill)
        else:
            steps, directions = _newton_step(weights, rows, l2, downhill, inverse)
            stale = directions > _GUIDED
        decrement = math.sqrt(float((steps * downhill).sum(1).max()))
        if np.linalg.norm(steps, axis=1).max() > _SHORT:
            steps *= _lengths(weights, steps, downhill, rows, labels, l2, perturbation)
        weights = weights - steps
    raise TrainingError(
        f"The logistic head did not reach its minimum: {size:.2g} of its gradient is left, and the most allowed is "
        f"{goal:.2g}; raise l2."
    )


def _newton_step(weights: Matrix, rows: Matrix, l2: float, downhill: Matrix, guide: Matrix) -> tuple[Matrix, int]:
    """The Newton step of all classes ``(C, P)``, nearly, and the number of directions that it took."""
    blocks = _blocks(len(rows))
    curvature: Matrix = np.concatenate(side_by_side(lambda block: curvatures(rows[block] @ weights.T), blocks))

    def product(vectors: Matrix) -> Matrix:
        def of_block(block: slice) -> Matrix:
            part: Matrix = ((rows[block] @ vectors.T) * curvature[block]).T @ rows[block]
            return part

        total: Matrix = sum(side_by_side(of_block, blocks), l2 * vectors)
        return total

    enough = _SOLVED * float(np.linalg.norm(downhill))
    return descended(product, downhill, np.zeros_like(downhill), guide, enough, _MOST_DIRECTIONS)


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


def _blocks(count: int) -> list[slice]:
    """Slices over so many rows that fit into the processor's cache."""
    return [slice(start, start + _BLOCK) for start in range(0, count, _BLOCK)]
