"""Features as the rows that heads are fitted on: of one length, with a constant for the bias, on a grid.

On the grid every product of two entries is a multiple of ``GRID ** 2``, and of up to ``MOST_ROWS`` rows every sum of
such products is a number that fp64 holds exactly. So the sums that decide a ridge head do not depend on the order in
which samples are added and taken out: what is left after removals equals, bit for bit, the sums of the samples that are
left.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.types import FloatArray

GRID = 2.0**-16
"""Entries of rows are multiples of it."""

LENGTH = 0.75
"""Length of the features in a row."""

CONSTANT = 0.625
"""Last entry of each row; with ``LENGTH`` it leaves room for rounding: no row is longer than 1."""

MOST_ROWS = 2**21
"""Rows whose sums of products are exact: each product is at most 1, and fp64 holds 53 bits."""


def rows_of(features: npt.ArrayLike) -> FloatArray:
    """Features as rows.

    Args:
        features: Finite numbers ``(N, D)``; a sample without any features, all 0, stays so.

    Returns:
        float32 ``(N, D + 1)``, multiples of ``GRID``; no row is longer than 1.

    Examples:
        >>> rows_of([[0.0, 5.0, 0.0], [0.0, 0.0, -2.0]]).tolist()
        [[0.0, 0.75, 0.0, 0.625], [0.0, 0.0, -0.75, 0.625]]
    """
    raw = np.asarray(features, np.float64)
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    unit = np.divide(raw, norms, out=np.zeros_like(raw), where=norms > 0)
    rows = np.empty((len(raw), raw.shape[1] + 1), np.float32)
    rows[:, :-1] = np.round(unit * (LENGTH / GRID)) * GRID
    rows[:, -1] = CONSTANT
    return rows


def linear_of(weights: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The linear layer that gives, of features of length 1, what the weights of a head give of rows.

    Args:
        weights: Weights of a head ``(C, D + 1)``.

    Returns:
        Weight ``(C, D)`` and bias ``(C,)``.
    """
    return weights[:, :-1] * LENGTH, weights[:, -1] * CONSTANT
