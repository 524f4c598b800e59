"""Forgetting quality of the NeurIPS 2023 challenge: per sample, how well rules tell unlearned from retrained models."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.references import Float64, blocks, by_model

EPSILON_CAP = 50.0
BIN_WIDTH = 0.5
MODELS_NEEDED = 8
"""With fewer models of a kind, chance alone often separates them."""

_BLOCK_VALUES = 2**18

Codes = npt.NDArray[np.int32]


def epsilons(unlearned: npt.ArrayLike, retrained: npt.ArrayLike, delta: float = 1e-5) -> Float64:
    """Per sample, the largest privacy loss that a simple rule on the margins proves.

    A rule calls some margins one kind of model and the rest the other. Its shares of false positives FPR and of false
    negatives FNR prove the larger of ``log((1 - delta - FPR) / FNR)`` and ``log((1 - delta - FNR) / FPR)``. The rules
    are those of the challenge: with one threshold, margins above it are of the kind with the larger median; with two,
    those in between are of the kind with the smaller range. On equal medians or ranges both ways are tried. All
    thresholds that make a difference are tried, where the challenge tries those of a grid. Intervals without one of
    their ends are among them, and so are the rules with one threshold: to call what is above it the wider kind is to
    call what is below it the narrower one.

    As in the challenge, a rule without any error gives the cap of 50, and a rule for which only one of FPR and FNR is 0
    is skipped, for it shows too few models rather than a leak; where every rule is skipped, epsilon is 0. The
    challenge also gives the cap wherever one range is below 1 % of the other, to make up for its grid; this does not.

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
        wider = np.ptp(pair[0], axis=0) - np.ptp(pair[1], axis=0)
        result_N[block] = _best_interval(_cuts(*pair), wider, tables)
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


def _cuts(unlearned_AN: Float64, retrained_BN: Float64) -> Codes:
    """How many models lie below each place between two margins, ``(A + B + 1, N)``, coded as in the tables.

    No rule can cut between equal margins, so there the place before all of them stands in.
    """
    pooled = np.concatenate([unlearned_AN, retrained_BN])
    order = np.argsort(pooled, axis=0)
    pooled = np.take_along_axis(pooled, order, axis=0)
    step = np.where(order < len(unlearned_AN), len(retrained_BN) + 1, 1)
    codes = np.zeros((len(pooled) + 1, pooled.shape[1]), np.int32)
    np.cumsum(step, axis=0, out=codes[1:])
    codes[1:-1][pooled[1:] == pooled[:-1]] = 0
    return np.maximum.accumulate(codes, axis=0)


def _best_interval(cuts: Codes, wider_N: Float64, tables: tuple[Float64, Float64]) -> Float64:
    """Epsilon of the best rule that calls the margins in an interval the kind with the smaller range.

    Args:
        cuts: From ``_cuts``.
        wider_N: Range of the unlearned models less that of the retrained ones.
        tables: From ``_tables``.
    """
    best_N = np.zeros(cuts.shape[1])
    for table, fits_N in zip(tables, (wider_N <= 0, wider_N >= 0), strict=True):
        some = np.ascontiguousarray(cuts[:, fits_N])
        found = np.zeros(some.shape[1])
        # An interval that holds all margins is no rule.
        for length in range(1, len(some) - 1):
            np.maximum(found, table.take(some[length:] - some[:-length]).max(axis=0), out=found)
        best_N[fits_N] = np.maximum(best_N[fits_N], found)
    return best_N
