"""U-LiRA: the likelihood ratio of LiRA between models that unlearned a sample and models that never saw it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.lira import gaussian_log_ratio
from natmu.scores.references import Float64


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


def ulira_accuracy(scores: npt.ArrayLike, member: npt.ArrayLike) -> float:
    """Percent of right guesses, where a positive ratio is a guess at "trained on and unlearned".

    A ratio of exactly 0 is a toss of a coin and counts as half a right guess. With as many samples of one kind as of
    the other, 50 is what guessing reaches.

    Args:
        scores: Log likelihood ratios from ``ulira``, of any shape.
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
