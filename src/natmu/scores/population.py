"""Attacks on one model that need no other model: they learn from retain and test samples what members look like."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.linear_algebra import load_linear_algebra
from natmu.scores.rates import auc, tpr_at_fpr
from natmu.scores.signals import SIGNALS, Values, confidence, entropy, margin, modified_entropy, softmax_of
from natmu.types import IntArray, Part, Predictions, seed_for

if TYPE_CHECKING:
    from sklearn.svm import SVC

LIMIT = 1500
"""Samples of each side that ``mia_efficacy`` learns from at most.

Examples:
    >>> LIMIT
    1500
"""

FEATURES: Mapping[str, Callable[[Part], Values]] = {
    "correctness": lambda part: np.asarray(part.logits.argmax(axis=1) == part.labels, np.float64),
    "confidence": confidence,
    "entropy": entropy,
    "mentropy": modified_entropy,
    "prob": lambda part: softmax_of(part).shares,
}
"""What each ``mia_efficacy`` sees of a sample: a number, or for ``prob`` the whole softmax without the label.

Examples:
    >>> list(FEATURES)
    ['correctness', 'confidence', 'entropy', 'mentropy', 'prob']
"""

_BLOCK = 2048
"""Forget samples judged together, so that memory does not grow with the forget set."""


def mia_entropy(predictions: Predictions) -> float:
    """Share of the forget set that an attack on the softmax entropy calls training data.

    Logistic regression (balanced classes, C = 2) on the entropy alone, fitted on retain (member) against test
    (non-member). A retrained model does not score 0: what counts is to be close to its score.

    This is the attack in the code of JiT, SSD and NatMU. That code sets C = 1 and asks for a multinomial regression,
    which in scikit-learn before 1.7 has a row of coefficients for each of the two classes, each with its penalty: the
    best pair is a slope halved and its opposite, whose penalties add up to half of that of one slope. The code of
    Chundawat et al., from which they have it, fits a support vector machine on sides of unequal size today, which is
    another number.

    Args:
        predictions: One model's predictions; ``retain``, ``test`` and ``forget`` must not be empty.

    Returns:
        Percent of the forget samples called members, 0 to 100; 50 where all entropies are equal, which say nothing.

    Raises:
        UsageError: If one of the three parts is empty.

    References:
        Towards Natural Machine Unlearning (He et al., 2025), https://arxiv.org/abs/2405.15495
        Zero-Shot Machine Unlearning at Scale via Lipschitz Regularization (Foster et al., 2024),
        https://arxiv.org/abs/2402.01401

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> 0 <= mia_entropy(panel.model) <= 100
        True
    """
    from sklearn.exceptions import ConvergenceWarning  # slow to import, and reports need none of it
    from sklearn.linear_model import LogisticRegression

    load_linear_algebra()
    if not (len(predictions.retain) and len(predictions.test) and len(predictions.forget)):
        raise UsageError("mia_entropy needs retain, test and forget samples; leave it out where one of them is empty.")
    member, nonmember, forgotten = (
        entropy(part) for part in (predictions.retain, predictions.test, predictions.forget)
    )
    features = np.concatenate([member, nonmember])[:, None]
    if not np.ptp(features):
        return 50.0
    is_member = np.repeat([1, 0], [len(member), len(nonmember)])
    # Entropies of a confident model are tiny, and the default solver stops well before the optimum on them.
    attack = LogisticRegression(C=2.0, class_weight="balanced", solver="newton-cholesky", tol=1e-8)
    with warnings.catch_warnings():
        # Where all entropies are alike its first step cannot improve, and it goes on by another solver.
        warnings.filterwarnings("ignore", "Line search of Newton solver", ConvergenceWarning)
        attack.fit(features, is_member)
    return 100.0 * float(np.mean(attack.predict(forgotten[:, None])))


def mia_efficacy(predictions: Predictions, feature: str, seed: int = 0, limit: int = LIMIT) -> float:
    """Share of the forget set that a support vector machine on one feature calls *non*-members.

    An SVC (C = 3, Gaussian kernel with gamma = 1 / number of features) of equally many retain (member) and test
    (non-member) samples. It is fitted on ``efficacy_samples`` random ones of each, which have the classes in the
    proportions of their side, and each of which stands for several: C is a price per sample, so with fewer samples of
    the same weight the machine would be smoother than that of all. All features of one seed see the same samples.

    Args:
        predictions: One model's predictions; ``retain``, ``test`` and ``forget`` must not be empty.
        feature: One of ``FEATURES``.
        seed: Decides the samples.
        limit: Samples of each side at most; the time grows with its square.

    Returns:
        Percent of the forget samples called non-members, 0 to 100; what counts is to be close to a retrained model's.

    Raises:
        UsageError: If one of the three parts is empty, or ``feature`` or ``limit`` is out of its range.

    References:
        Model Sparsity Can Simplify Machine Unlearning (Jia et al., 2023), https://arxiv.org/abs/2304.04934
        SalUn (Fan et al., 2024), https://arxiv.org/abs/2310.12508

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> 0 <= mia_efficacy(panel.model, "confidence") <= 100
        True
    """
    if feature not in FEATURES:
        raise UsageError(f"mia_efficacy knows no feature {feature!r}; choose one of {', '.join(FEATURES)}.")
    if not (len(predictions.retain) and len(predictions.test) and len(predictions.forget)):
        raise UsageError("mia_efficacy needs retain, test and forget samples; leave it out where one of them is empty.")
    count = efficacy_samples(predictions, limit)
    member, nonmember, forgotten = (
        FEATURES[feature](part).reshape(len(part), -1)
        for part in (predictions.retain, predictions.test, predictions.forget)
    )
    rng = np.random.default_rng(seed_for(seed, "mia_efficacy"))
    member = member[_drawn(predictions.retain.labels, count, rng)]
    nonmember = nonmember[_drawn(predictions.test.labels, count, rng)]
    stands_for = min(len(predictions.retain), len(predictions.test)) / count
    return 100.0 * float(np.mean(_called_nonmembers(member, nonmember, forgotten, stands_for)))


def efficacy_samples(predictions: Predictions, limit: int = LIMIT) -> int:
    """How many samples of each side ``mia_efficacy`` learns from, to be noted beside its score.

    Raises:
        UsageError: If ``limit`` is not positive.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> efficacy_samples(panel.model)  # as many retained samples as test samples
        300
    """
    if limit < 1:
        raise UsageError(f"mia_efficacy needs a limit of at least 1 sample of each side (got {limit}).")
    return min(len(predictions.retain), len(predictions.test), limit)


def auc_forget_test(predictions: Predictions, signal: str) -> float:
    """AUC of telling forget samples from unseen ones by one of ``SIGNALS``.

    The unseen samples are the test set or, when whole classes are forgotten, the test samples of those classes: only
    against them a retrained model has 0.5.

    Args:
        predictions: One model's predictions.
        signal: One of ``SIGNALS``.

    Returns:
        0 to 1; 0.5 is the aim. Above, forget samples still look like members; below, the model avoids them, which
        tells them apart as well: see ``leak``.

    Raises:
        UsageError: If a part is empty or the signal unknown.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> 0 <= auc_forget_test(panel.model, "loss") <= 1
        True
    """
    if signal not in SIGNALS:
        raise UsageError(f"There is no signal {signal!r}; choose one of {', '.join(SIGNALS)}.")
    forgotten, unseen = forgotten_and_unseen(predictions)
    return auc(SIGNALS[signal](forgotten), SIGNALS[signal](unseen))


def tpr_forget_test(predictions: Predictions, fpr: float) -> float:
    """Percent of the forget samples that the margin gives away while at most ``fpr`` of unseen samples are accused.

    The unseen samples are those of ``auc_forget_test``.

    Args:
        predictions: One model's predictions.
        fpr: False positive rate as a share, above 0 and up to 1.

    Returns:
        0 to 100; about ``100 * fpr`` is the aim.

    Raises:
        UsageError: If a part is empty, or there are fewer than 1 / ``fpr`` unseen samples.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> 0 <= tpr_forget_test(panel.model, fpr=0.01) <= 100
        True
    """
    forgotten, unseen = forgotten_and_unseen(predictions)
    return 100.0 * tpr_at_fpr(margin(forgotten), margin(unseen), fpr)


def leak(area: float) -> float:
    """|AUC - 0.5|, 0 to 0.5: how much an attack learns, whichever way round.

    Examples:
        >>> leak(0.25)
        0.25
    """
    return abs(area - 0.5)


def forgotten_and_unseen(predictions: Predictions) -> tuple[Part, Part]:
    """The forget set, and samples like them that were never trained on."""
    unseen = unseen_part(predictions)
    if not (len(predictions.forget) and len(unseen)):
        kind = "test samples" if predictions.forget_test is None else "test samples of the forgotten classes"
        raise UsageError(
            f"Telling forget from test samples needs forget samples and {kind}; leave it out without them."
        )
    return predictions.forget, unseen


def unseen_part(predictions: Predictions) -> Part:
    """The samples that were never trained on among which those like the forget set are: of its classes, if it has."""
    return predictions.test if predictions.forget_test is None else predictions.forget_test


def _drawn(labels_N: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Rows of a random sample in which every class has its share.

    The sure predictions of one class are all but one point of the softmax, called members or non-members together; the
    number that happens to be drawn of that class on each side would otherwise decide which.
    """
    order = rng.permutation(len(labels_N))
    order = order[np.argsort(labels_N[order], kind="stable")]
    return np.asarray(order[(np.arange(count) * len(order) + rng.integers(len(order))) // count])


def _called_nonmembers(member: Values, nonmember: Values, judged: Values, stands_for: float) -> npt.NDArray[np.bool_]:
    """Which rows of ``judged`` ``(F, D)`` are called non-members, learned from ``(n, D)`` samples of each side.

    Each of the samples is weighed as ``stands_for`` of them.
    """
    from sklearn.svm import SVC

    load_linear_algebra()
    side = np.repeat([1.0, 0.0], [len(member), len(nonmember)])
    # Equal rows of one side are one row with their weight: the same optimum, and much faster on two distinct values.
    rows, weight = np.unique(np.column_stack([side, np.concatenate([member, nonmember])]), axis=0, return_counts=True)
    # Without a random_state it draws from NumPy's global generator, which it has no use for here.
    attack = SVC(C=3.0 * stands_for, kernel="rbf", gamma="auto", random_state=0)
    attack.fit(rows[:, 1:], rows[:, 0], sample_weight=weight)
    values, which = np.unique(judged, axis=0, return_inverse=True)
    height = np.concatenate([_heights(attack, values[at : at + _BLOCK]) for at in range(0, len(values), _BLOCK)])
    return np.asarray(height <= 0)[which.ravel()]


def _heights(attack: SVC, values_ND: Values) -> Values:
    """The machine's decision function; its own takes several times as long.

    The exponents -|x - s|² / D of all samples and support vectors are one product of matrices.
    """
    support_SD = attack.support_vectors_
    scale = 1 / values_ND.shape[1]
    left = np.column_stack([2 * scale * values_ND, -scale * (values_ND**2).sum(axis=1), np.ones(len(values_ND))])
    right = np.column_stack([support_SD, np.ones(len(support_SD)), -scale * (support_SD**2).sum(axis=1)])
    kernel_NS = left @ right.T
    np.exp(kernel_NS, out=kernel_NS)
    return np.asarray(kernel_NS @ attack.dual_coef_[0] + attack.intercept_)
