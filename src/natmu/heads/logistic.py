"""A certified logistic head: samples leave by a Newton step, and noise hides what the step leaves of them.

References:
    Certified Data Removal from Machine Learning Models (Guo et al., 2020), https://arxiv.org/abs/1911.03030
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from natmu.errors import DataError, RunError, SettingError
from natmu.heads.errors import BudgetSpent
from natmu.heads.gaussian import largest_shift
from natmu.heads.hessians import STRANGERS, Matrix, solved, times_each, without_rows
from natmu.heads.one_against_rest import curvatures, gradient, minimum, slopes
from natmu.heads.saving import SavedHead
from natmu.types import FloatArray, IntArray

LONGEST = 1 + 1e-6
"""Rows may be longer than 1 by what rounding to fp32 adds."""

_OF_SHIFT = 1e-3
"""Part of what the noise hides at which the fit stops."""

_FARTHEST = 700.0
"""Weights that a removal moves farther have no bound that fp64 holds."""


@dataclass(frozen=True, eq=False)
class LogisticHead(SavedHead):
    """Logistic regression of each class against the rest, which samples can be taken out of.

    **The step.** ``w0`` are the weights of the fit, ``g`` the sum of the gradients at ``w0`` of all rows removed so
    far, ``K`` the Hessian of the rows that are left, taken at the anchor ``a`` near ``w0``. The weights are ``w0 + e``
    with ``K e = g``: the paper's removal of all these rows as one batch, whatever the order and number of the calls.

    **What it leaves.** The gradient on the rows that are left, at ``w0 + e``, is:

        (gradient that the fit left) + (K e - g)
        + sum_i (mean over t in 0..1 of h(x_i.(w0 + t e)) - h(x_i.a)) (x_i.e) x_i

    with ``h`` the derivative of the logistic function. ``|(log h)'| <= 1``, so the difference is at most
    ``h(x_i.a) f |x_i.(w0 - a + t e)|``, with ``f = (exp(m) - 1) / m`` and ``m = |w0 - a| + |e|``, as no row is longer
    than 1. By Cauchy and Schwarz the sum is no longer than ``f |e|_K (|w0 - a|_K + |e|_K / 2)``, where
    ``|v|_K^2 = sum_i h(x_i.a) (x_i.v)^2`` over the rows that are left; of ``e`` it is ``e.Ke - l2 |e|^2``. So the bound
    reads no row but those that go. The paper's is ``max |h'| |X| |e| |Xe|`` for each batch, added up over batches.

    **What it promises.** The weights are the exact minimum, without the removed rows, for a perturbation that is
    shifted by this residual. The perturbations of all classes are one normal vector and their residuals one shift of
    it: lengths add as squares against one (epsilon, delta). So ``C`` residuals of length ``r`` need ``sqrt(C) r``
    within the budget of (epsilon, delta); budgets of their own would need ``r`` within that of ``(epsilon / C,
    delta / C)``, which is less than one C-th. The budget is the longest shift that normal noise hides, less the
    residual of a fit that never had the rows, which shifts the other of the two that are compared.

    **What it takes for granted.** As the paper's proof does, that the residual is the same vector, within its bound,
    whatever the noise was. Here it is a smooth function of the noise, with a derivative of second order in the step,
    and its bound is computed at the noise that was drawn; so whether a removal is refused depends on that noise too.
    Requests must not depend on released weights. Numbers count as real ones: what rounding can add to the residual is
    part of the bound, but the last bits of weights and noise are not analysed. The promise covers ``weights``; all else
    in a head, such as the weights of the fit, stays with whoever holds the data.

    Attributes:
        l2: Weight of half the squared norm of each class's weights.
        epsilon: Privacy loss that removals may use up together.
        delta: Probability with which it may be larger.
        noise: Standard deviation of each entry of the perturbation.
        count: Rows that are left.
        removed: Rows taken out since the fit.
        spent: Bound on the norm of the gradient, of all classes together, that the weights leave on the rows that are
            left. It depends on which rows are gone, not on the order in which they went.
        start: Weights of the fit ``(C, P)``.
        anchor: Where the Hessian is taken ``(C, P)``.
        perturbation: Random linear term of the objective ``(C, P)``.
        hessian: ``(C, P, P)``, of the rows that are left.
        inverse: ``(C, P, P)``, nearly its inverse.
        pull: Sum of the gradients of the removed rows at ``start``, ``(C, P)``.
        step: What removals added to ``start``, ``(C, P)``.
        unfitted: Norm of the gradient that the fit left, by class ``(C,)``.
        drift: ``|w0 - a|_K`` over all rows of the fit, by class ``(C,)``; over those that are left it is no more.

    Examples:
        >>> import numpy as np
        >>> from natmu.heads.logistic import residual_of
        >>> rows = np.tile(0.9 * np.eye(4), (50, 1))
        >>> labels = np.tile([0, 1, 0, 1], 50)
        >>> settings = {"num_classes": 2, "l2": 10.0, "epsilon": 1.0, "delta": 1e-5, "noise": 1.0}
        >>> head = LogisticHead.fit(rows, labels, **settings, seed=20)
        >>> less = head.remove(rows[:2], labels[:2])
        >>> less.removed, head.spent < less.spent < less.budget
        (2, True)
        >>> residual_of(less, rows[2:], labels[2:]) <= less.spent
        True
    """

    kind: ClassVar[str] = "logistic"

    l2: float
    epsilon: float
    delta: float
    noise: float
    count: int
    removed: int
    spent: float
    start: Matrix
    anchor: Matrix
    perturbation: Matrix
    hessian: Matrix
    inverse: Matrix
    pull: Matrix
    step: Matrix
    unfitted: Matrix
    drift: Matrix

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.type == "Matrix":  # strides decide last bits, and files have none
                object.__setattr__(self, field.name, np.ascontiguousarray(getattr(self, field.name)))

    @classmethod
    def fit(
        cls,
        features: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        num_classes: int,
        l2: float,
        epsilon: float,
        delta: float,
        noise: float,
        seed: int,
    ) -> LogisticHead:
        """A head fitted on all rows.

        Args:
            features: Rows ``(N, P)``, none longer than 1.
            labels: Class indices ``(N,)``.
            num_classes: Classes ``C``.
            l2: Weight of half the squared norm, beside a sum over rows.
            epsilon: Privacy loss that removals may use up together.
            delta: Probability with which it may be larger.
            noise: Standard deviation of the perturbation.
            seed: Decides the perturbation; whoever knows it can subtract the noise.

        Raises:
            DataError: Rows are longer than 1, or labels are no classes.
            SettingError: The noise is too weak for this epsilon and delta to cover what a fit leaves.
        """
        rows, classes = _checked(features, labels, num_classes)
        perturbation = noise * np.random.default_rng(seed).standard_normal((num_classes, rows.shape[1]))
        goal = _goal(len(rows), noise * largest_shift(epsilon, delta))
        found = minimum(rows, classes, l2, perturbation, goal=goal)
        apart, zero = found.weights - found.anchor, np.zeros_like(perturbation)
        head = cls(
            l2=l2,
            epsilon=epsilon,
            delta=delta,
            noise=noise,
            count=len(rows),
            removed=0,
            spent=0.0,
            start=found.weights,
            anchor=found.anchor,
            perturbation=perturbation,
            hessian=found.hessian,
            inverse=found.inverse,
            pull=zero,
            step=zero,
            unfitted=found.residual,
            drift=_bent(apart, times_each(found.hessian, apart), l2),
        )
        head = dataclasses.replace(head, spent=head._bound(zero))
        if not head.spent <= head.budget:
            raise SettingError(
                f"The fit alone may leave {head.spent:.2g} of the gradient, more than the {head.budget:.2g} that this "
                "noise hides; raise noise or epsilon."
            )
        return head

    def remove(self, features: npt.ArrayLike, labels: npt.ArrayLike) -> LogisticHead:
        """The head without some rows; this one stays as it is.

        A head does not notice rows that were no part of the fit, that were removed before, or that had other labels:
        the weights are worth nothing then. Keep a list of what you removed.

        Args:
            features: The rows ``(M, P)``, exactly as they were fitted.
            labels: Their class indices ``(M,)``.

        Raises:
            BudgetSpent: The noise does not hide what this removal could leave.
            DataError: There are fewer rows left, rows are longer than 1, or they cannot have been part of the fit.
        """
        rows, classes = _checked(features, labels, len(self.start))
        if rows.shape[1] != self.start.shape[1]:
            raise DataError(f"The head takes rows of {self.start.shape[1]} numbers, not {rows.shape[1]}; give those.")
        if len(rows) > self.count:
            raise DataError(f"{len(rows):,} rows cannot be removed: the head has {self.count:,}; give rows it has.")
        hessian = without_rows(self.hessian, rows, curvatures(rows @ self.anchor.T))
        pull = self.pull + slopes(rows @ self.start.T, classes).T @ rows
        step, rest, inverse = solved(hessian, pull, self.step, self.inverse)
        less = dataclasses.replace(
            self,
            count=self.count - len(rows),
            removed=self.removed + len(rows),
            hessian=hessian,
            inverse=inverse,
            pull=pull,
            step=step,
        )
        less = dataclasses.replace(less, spent=less._bound(rest))
        if not less.spent <= self.budget:
            raise BudgetSpent(
                f"Without these {len(rows):,} rows {less.spent:.2g} of the gradient could be left, more than the "
                f"{self.budget:.2g} that the noise hides; fit again on the rows that are left."
            )
        return less

    @property
    def weights(self) -> Matrix:
        """Weights ``(C, P)``."""
        return self.start + self.step

    @property
    def budget(self) -> float:
        """The largest ``spent`` for which any outcome is as likely as (epsilon, delta) says.

        It is what the noise hides, less what a fit that never had the removed rows may leave itself.
        """
        hidden = self.noise * largest_shift(self.epsilon, self.delta)
        return hidden - _goal(self.count + self.removed, hidden)

    def logits(self, features: npt.ArrayLike) -> FloatArray:
        """Margin of each class against the rest ``(N, C)``, float32."""
        margins: FloatArray = (np.asarray(features, np.float64) @ self.weights.T).astype(np.float32)
        return margins

    def state(self) -> dict[str, npt.NDArray[np.float64]]:
        """All of the head as arrays, for `from_state`."""
        return {
            field.name: np.atleast_1d(np.asarray(getattr(self, field.name), np.float64))
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_state(cls, state: dict[str, npt.NDArray[np.float64]]) -> LogisticHead:
        """The head that `state` described.

        Raises:
            RunError: No head has this state.
        """
        if not _plausible(state):
            raise RunError("The state of this logistic head is damaged; fit the head again.")
        kinds = {"float": float, "int": int}
        numbers = {
            field.name: kinds[str(field.type)](state[field.name][0])
            for field in dataclasses.fields(cls)
            if field.type in kinds
        }
        return cls(**{**state, **numbers})

    def _bound(self, rest: Matrix) -> float:
        """Bound on the gradient that is left, with ``rest = pull - hessian step`` ``(C, P)``."""
        bends = _bent(self.step, self.pull - rest, self.l2)
        most = LONGEST * (np.linalg.norm(self.start - self.anchor, axis=1) + np.linalg.norm(self.step, axis=1))
        if most.max() > _FARTHEST:  # exp overflows, and infinity times 0 is no bound
            return math.inf
        factors = np.divide(np.expm1(most), most, out=np.ones_like(most), where=most > 0)
        bent = LONGEST**2 * factors * bends * (self.drift + bends / 2)
        own = self.unfitted + np.linalg.norm(rest, axis=1) + bent
        return float(np.linalg.norm(own)) + self._rounding()

    def _rounding(self) -> float:
        """What rounding can add: each sum's number of terms, times the unit of fp64, times the sizes that it adds up.

        Sums over rows add up to no more than their number, as rows are no longer than 1 and slopes no larger.
        """
        norm = 1 + float(np.linalg.norm(self.start)) + float(np.linalg.norm(self.anchor))
        fitted = self.count + self.removed
        terms = fitted + self.removed + self.start.shape[1] + 8
        ridge = self.l2 * math.sqrt(self.start.shape[1])
        sizes = (fitted + ridge) * norm * (1 + float(np.linalg.norm(self.step)))
        return float(np.finfo(np.float64).eps * terms * (sizes + np.linalg.norm(self.perturbation)))


def _goal(count: int, hidden: float) -> float:
    """Norm of the gradient at which a fit on so many rows stops; one on fewer rows leaves no more."""
    reachable = 16 * count * float(np.finfo(np.float64).eps)
    return max(_OF_SHIFT * hidden, reachable)


def residual_of(head: LogisticHead, features: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Norm of the gradient that a head's weights truly leave on the rows that are left: what ``spent`` bounds.

    Args:
        head: The head.
        features: All rows that are left ``(N, P)``.
        labels: Their class indices ``(N,)``.
    """
    rows, classes = _checked(features, labels, len(head.start))
    left = gradient(head.weights, rows, classes, head.l2, head.perturbation)
    return float(np.linalg.norm(left))


