"""The scores of the research code, all read from one model's stored predictions."""

from __future__ import annotations

from dataclasses import replace

from natmu.errors import SettingError
from natmu.scores.population import mia_entropy
from natmu.scores.signals import require_finite
from natmu.scores.utility import accuracy
from natmu.types import Predictions

SCORE_NAMES = ("test_acc", "forget_test_acc", "retain_acc", "forget_acc", "mia_entropy")
"""The scores of every table, in their order; ``forget_test_acc`` only where whole classes are forgotten.

Examples:
    >>> set(SAMPLE_WISE) < set(SCORE_NAMES)
    True
"""


def scores(predictions: Predictions) -> dict[str, float]:
    """Score one model.

    A score that would need samples of an empty part is left out.

    Args:
        predictions: One model's predictions. For whole classes or sub-classes ``test`` is without them and
            ``forget_test`` holds them.

    Returns:
        Names out of ``SCORE_NAMES``, in that order, each with a percentage, 0 to 100; with a holdout
        ``holdout_acc`` too, after an earlier request ``before_acc``, and where labels are corrected ``corrected_acc``.

    Raises:
        TrainingError: If a logit is not a number or infinite, as after training that diverged.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> scores(panel.model)["test_acc"] == accuracy(panel.model.test)
        True
    """
    parts = {
        "test_acc": predictions.test,
        "forget_test_acc": predictions.forget_test,
        "retain_acc": predictions.retain,
        "forget_acc": predictions.forget,
        "holdout_acc": predictions.holdout,
        "before_acc": predictions.before,
        "corrected_acc": predictions.corrected,
    }
    filled = {name: part for name, part in parts.items() if part is not None and len(part)}
    for part in filled.values():
        require_finite(part)
    result = {name: accuracy(part) for name, part in filled.items()}
    if {"test_acc", "retain_acc", "forget_acc"} <= filled.keys():
        result["mia_entropy"] = mia_entropy(predictions)
    return result


def holdout_as_test(predictions: Predictions) -> Predictions:
    """Put the holdout in the place of the test data, so that a search never sees the latter.

    Args:
        predictions: One model's predictions, with a holdout.

    Returns:
        The same retain and forget parts; ``test`` is the holdout, ``forget_test`` and ``holdout`` are None.

    Raises:
        SettingError: If there is no holdout, or nothing is left of it.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> len(panel.model.test), len(holdout_as_test(panel.model).test)
        (1000, 500)
    """
    holdout = predictions.holdout
    if holdout is None or not len(holdout):
        raise SettingError(
            "There is no holdout to score on; set aside a holdout that was never trained on, or score on the test set."
        )
    return replace(predictions, test=holdout, forget_test=None, holdout=None)
