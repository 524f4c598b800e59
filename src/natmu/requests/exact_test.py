r"""Whether a model is right on samples more or less often than retrained models, beyond chance.

Let a model and :math:`R` retrained ones predict the same :math:`S` samples. If the model differs from retrained ones by
chance alone, then on each sample any :math:`k` of the :math:`R + 1` models may be those that are right. Of
:math:`t_s` models that are right on sample :math:`s`, our model is one with probability :math:`t_s / (R + 1)`. So,
given all :math:`t_s`, the number of samples that it is right on is a sum of independent Bernoulli variables with these
probabilities (a Poisson binomial distribution), and its tail is the exact p-value. How hard a sample is does not
matter, because that is in its :math:`t_s`. Samples that all or none of the models are right on tell nothing. With one
retrained model this is the exact test of McNemar (1947).

The test takes samples as independent. Models that are better or worse as a whole, as two trainings always are by some
tenths of a point, would count as a difference where samples are many. So a model is only said to differ if it also lies
beyond every retrained model, which happens to one of :math:`R + 1` equal models with probability
:math:`1 / (R + 1)` at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from natmu.scores.correction import holm
from natmu.types import BoolArray

SIGNIFICANCE = 0.01
"""Probability of saying that a model differs from retrained ones although it does not."""


def chance_of(correct_S: BoolArray, retrained_RS: BoolArray, side: Literal["more", "less"]) -> float:
    """Probability that one of ``R + 1`` equal models is right as often as the given one, or further out.

    Args:
        correct_S: On which samples the model is right, bool ``(S,)``.
        retrained_RS: On which ones each retrained model is, bool ``(R, S)``.
        side: Whether the model is suspected of being right more often, or less often.

    Returns:
        The exact one-sided p-value; 1 without samples or without retrained models.

    >>> chance_of(np.ones(7, bool), np.zeros((1, 7), bool), "more") == 0.5**7
    True
    """
    assert retrained_RS.ndim == 2 and retrained_RS.shape[1] == len(correct_S), "one row per model"  # noqa: PT018
    if side == "less":
        return chance_of(~correct_S, ~retrained_RS, "more")
    models = len(retrained_RS) + 1
    right_S = retrained_RS.sum(axis=0) + correct_S
    open_S = (right_S > 0) & (right_S < models)
    distribution = _number_right(np.bincount(right_S[open_S], minlength=models)[:models])
    return min(1.0, float(distribution[np.count_nonzero(correct_S & open_S) :].sum()))


def _number_right(samples_T: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The distribution of the number of samples that one of ``T`` equal models is right on.

    Args:
        samples_T: By ``t``, how many samples ``t`` of the ``T`` models are right on.

    Returns:
        Probability of 0, 1, … samples.
    """
    from scipy.stats import binom  # slow to import

    distribution = np.ones(1)
    for right, count in enumerate(samples_T):
        if count:
            distribution = np.convolve(distribution, binom.pmf(np.arange(count + 1), count, right / len(samples_T)))
    return distribution


def which_came_back(models: Sequence[tuple[BoolArray, BoolArray]]) -> list[bool | None]:
    """Which of several requests a model is right on more often than retrained models, beyond chance.

    Holm's correction is for the number of requests: if none came back, then with probability ``1 - SIGNIFICANCE`` at
    least none is said to have.

    Args:
        models: For each request, on which samples the model is right, bool ``(S,)``, and each retrained one,
            bool ``(R, S)``.

    Returns:
        For each request the answer; None where it cannot be given: without retrained models, and where not even a
        model that is right on all samples would differ, since they are too few or retrained models know them too.
    """
    asked = [number for number, (correct, retrained) in enumerate(models) if _can_be_said(correct, retrained)]
    chances = [chance_of(*models[number], "more") for number in asked]
    answers: list[bool | None] = [None] * len(models)
    for number, rejected in zip(asked, holm(chances, 1 - SIGNIFICANCE), strict=True):
        correct, retrained = models[number]
        answers[number] = rejected and bool(correct.sum() > retrained.sum(axis=1).max())
    return answers


def came_back(correct_S: BoolArray, retrained_RS: BoolArray) -> bool | None:
    """Whether a model is right on samples more often than retrained models, beyond chance.

    Args:
        correct_S: On which samples the model is right, bool ``(S,)``.
        retrained_RS: On which ones each retrained model is, bool ``(R, S)``.

    Returns:
        None where that cannot be said; see ``which_came_back``, which answers for several requests at once.
    """
    return which_came_back([(correct_S, retrained_RS)])[0]


def _can_be_said(correct_S: BoolArray, retrained_RS: BoolArray) -> bool:
    """Whether a model that is right on all samples would differ from these retrained models."""
    if not retrained_RS.size:
        return False
    return holm([chance_of(np.ones_like(correct_S), retrained_RS, "more")], 1 - SIGNIFICANCE)[0]