def _bent(vectors: Matrix, products: Matrix, l2: float) -> Matrix:
    """``|v|_K`` of each class's vector ``(C, P)``, from its product with the Hessian."""
    both = (vectors * products).sum(1)
    squares: Matrix = both - l2 * (vectors**2).sum(1)
    if (squares < -1e-6 * np.abs(both)).any():
        raise DataError(STRANGERS)
    return np.sqrt(np.maximum(squares, 0))


def _checked(features: npt.ArrayLike, labels: npt.ArrayLike, num_classes: int) -> tuple[Matrix, IntArray]:
    """Rows and labels, if they are some."""
    rows, classes = np.asarray(features, np.float64), np.asarray(labels)
    if rows.ndim != 2 or not rows.size or classes.shape != (len(rows),) or classes.dtype.kind not in "iu":
        raise DataError(
            f"Features of shape {rows.shape} and labels of shape {classes.shape} do not fit; give rows (N, P) and "
            "class indices (N,)."
        )
    if classes.min() < 0 or classes.max() >= num_classes:
        raise DataError(f"Labels must lie between 0 and {num_classes - 1}; give class indices.")
    longest = float(np.sqrt(np.einsum("np,np->n", rows, rows).max()))
    if not longest <= LONGEST:
        raise DataError(f"A row has length {longest:.6g}; scale all rows so that none is longer than 1.")
    return rows, classes.astype(np.int64)


def _plausible(state: dict[str, npt.NDArray[np.float64]]) -> bool:
    """Whether arrays have the names, shapes and ranges of a state."""
    if state.keys() != {field.name for field in dataclasses.fields(LogisticHead)} or state["start"].ndim != 2:
        return False
    classes, columns = state["start"].shape
    matrix = (classes, columns)
    shapes: dict[str, tuple[int, ...]] = {"unfitted": (classes,), "drift": (classes,)}
    shapes |= dict.fromkeys(("start", "anchor", "perturbation", "pull", "step"), matrix)
    shapes |= dict.fromkeys(("hessian", "inverse"), (*matrix, columns))
    if any(array.shape != shapes.get(name, (1,)) or array.dtype != np.float64 for name, array in state.items()):
        return False
    positive = all(state[name][0] > 0 for name in ("l2", "epsilon", "delta", "noise"))
    counts = all((state[name] >= 0).all() for name in ("count", "removed", "spent", "unfitted", "drift"))
    return positive and counts and all(bool(np.isfinite(array).all()) for array in state.values())
