"""Forgetting quality of the NeurIPS 2023 challenge: per sample, how well rules tell unlearned from retrained models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.references import Float64, blocks, by_model

EPSILON_CAP = 50.0
BIN_WIDTH = 0.5
BUFFER = 2.0
"""Nats by which thresholds may lie beside those that hold one kind of models just so."""
MODELS_NEEDED = 8
"""With fewer models of a kind, chance alone often separates them."""

_BLOCK_VALUES = 2**18

Codes = npt.NDArray[np.int32]


def epsilons(unlearned: npt.ArrayLike, retrained: npt.ArrayLike, delta: float = 1e-5) -> Float64:
    """Per sample, the largest privacy loss that a simple rule on the margins proves.

    A rule calls some margins one kind of model and the rest the other. Its shares of false positives FPR and of false
    negatives FNR prove the larger of ``log((1 - delta - FPR) / FNR)`` and ``log((1 - delta - FNR) / FPR)``. The rules
    are those of the challenge: with one threshold, margins above it are of the kind with the larger median; with two,
    those in between are of the kind with the smaller range. The upper one lies within ``BUFFER`` of that kind's largest
    margin, and their distance within ``BUFFER`` of its range; without these bounds the best of all intervals is chosen
    among so many that epsilon of like models grows with their number. On equal medians or ranges both ways are tried.

    As in the challenge, a rule without any error gives the cap of 50, and a rule for which only one of FPR and FNR is 0
    is skipped, for it shows too few models rather than a leak; where every rule is skipped, epsilon is 0. All
    thresholds within the bounds that make a difference are tried, where the challenge tries those of a grid with steps
    of 0.01. It also gives the cap wherever one range is below 1 % of the other, to make up for its grid; this does not.

    The best rule is judged on the models that it was chosen on, so two sets of retrained models do not score 0: their
    epsilon is the baseline to compare with. With n models of each kind no value lies between log(n - 1) and the cap.
    The time grows with ``(A + B)^2 N``.

    Args:
        unlearned: Margins of the unlearned models, ``(A, N)``.
        retrained: Margins of the retrained models, ``(B, N)``.
        delta: The probability that is not accounted for, from 0 to below 1.

    Returns:
        float64 ``(N,)``, 0 to 50.

    Raises:
        UsageError: If there are fewer than 8 models of a kind, shapes do not fit, a margin is not finite, or ``delta``
            is out of its range.

    References:
        Are we making progress in unlearning? Findings from the first NeurIPS unlearning competition (Triantafillou et
        al., 2024), https://arxiv.org/abs/2406.09073
    """
    if not 0 <= delta < 1:
        raise UsageError(f"epsilon needs a delta from 0 to below 1 (got {delta}); the challenge took 1e-5.")
    unlearned_AN, retrained_BN = by_model("epsilon", MODELS_NEEDED, unlearned=unlearned, retrained=retrained)
    models, samples = len(unlearned_AN) + len(retrained_BN), unlearned_AN.shape[1]
    tables = _tables(len(unlearned_AN), len(retrained_BN), delta)
    result_N = np.zeros(samples)
    for block in blocks(models, samples, _BLOCK_VALUES):
        pair = (unlearned_AN[:, block].astype(np.float64), retrained_BN[:, block].astype(np.float64))
        cuts = _cuts(*pair)
        result_N[block] = np.maximum(_best_threshold(cuts, *pair, tables), _best_interval(cuts, *pair, tables))
    return result_N


def points(epsilon: npt.ArrayLike) -> Float64:
    """``2^(-floor(epsilon / 0.5))``: each step of 0.5 halves the points of a sample.

    Args:
        epsilon: Values from 0 on, of any shape.

    Returns:
        float64 of the same shape, from 0 (or nearly) to 1.
    """
    return np.exp2(-np.floor(np.asarray(epsilon, np.float64) / BIN_WIDTH))


def forgetting_quality(epsilon: npt.ArrayLike) -> float:
    """Mean points over the forget samples.

    Args:
        epsilon: Epsilon of each sample, ``(N,)``.

    Returns:
        0 to 1; 1 where no sample reaches an epsilon of 0.5.

    Raises:
        UsageError: If there is no sample.
    """
    if not np.size(epsilon):
        raise UsageError("forgetting_quality needs at least 1 forget sample; leave it out for an empty part.")
    return float(points(epsilon).mean())


def final_score(
    quality: float, retain_acc: float, retrained_retain_acc: float, test_acc: float, retrained_test_acc: float
) -> float:
    """Forgetting quality times what is left of the accuracies: ``F * (RA_u / RA_r) * (TA_u / TA_r)``.

    Args:
        quality: Forgetting quality, 0 to 1.
        retain_acc: Accuracy of the unlearned models on the retain set, in percent or as a share, like the other three.
        retrained_retain_acc: The retrained models' one.
        test_acc: Accuracy of the unlearned models on the test set.
        retrained_test_acc: The retrained models' one.

    Returns:
        From 0 on; above 1 is possible where the unlearned models are the more accurate ones.

    Raises:
        UsageError: If an accuracy of the retrained models is not above 0.
    """
    if not (retrained_retain_acc > 0 and retrained_test_acc > 0):
        raise UsageError("The final score needs retrained models with accuracies above 0; train them for longer.")
    return quality * (retain_acc / retrained_retain_acc) * (test_acc / retrained_test_acc)


def _tables(unlearned: int, retrained: int, delta: float) -> tuple[Float64, Float64]:
    """Epsilon of a rule by how many models of each kind its interval holds.

    Returns:
        Two flat tables, for an interval that is called unlearned and for one that is called retrained; the entry for
        ``u`` unlearned and ``r`` retrained models inside is at ``u * (retrained + 1) + r``.
    """
    inside_u = (np.arange(unlearned + 1) / unlearned)[:, None]
    outside_u = inside_u[::-1]
    inside_r = np.arange(retrained + 1) / retrained
    outside_r = inside_r[::-1]
    return _epsilon(inside_r, outside_u, delta).ravel(), _epsilon(inside_u, outside_r, delta).ravel()


def _epsilon(false_positives: Float64, false_negatives: Float64, delta: float) -> Float64:
    """Epsilon for rates of errors, 0 where the rule is skipped."""
    fpr, fnr = np.broadcast_arrays(false_positives, false_negatives)
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.log(np.maximum(1 - delta - fpr, 0)) - np.log(fnr)
        second = np.log(np.maximum(1 - delta - fnr, 0)) - np.log(fpr)
    larger = np.where((fpr == 0) ^ (fnr == 0), 0, np.fmax(first, second))
    return np.clip(np.where((fpr == 0) & (fnr == 0), EPSILON_CAP, larger), 0, EPSILON_CAP)


@dataclass(frozen=True)
class _Cuts:
    """The places between the sorted margins of all models, ``M = A + B + 1`` of them, where a threshold can lie.

    Attributes:
        below: The margin below each place, float64 ``(M, N)``; minus infinity below all.
        above: The margin above it, likewise; infinity above all. Where both are equal, nothing can be cut.
        codes: How many models lie below it, coded as in the tables, ``(M, N)``.
    """

    below: Float64
    above: Float64
    codes: Codes


def _cuts(unlearned_AN: Float64, retrained_BN: Float64) -> _Cuts:
    pooled = np.concatenate([unlearned_AN, retrained_BN])
    order = np.argsort(pooled, axis=0)
    ends = np.full((1, pooled.shape[1]), np.inf)
    padded = np.concatenate([-ends, np.take_along_axis(pooled, order, axis=0), ends])
    step = np.where(order < len(unlearned_AN), len(retrained_BN) + 1, 1)
    codes = np.zeros((len(pooled) + 1, pooled.shape[1]), np.int32)
    np.cumsum(step, axis=0, out=codes[1:])
    return _Cuts(padded[:-1], padded[1:], codes)


def _best_threshold(
    cuts: _Cuts, unlearned_AN: Float64, retrained_BN: Float64, tables: tuple[Float64, Float64]
) -> Float64:
    """Epsilon of the best rule that calls the margins above a threshold the kind with the larger median."""
    higher_N = np.median(unlearned_AN, axis=0) - np.median(retrained_BN, axis=0)
    above = cuts.codes[-1] - cuts.codes
    best_N = np.zeros(len(higher_N))
    for table, fits_N in zip(tables, (higher_N >= 0, higher_N <= 0), strict=True):
        found = np.where(fits_N & (cuts.below < cuts.above), table.take(above), 0)
        np.maximum(best_N, found.max(axis=0), out=best_N)
    return best_N


def _best_interval(
    cuts: _Cuts, unlearned_AN: Float64, retrained_BN: Float64, tables: tuple[Float64, Float64]
) -> Float64:
    """Epsilon of the best rule that calls the margins between two thresholds the kind with the smaller range.

    With ``r`` the upper threshold, ``l`` the lower one, and ``top`` and ``width`` the largest margin and the range of
    that kind: ``|r - top| <= BUFFER`` and ``|r - l - width| <= BUFFER``. Margins that equal a threshold are inside, so
    ``r`` in place ``j`` can be any number from ``below`` up to but not ``above``, and ``l`` in place ``i`` any number
    above ``below`` up to ``above``.
    """
    best_N = np.zeros(unlearned_AN.shape[1])
    kinds = (unlearned_AN, retrained_BN, tables[0]), (retrained_BN, unlearned_AN, tables[1])
    for narrow, wide, table in kinds:
        fits_N = np.ptp(narrow, axis=0) <= np.ptp(wide, axis=0)
        below, above = (np.compress(fits_N, each, axis=1) for each in (cuts.below, cuts.above))
        codes = np.compress(fits_N, cuts.codes, axis=1)
        top, width = narrow.max(axis=0)[fits_N], np.ptp(narrow, axis=0)[fits_N]
        real = below < above
        upper = real & (above > top - BUFFER) & (below <= top + BUFFER)
        # For each place of the upper threshold, how low and how high the lower one may lie.
        least = np.where(upper, np.maximum(below, top - BUFFER) - width - BUFFER, np.inf)
        most = np.minimum(above, top + BUFFER) - width + BUFFER
        above = np.where(real, above, -np.inf)
        found = np.zeros(len(width))
        for length in range(1, len(codes)):
            reached = (above[:-length] >= least[length:]) & (below[:-length] < most[length:])
            epsilon = table.take(codes[length:] - codes[:-length])
            np.maximum(found, (epsilon * reached).max(axis=0), out=found)
        best_N[fits_N] = np.maximum(best_N[fits_N], found)
    return best_N
