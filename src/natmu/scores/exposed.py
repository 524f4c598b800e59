"""Attacks with reference models on one target: a number per forget sample, and per unseen sample like them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.lira import lira_offline, lira_online
from natmu.scores.panel import Shadows
from natmu.scores.population import forgotten_and_unseen
from natmu.scores.rmia import log_ratio
from natmu.scores.signals import loss, margin
from natmu.scores.ulira import ulira, ulira_accuracy
from natmu.types import Predictions

Values = npt.NDArray[np.float64]
Sides = tuple[Values, Values]
"""Attack scores of the forget samples and of unseen ones; larger is more like a member."""


def _ulira(target: Values, shadows: Shadows) -> Values:
    if not len(shadows.after):
        raise UsageError("ulira needs the shadow models after unlearning too; unlearn what each had of the pool.")
    return ulira(target, shadows.after, shadows.forgot)


_SHADOWED: Mapping[str, Callable[[Values, Shadows], Values]] = {
    "lira": lambda target, shadows: lira_online(target, shadows.before, shadows.member),
    "lira_offline": lambda target, shadows: lira_offline(target, shadows.before, shadows.member),
    "ulira": _ulira,
}


def exposed_by_rmia(target: Predictions, references: Sequence[Predictions]) -> Sides:
    """RMIA by the ratio that its score grows with, so that no sample is weighed against itself.

    Args:
        target: The attacked model's predictions.
        references: Predictions of models that were trained on neither the forget set nor the unseen samples.

    Raises:
        UsageError: If there is no reference, or a part is empty.
    """
    if not references:
        raise UsageError("rmia needs at least 1 retrained model beside the attacked one; retrain more of them.")

    def log_shares(one: Predictions) -> Values:
        return -np.concatenate([loss(part) for part in forgotten_and_unseen(one)])

    ratio_N = log_ratio(log_shares(target), np.stack([log_shares(one) for one in references]))
    count = len(target.forget)
    return ratio_N[:count], ratio_N[count:]


def exposed_by_shadows(attack: str, target: Predictions, shadows: Shadows | None) -> Sides:
    """LiRA on-line or off-line, or U-LiRA.

    Args:
        attack: ``lira``, ``lira_offline`` or ``ulira``.
        target: The attacked model's predictions; it is none of the shadows.
        shadows: What the attack knows.

    Raises:
        UsageError: If there are no shadows, or too few of them.
    """
    if shadows is None:
        raise UsageError(
            f"{attack} needs shadow models, 64 to be worth anything; audit at the level full, with the data in memory."
        )
    forgotten, unseen = forgotten_and_unseen(target)
    target_P = np.concatenate([margin(forgotten), margin(unseen)[shadows.non_members]])
    score_P = _SHADOWED[attack](target_P, shadows)
    return score_P[: len(forgotten)], score_P[len(forgotten) :]


def guessed_right(sides: Sides) -> float:
    """Percent of right guesses by the sign of U-LiRA's ratio, on forget and unseen samples together."""
    truth = np.repeat([True, False], [len(side) for side in sides])
    return ulira_accuracy(np.concatenate(sides), truth)
