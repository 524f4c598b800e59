"""RMIA: membership from the ratio of a sample's probability to that of samples from the population."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.references import Float64

A = 0.3
"""How close probabilities of members and non-members are taken to be: what the authors' code takes without tuning."""


def rmia(
    target_x: npt.ArrayLike,
    references_x: npt.ArrayLike,
    target_z: npt.ArrayLike,
    references_z: npt.ArrayLike,
    gamma: float = 1.0,
    a: float = A,
) -> Float64:
    """Share of the population that a sample stands out from, in the off-line form of the attack.

    ``p_out`` is the mean probability over reference models that were not trained on ``x``, and the prior
    ``p(x) = ((1 + a) p_out(x) + (1 - a)) / 2`` stands for models of both kinds. With ``ratio = p_target / p``, the
    score is the share of population samples ``z`` with ``ratio(x) >= gamma * ratio(z)``. The ratios of ``z`` are
    sorted once, so the time is that of sorting and the memory that of the inputs.

    To rank samples take ``log_ratio``, of which the score is a non-decreasing function: a population of M samples ties
    all that exceed it, and if it is also one of the ranked sides, each of its samples counts itself.

    The authors' code asks for a larger ratio where the paper, and this, lets an equal one do, which differs on ties
    only. It also tunes ``a`` on a model whose members are known, unless it is given.

    All inputs are natural logarithms of the probability of the true class; minus infinity is a probability of 0.

    Args:
        target_x: The attacked model on the samples in question, ``(N,)``.
        references_x: The K reference models on the same, ``(K, N)``.
        target_z: The attacked model on population samples that it was not trained on, ``(M,)``.
        references_z: The reference models on those, ``(K, M)``.
        gamma: How much larger the sample's ratio has to be, above 0.
        a: How close probabilities of members and non-members are, 0 to 1; the prior is ``p_out`` itself at 1.

    Returns:
        float64 ``(N,)``, 0 to 1; larger means more likely a member.

    Raises:
        UsageError: If shapes do not fit, there is no reference model or no population, a value is no logarithm of a
            probability, or ``gamma`` or ``a`` is out of its range.

    References:
        Low-Cost High-Power Membership Inference Attacks (Zarifzadeh et al., 2024), https://arxiv.org/abs/2312.03262
    """
    if not (gamma > 0 and np.isfinite(gamma)):
        raise UsageError(f"rmia needs gamma above 0 (got {gamma}); the paper takes 1.")
    ratio_N, ratio_M = log_ratio(target_x, references_x, a), log_ratio(target_z, references_z, a)
    if np.shape(references_x)[0] != np.shape(references_z)[0]:
        raise UsageError("rmia needs the same reference models on samples and population; ask all of them about both.")
    return share_reached(ratio_N - np.log(gamma), ratio_M)


def share_reached(ratio_x: npt.ArrayLike, ratio_z: npt.ArrayLike) -> Float64:
    """For each sample, the share of the population with a ratio that is not larger.

    Args:
        ratio_x: ``log_ratio`` of the samples, ``(N,)``.
        ratio_z: ``log_ratio`` of the population, ``(M,)``.

    Returns:
        float64 ``(N,)``, 0 to 1.

    Raises:
        UsageError: If there is no population.
    """
    population_M = np.sort(np.asarray(ratio_z))
    if not len(population_M):
        raise UsageError("rmia needs at least 1 population sample; give it samples outside the training data.")
    return np.asarray(np.searchsorted(population_M, np.asarray(ratio_x), side="right") / len(population_M))


def log_ratio(target: npt.ArrayLike, references: npt.ArrayLike, a: float = A) -> Float64:
    """Logarithm of the target's probability over the prior of ``rmia``, by which samples are ranked.

    Args:
        target: Logarithms of the attacked model's probability of the true class, ``(N,)``.
        references: Those of the reference models, ``(K, N)``.
        a: As of ``rmia``.

    Returns:
        float64 ``(N,)``; larger means more likely a member, and 0 is where both probabilities are 0.

    Raises:
        UsageError: If shapes do not fit, there is no reference model, a value is no logarithm of a probability, or
            ``a`` is out of its range.
    """
    if not 0 <= a <= 1:
        raise UsageError(f"rmia needs a from 0 to 1 (got {a}); 0.3 is the authors' default.")
    target_N, references_KN = np.asarray(target), np.asarray(references)
    _check(target_N, references_KN)
    # A reduction in float64 casts row by row: there is no second array of the size of the references.
    out_N = np.logaddexp.reduce(references_KN, axis=0, dtype=np.float64) - np.log(len(references_KN))
    with np.errstate(divide="ignore"):
        prior_N = np.logaddexp(np.log1p(a) + out_N, np.log1p(-a)) - np.log(2)
    target_N = target_N.astype(np.float64)
    ratio_N = np.zeros(target_N.shape)
    np.subtract(target_N, prior_N, out=ratio_N, where=np.isfinite(target_N) | np.isfinite(prior_N))
    return ratio_N


def _check(target_N: npt.NDArray[np.number], references_KN: npt.NDArray[np.number]) -> None:
    """Refuse what no ratio can be computed of."""
    if target_N.ndim != 1 or references_KN.ndim != 2 or references_KN.shape[1] != len(target_N):
        raise UsageError(
            f"rmia needs one value per sample and one row per reference model, but got {target_N.shape} and "
            f"{references_KN.shape}; align them."
        )
    if not len(references_KN):
        raise UsageError("rmia needs at least 1 reference model; train one without the samples in question.")
    # Rounding may lift the logarithm of a probability of 1 a little above 0.
    if not all((values <= 1e-3).all() for values in (target_N, references_KN)):
        raise UsageError("rmia needs logarithms of probabilities, at most 0; take the logarithm of the softmax first.")
