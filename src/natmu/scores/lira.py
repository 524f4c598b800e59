"""LiRA: per sample, Gaussians over shadow models that were trained on it and over models that were not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.references import Float64, Number, blocks, by_model, require_finite

PER_SAMPLE_FROM = 64
"""Shadow models from which on each sample has variances of its own."""
SIGMA_FLOOR = 1e-5
"""Smallest standard deviation: about the distance of neighbouring float32 numbers of the size of a large logit."""

Mask = npt.NDArray[np.bool_]


def lira_online(target: npt.ArrayLike, shadows: npt.ArrayLike, member: npt.ArrayLike) -> Float64:
    """Log likelihood ratio of Gaussians fitted to models trained on a sample and to models that never saw it.

    Every input value is the margin ``phi = log p_y - log sum of the other p``. Means are per sample. With fewer than 64
    shadows one standard deviation serves all samples, one for models trained on them and one for the others: squared
    distances from each sample's own mean, over the degrees of freedom ``sum (models - 1)``. From 64 on, each sample
    has its own two. No standard deviation is below ``SIGMA_FLOOR``.

    Args:
        target: The attacked model's margins, ``(N,)``; it must not be one of the shadows.
        shadows: The shadow models' margins, ``(K, N)``.
        member: Which shadow was trained on which sample, bool ``(K, N)``.

    Returns:
        float64 ``(N,)``; larger means more likely a member, and 0 that both are equally likely.

    Raises:
        UsageError: If shapes do not fit, a margin is not finite, or a sample has fewer than 1 shadow of either kind
            (2 from 64 shadows on).

    References:
        Membership Inference Attacks From First Principles (Carlini et al., 2022), https://arxiv.org/abs/2112.03570
    """
    return gaussian_log_ratio("lira_online", target, shadows, member)


def lira_offline(target: npt.ArrayLike, shadows: npt.ArrayLike, member: npt.ArrayLike) -> Float64:
    """How many standard deviations the target lies above models that never saw the sample.

    The paper's score is one minus the probability of a larger margin under the Gaussian of the models without the
    sample. That is an increasing function of the value here, so it orders samples alike, but rounds to 1 for the
    most exposed ones, which this does not. Means and standard deviations are as in ``lira_online``.

    Args:
        target: The attacked model's margins, ``(N,)``; it must not be one of the shadows.
        shadows: The shadow models' margins, ``(K, N)``.
        member: Which shadow was trained on which sample, bool ``(K, N)``; those values are not used.

    Returns:
        float64 ``(N,)``; larger means more likely a member.

    Raises:
        UsageError: If shapes do not fit, a margin is not finite, or a sample has fewer than 1 shadow without it (2 from
            64 shadows on).

    References:
        Membership Inference Attacks From First Principles (Carlini et al., 2022), https://arxiv.org/abs/2112.03570
    """
    shadows_KN, member_KN = _check_shadows("lira_offline", shadows, member)
    target_N = _check_target("lira_offline", target, shadows_KN)
    mean_N, sigma_N = _fit("lira_offline", shadows_KN, ~member_KN, "not trained on")
    return (target_N - mean_N) / sigma_N


def gaussian_log_ratio(score: str, target: npt.ArrayLike, shadows: npt.ArrayLike, member: npt.ArrayLike) -> Float64:
    """The log likelihood ratio of ``lira_online``, for a score of any name; ``ulira`` is this with other shadows."""
    shadows_KN, member_KN = _check_shadows(score, shadows, member)
    target_N = _check_target(score, target, shadows_KN)
    inside = _fit(score, shadows_KN, member_KN, "trained on")
    outside = _fit(score, shadows_KN, ~member_KN, "not trained on")
    return _log_density(target_N, *inside) - _log_density(target_N, *outside)


def _log_density(values: Float64, mean: Float64, sigma: Float64) -> Float64:
    """Logarithm of a Gaussian density, without the constant that no ratio depends on."""
    return np.asarray(-0.5 * np.square((values - mean) / sigma) - np.log(sigma))


@dataclass(frozen=True)
class _Moments:
    """Per sample, what the chosen shadow models say.

    Attributes:
        count: How many were chosen, int64 ``(N,)``.
        mean: Their mean, ``(N,)``; 0 where none was chosen.
        squares: Sum of the squared distances from it, ``(N,)``.
    """

    count: npt.NDArray[np.int64]
    mean: Float64
    squares: Float64


def _moments(shadows_KN: Number, chosen_KN: Mask) -> _Moments:
    """Count, mean and squared distances of the chosen shadows, block by block of samples."""
    models, samples = shadows_KN.shape
    count_N = chosen_KN.sum(axis=0, dtype=np.int64)
    mean_N, squares_N = np.zeros(samples), np.zeros(samples)
    for block in blocks(models, samples):
        values, chosen = shadows_KN[:, block].astype(np.float64), chosen_KN[:, block]
        mean_N[block] = np.where(chosen, values, 0).sum(axis=0) / np.maximum(count_N[block], 1)
        # Distances from the mean before squaring: a constant added to all margins cancels, however large.
        squares_N[block] = np.square(np.where(chosen, values - mean_N[block], 0)).sum(axis=0)
    return _Moments(count_N, mean_N, squares_N)


def _require_shadows(score: str, count_N: npt.NDArray[np.int64], needed: int, kind: str) -> None:
    """Refuse a fit where a sample has too few shadows, or where none of them has a spread.

    Raises:
        UsageError: Names the score, the number needed, and the first sample with too few.
    """
    if (short := np.flatnonzero(count_N < needed)).size:
        raise UsageError(
            f"{score} needs at least {needed} shadow models {kind} each sample, but sample {short[0]} has "
            f"{count_N[short[0]]}; train more shadow models or leave such samples out."
        )
    if len(count_N) and (count_N == needed).all() and needed == 1:
        raise UsageError(
            f"{score} needs at least 2 shadow models {kind} one and the same sample; train more shadow models."
        )


def _sigma_of(squares: npt.ArrayLike, freedom: npt.ArrayLike) -> Float64:
    """Standard deviation from summed squares and degrees of freedom, never below ``SIGMA_FLOOR``."""
    return np.asarray(np.maximum(np.sqrt(np.asarray(squares) / freedom), SIGMA_FLOOR))


def _check_shadows(score: str, shadows: npt.ArrayLike, member: npt.ArrayLike) -> tuple[Number, Mask]:
    """The shadows' margins and their memberships as arrays of one shape.

    Raises:
        UsageError: If shapes do not fit, a margin is not finite, or the memberships are not booleans.
    """
    (shadows_KN,) = by_model(score, 1, shadow=shadows)
    member_KN = np.asarray(member)
    if member_KN.shape != shadows_KN.shape or member_KN.dtype != np.bool_:
        raise UsageError(
            f"{score} needs true or false for each of {shadows_KN.shape} shadows and samples, but got "
            f"{member_KN.dtype} {member_KN.shape}; say which shadow was trained on which sample."
        )
    return shadows_KN, member_KN


def _check_target(score: str, target: npt.ArrayLike, shadows_KN: Number) -> Float64:
    target_N = np.asarray(target, np.float64)
    if target_N.shape != shadows_KN.shape[1:]:
        raise UsageError(
            f"{score} needs the target on the shadows' {shadows_KN.shape[1]} samples, but got {target_N.shape}; "
            "align them."
        )
    require_finite(score, target_N)
    return target_N


def _fit(score: str, shadows_KN: Number, chosen_KN: Mask, kind: str) -> tuple[Float64, Float64]:
    """Mean ``(N,)`` and standard deviation, ``(N,)`` or of all samples together, of the chosen shadows."""
    own = len(shadows_KN) >= PER_SAMPLE_FROM
    found = _moments(shadows_KN, chosen_KN)
    _require_shadows(score, found.count, 2 if own else 1, kind)
    if own:
        return found.mean, _sigma_of(found.squares, found.count - 1)
    return found.mean, _sigma_of(found.squares.sum(), max(1, (found.count - 1).sum()))
