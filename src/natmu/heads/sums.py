"""The sums that decide a ridge head, and how far rounding may have moved them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.heads.inputs import blocks_of
from natmu.heads.rows import GRID, MOST_ROWS
from natmu.heads.threads import one_thread
from natmu.types import IntArray

UNIT = 1.01 * 2.0**-53
"""Relative error of one fp64 operation; the hundredth covers higher orders, and the rounding of bounds themselves."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over samples.

    A sum of ``n`` products is off by at most ``n UNIT`` times the sum of their magnitudes, in whatever order it is
    taken, and an addition by ``UNIT`` times its result (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
    sections 2.2 and 3.1). The magnitudes in the Frobenius norm are at most the sum of squares of the rows, ``t``: so a
    block of ``n`` rows adds ``UNIT (n t + |gram|)`` to the bound of ``gram``, and ``UNIT (n sqrt(n t) + |cross|)`` to
    that of ``cross``. (Numbers so small that fp64 loses digits of their products are taken for 0.)

    Nothing is added where nothing is rounded: all entries so far are multiples of ``GRID``, and no sum of squares is
    above ``MOST_ROWS``, so that fp64 holds every sum and part of a sum exactly.

    Attributes:
        gram: Products of columns ``(P, P)``.
        cross: Columns by class ``(P, C)``.
        counts: Samples of each class ``(C,)``.
        gram_rounding: Bound on the Frobenius norm of the error of ``gram``.
        cross_rounding: The same for ``cross``.
    """

    gram: npt.NDArray[np.float64]
    cross: npt.NDArray[np.float64]
    counts: IntArray
    gram_rounding: float = 0.0
    cross_rounding: float = 0.0

    @classmethod
    def of_nothing(cls, columns: int, num_classes: int) -> Self:
        """Sums over no samples."""
        shape = (columns, num_classes)
        return cls(np.zeros((columns, columns)), np.zeros(shape), np.zeros(num_classes, np.int64))

    @property
    def count(self) -> int:
        """Number of samples."""
        return int(self.counts.sum())

    def changed(self, features: npt.NDArray[Any], labels: IntArray, sign: int) -> Sums:
        """With samples more (``sign`` 1) or fewer (-1).

        Raises:
            UsageError: Features are not finite, or too large for their squares to be summed.
        """
        gram, cross = self.gram.copy(), self.cross.copy()
        gram_rounding, cross_rounding = self.gram_rounding, self.cross_rounding
        with one_thread():
            for rows, block in blocks_of(features):
                squares = _accumulate(gram, cross, block, labels[rows], sign)
                total = float(squares.sum())
                if not np.isfinite(total) or not np.isfinite(gram.diagonal()).all():
                    raise UsageError(
                        "The features are too large: the sum of their squares is infinite; scale them down."
                    )
                rounded = bool(gram_rounding or cross_rounding) or max(squares.max(), gram.diagonal().max()) > MOST_ROWS
                if rounded or not _on_grid(block):
                    gram_rounding += UNIT * (len(block) * total + float(np.linalg.norm(gram)))
                    cross_rounding += UNIT * (len(block) * (len(block) * total) ** 0.5 + float(np.linalg.norm(cross)))
        counts = self.counts + sign * np.bincount(labels, minlength=len(self.counts))
        if not counts.any():
            return Sums.of_nothing(*cross.shape)
        cross[:, counts == 0] = 0
        return Sums(gram, cross, counts, gram_rounding, cross_rounding)


def _accumulate(
    gram: npt.NDArray[np.float64],
    cross: npt.NDArray[np.float64],
    block: npt.NDArray[np.float64],
    labels: IntArray,
    sign: int,
) -> npt.NDArray[np.float64]:
    """Change sums in place by those of a block.

    Returns:
        Sums of squares of the block's columns ``(P,)``; not finite where they are too large for fp64.
    """
    one_hot = np.zeros((len(block), cross.shape[1]))
    one_hot[np.arange(len(block)), labels] = sign
    with np.errstate(over="ignore", invalid="ignore"):
        products = block.T @ block  # NumPy computes one half of it, and mirrors that
        gram += sign * products
        cross += block.T @ one_hot
    return products.diagonal()


def _on_grid(block: npt.NDArray[np.float64]) -> bool:
    """Whether all entries are multiples of ``GRID``."""
    steps = block / GRID
    return bool((np.rint(steps) == steps).all())
