"""U-LiRA: the likelihood ratio of LiRA between models that unlearned a sample and models that never saw it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.lira import (
    PER_SAMPLE_FROM,
    Mask,
    Moments,
    check_shadows,
    gaussian_log_ratio,
    log_density,
    moments,
    require_shadows,
    sigma_of,
)
from natmu.scores.references import Float64, Number, blocks


def ulira(target: npt.ArrayLike, shadows: npt.ArrayLike, member: npt.ArrayLike) -> Float64:
    """Log likelihood ratio that an unlearned model had been trained on a sample and unlearned it.

    Every shadow went through unlearning. Where ``member`` is true, the sample was in its training data and in the set
    that it unlearned; where it is false, it never saw the sample, and unlearned others. The Gaussians, their variances
    and the floor are those of ``natmu.scores.lira.lira_online``: the same function does the work, and only what the
    shadows are differs.

    Args:
        target: Margins of the unlearned model under attack, ``(N,)``; it must not be one of the shadows.
        shadows: Margins of the shadow models after unlearning, ``(K, N)``.
        member: Which shadow was trained on and unlearned which sample, bool ``(K, N)``.

    Returns:
        float64 ``(N,)``; larger means more likely trained on and unlearned, 0 that both are equally likely.

    Raises:
        UsageError: As ``lira_online``.

    References:
        Inexact Unlearning Needs More Careful Evaluations to Avoid a False Sense of Privacy (Hayes et al., 2024),
        https://arxiv.org/abs/2403.01218
    """
    return gaussian_log_ratio("ulira", target, shadows, member)


def ulira_held_out(shadows: npt.ArrayLike, member: npt.ArrayLike) -> Float64:
    """Attack every shadow by all the others: ``ulira`` with each in turn as the target, left out of the fit.

    What a model takes with it, when it leaves, is subtracted from sums over all models, so nothing is fitted K times.
    Whether variances are per sample is decided by the K - 1 models that are left.

    Args:
        shadows: Margins of the shadow models after unlearning, ``(K, N)``.
        member: Which shadow was trained on and unlearned which sample, bool ``(K, N)``.

    Returns:
        float64 ``(K, N)``, oriented as ``ulira``.

    Raises:
        UsageError: If shapes do not fit, a margin is not finite, or a sample has fewer than 2 shadows of either kind
            (3 from 65 shadows on).
    """
    shadows_KN, member_KN = check_shadows("ulira_held_out", shadows, member)
    own = len(shadows_KN) > PER_SAMPLE_FROM
    scores_KN = np.zeros(shadows_KN.shape)
    for sign, chosen_KN, kind in ((1, member_KN, "trained on"), (-1, ~member_KN, "not trained on")):
        found = moments(shadows_KN, chosen_KN)
        require_shadows("ulira_held_out", found.count, 3 if own else 2, kind)
        sigma_K = None if own else _common_sigma(shadows_KN, chosen_KN, found, kind)
        for block in blocks(*shadows_KN.shape):
            values = shadows_KN[:, block].astype(np.float64)
            mean, squares, freedom = _without_itself(values, chosen_KN[:, block], found, block)
            sigma = sigma_of(squares, freedom) if sigma_K is None else sigma_K
            scores_KN[:, block] += sign * log_density(values, mean, sigma)
    return scores_KN


def ulira_accuracy(scores: npt.ArrayLike, member: npt.ArrayLike) -> float:
    """Percent of right guesses, where a positive ratio is a guess at "trained on and unlearned".

    A ratio of exactly 0 is a toss of a coin and counts as half a right guess. With as many samples of one kind as of
    the other, 50 is what guessing reaches.

    Args:
        scores: Log likelihood ratios from ``ulira`` or ``ulira_held_out``, of any shape.
        member: The truth, bool, of the same shape.

    Returns:
        A percentage, 0 to 100.

    Raises:
        UsageError: If there is nothing to guess, or the shapes differ.
    """
    guesses, truth = np.sign(np.asarray(scores, np.float64)), np.asarray(member, np.bool_)
    if guesses.shape != truth.shape or not guesses.size:
        raise UsageError("ulira_accuracy needs at least 1 score, and for each whether it is a member; align them.")
    return 50.0 * float(np.mean(1 + guesses * np.where(truth, 1, -1)))


def _without_itself(
    values: Float64, chosen: Mask, found: Moments, block: slice
) -> tuple[Float64, Float64, npt.NDArray[np.int64]]:
    """Mean, squared distances and degrees of freedom of the chosen models, for each model without itself."""
    count, mean, squares = found.count[block], found.mean[block], found.squares[block]
    # A model that is not among the chosen has no distance, so that leaving it out changes nothing.
    distance = np.where(chosen, values - mean, 0)
    left = mean - distance / (count - 1)
    return left, np.maximum(squares - np.square(distance) * (count / (count - 1)), 0), count - 1 - chosen


def _common_sigma(shadows_KN: Number, chosen_KN: Mask, found: Moments, kind: str) -> Float64:
    """For each model without itself, the one standard deviation of all samples, ``(K, 1)``."""
    models = len(shadows_KN)
    squares_K, freedom_K = np.zeros(models), np.zeros(models, np.int64)
    for block in blocks(*shadows_KN.shape):
        values = shadows_KN[:, block].astype(np.float64)
        _, squares, freedom = _without_itself(values, chosen_KN[:, block], found, block)
        squares_K += squares.sum(axis=1)
        freedom_K += freedom.sum(axis=1)
    if shadows_KN.shape[1] and not freedom_K.all():
        raise UsageError(f"ulira_held_out needs at least 3 shadow models {kind} one sample; train more shadow models.")
    return sigma_of(squares_K, np.maximum(freedom_K, 1))[:, None]
