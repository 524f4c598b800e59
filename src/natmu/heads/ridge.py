"""Ridge regression on one-hot labels, from sums that samples are taken out of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from natmu.errors import RunError, UsageError
from natmu.heads.errors import RefitNeeded
from natmu.heads.inputs import blocks_of, features_of, labels_of
from natmu.heads.saving import SavedHead
from natmu.heads.solving import Matrix, condition_of, factor_of, least_eigenvalue, residual_bound, solved
from natmu.heads.sums import Sums
from natmu.heads.threads import one_thread
from natmu.types import FloatArray

TOLERANCE = 5e-10
"""Largest relative error of weights after a change; so they and those of a fit differ by at most twice as much."""

FOREIGN = (
    "Some of these samples were not among those that the head was fitted on, or had other labels; fit it again on "
    "those that are left."
)
"""Refuses a removal that no fit can have led to."""

COLLINEAR = (
    "Columns of the features depend on each other, and l2 is too small to distinguish them; raise l2 (now {:g})."
)
"""Refuses a fit."""


@dataclass(frozen=True, eq=False)
class RidgeHead(SavedHead):
    """A linear head: ``(XᵀX + l2 I)⁻¹ XᵀY`` of features ``X`` and one-hot labels ``Y``.

    Samples are added to the sums ``XᵀX`` and ``XᵀY`` and taken out of them in fp64; no other sample is read. On rows of
    ``rows_of`` the sums are exact, so that sums and weights equal those of a fit on what is left bit for bit. On any
    other features a change after which the relative error of the weights cannot be shown to be at most ``TOLERANCE``
    raises ``RefitNeeded``. A head never changes; each change makes another.

    There is no bias: add a column of ones, as ``rows_of`` adds a constant.

    That a sample was among those that were fitted cannot be seen from sums, nor that it was removed before: such a
    removal gives weights that are worth nothing. Only one that contradicts the sums is refused. Keep a list of what was
    removed.

    Attributes:
        sums: Sums over its samples.
        l2: Weight of the squared norm of the weights, beside a sum over samples.

    Examples:
        >>> import numpy as np
        >>> features, labels = 2 * np.eye(4), np.array([0, 1, 0, 1])
        >>> head = RidgeHead.fit(features, labels, num_classes=2, l2=1.0)
        >>> head.weights.round(3).tolist()
        [[0.4, 0.0, 0.4, 0.0], [0.0, 0.4, 0.0, 0.4]]
        >>> head.remove(features[:1], labels[:1]).weights.round(3).tolist()
        [[0.0, 0.0, 0.4, 0.0], [0.0, 0.4, 0.0, 0.4]]
    """

    kind: ClassVar[str] = "ridge"

    sums: Sums
    l2: float

    @classmethod
    def fit(cls, features: npt.ArrayLike, labels: npt.ArrayLike, *, num_classes: int, l2: float = 0.1) -> RidgeHead:
        """Fit a head.

        Args:
            features: Finite numbers ``(N, P)``.
            labels: Classes ``(N,)``, from 0.
            num_classes: Number of classes ``C``.
            l2: Weight of the squared norm of the weights, above 0.

        Raises:
            UsageError: An argument is not as described, or the columns are collinear and ``l2`` is too small.
        """
        if num_classes < 1:
            raise UsageError(f"A head needs at least one class, and num_classes is {num_classes}.")
        if not (l2 > 0 and np.isfinite(l2)):
            raise UsageError(f"l2 is a finite number above 0, and it is {l2}.")
        rows = features_of(features)
        empty = Sums.of_nothing(rows.shape[1], num_classes)
        head = cls(empty.changed(rows, labels_of(labels, len(rows), num_classes), 1), float(l2))
        if head._factor is None:
            raise UsageError(COLLINEAR.format(l2))
        return head

    def remove(self, features: npt.ArrayLike, labels: npt.ArrayLike) -> RidgeHead:
        """The head of the samples that are left.

        A head does not notice samples that it never had, that were removed before, or that had other labels, unless the
        sums contradict them. Keep a list of what you removed.

        Args:
            features: Features of the samples that go ``(M, P)``, as they were fitted.
            labels: Their labels ``(M,)``.

        Raises:
            RefitNeeded: The weights might be off by more than ``TOLERANCE``, or no samples have the sums that would be
                left.
            UsageError: An argument is not as described.
        """
        return self._changed(features, labels, -1)

    def add(self, features: npt.ArrayLike, labels: npt.ArrayLike) -> RidgeHead:
        """The head of these samples and all that it has.

        Args:
            features: Features ``(M, P)``.
            labels: Their labels ``(M,)``.

        Raises:
            RefitNeeded: The weights might be off by more than ``TOLERANCE``.
            UsageError: An argument is not as described.
        """
        return self._changed(features, labels, 1)

    def _changed(self, features: npt.ArrayLike, labels: npt.ArrayLike, sign: int) -> RidgeHead:
        """The head with samples more or fewer."""
        columns, num_classes = self.sums.cross.shape
        rows = features_of(features, columns)
        classes = labels_of(labels, len(rows), num_classes)
        if not len(rows):
            return self
        if sign < 0 and (np.bincount(classes, minlength=num_classes) > self.sums.counts).any():
            raise RefitNeeded(FOREIGN)
        head = RidgeHead(self.sums.changed(rows, classes, sign), self.l2)
        if head._contradictory:
            raise RefitNeeded(FOREIGN)
        if not head.error <= TOLERANCE:
            raise RefitNeeded(
                f"Rounding may have moved the weights by {head.error:.0e} of their norm, and at most {TOLERANCE:g} is "
                f"allowed (condition number {head.condition:.0e}). Fit the head again on the samples that are left. If "
                "this happens often, fit it on rows_of(features), where nothing is rounded."
            )
        return head

    @property
    def _contradictory(self) -> bool:
        """Whether no samples have these sums, however they were rounded."""
        squares = self.sums.gram.diagonal()
        return bool((squares < -self.sums.gram_rounding).any()) or self._factor is None

    @property
    def count(self) -> int:
        """Number of its samples."""
        return self.sums.count

    @cached_property
    def _matrix(self) -> Matrix:
        """The matrix of the system ``(P, P)``."""
        matrix = self.sums.gram.copy()
        np.fill_diagonal(matrix, matrix.diagonal() + self.l2)
        return matrix

    @cached_property
    def _factor(self) -> Matrix | None:
        """Its Cholesky factor; None where it is not positive definite to rounding."""
        return factor_of(self._matrix)

    @cached_property
    def weights(self) -> Matrix:
        """Weights ``(C, P)``."""
        assert self._factor is not None, "no such head is made"
        return np.ascontiguousarray(solved(self._factor, self.sums.cross).T)

    @cached_property
    def condition(self) -> float:
        """Estimate of the condition number of ``XᵀX + l2 I``."""
        return np.inf if self._factor is None else condition_of(self._matrix, self._factor)

    @cached_property
    def error(self) -> float:
        """Bound on the relative error of the weights, in the Frobenius norm; 0 where no sum was rounded.

        Let ``A V = B`` be the system of the samples, ``W`` the weights, and ``A + E`` and ``B + F`` what rounding has
        made of the sums. With the residual ``R = B + F - (A + E) W`` follows ``(A + E) (W - V) = F - R - E V``, so that
        with ``m`` the least eigenvalue of ``A + E`` and ``|V| <= |W| + d``, the difference ``d = |W - V|`` is at most

            ``(|F| + |R| + |E| |W|) / (m - |E|)``.

        ``m`` is at least what a factorisation proves, and at least ``l2 - |E|``.
        """
        moved, moved_cross = self.sums.gram_rounding, self.sums.cross_rounding
        if not moved and not moved_cross:
            return 0.0
        if self._factor is None:
            return np.inf
        least = max(least_eigenvalue(self._matrix, self._factor), self.l2 - moved)
        if least <= moved:
            return np.inf
        residual = residual_bound(self._matrix, self.weights.T, self.sums.cross)
        size = float(np.linalg.norm(self.weights))
        difference = (moved_cross + residual + moved * size) / (least - moved)
        return float(difference / (size - difference)) if difference < size else np.inf

    def logits(self, features: npt.ArrayLike) -> FloatArray:
        """Logits ``(N, C)`` of features ``(N, P)``.

        Raises:
            UsageError: The features do not fit the head.
        """
        rows = features_of(features, self.sums.cross.shape[0])
        logits = np.empty((len(rows), len(self.sums.counts)), np.float32)
        with one_thread():
            for where, block in blocks_of(rows):
                logits[where] = block @ self.weights.T
        return logits

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All that the head is, as arrays by name; ``from_state`` makes the same head of them, bit for bit."""
        sums = self.sums
        return {
            "gram": sums.gram,
            "cross": sums.cross,
            "counts": sums.counts,
            "rounding": np.array([sums.gram_rounding, sums.cross_rounding]),
            "l2": np.array([self.l2]),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, npt.NDArray[Any]]) -> RidgeHead:
        """The head of a state.

        Raises:
            RunError: No head has this state.
        """
        arrays = {name: np.asarray(array) for name, array in state.items()}
        if not _plausible(arrays):
            raise RunError("The state of this ridge head is damaged; fit the head again.")
        gram_rounding, cross_rounding = arrays["rounding"].tolist()
        sums = Sums(arrays["gram"], arrays["cross"], arrays["counts"], gram_rounding, cross_rounding)
        head = cls(sums, float(arrays["l2"][0]))
        if head._contradictory:
            raise RunError("The sums of this ridge head are damaged: no samples have such; fit the head again.")
        return head


def _plausible(arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Whether arrays have the names, shapes and ranges of a state."""
    if set(arrays) != {"gram", "cross", "counts", "rounding", "l2"} or arrays["cross"].ndim != 2:
        return False
    columns, num_classes = arrays["cross"].shape
    shapes = {"gram": (columns, columns), "counts": (num_classes,), "rounding": (2,), "l2": (1,)}
    types = {name: np.int64 if name == "counts" else np.float64 for name in arrays}
    return (
        all(arrays[name].shape == shape for name, shape in shapes.items())
        and all(array.dtype == types[name] and bool(np.isfinite(array).all()) for name, array in arrays.items())
        and all(bool((arrays[name] >= 0).all()) for name in ("counts", "rounding"))
        and bool(arrays["l2"][0] > 0)
        and np.array_equal(arrays["gram"], arrays["gram"].T)
    )
