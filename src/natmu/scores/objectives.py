"""What a search of settings minimises: how far from retrained models, or what can be known of that without any.

Both read predictions in which the holdout stands for unseen data (``Predictions.test``, and ``forget_test`` for its
samples of forgotten classes), so that neither ever sees the test set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natmu.errors import SettingError
from natmu.scores.basic import scores
from natmu.scores.population import auc_forget_test, forgotten_and_unseen, leak
from natmu.scores.signals import loss
from natmu.scores.utility import SAMPLE_WISE, accuracy, avg_gap, mean_scores
from natmu.types import ForgetSet, Outputs, Predictions

_HOLDOUT_NAMES: Mapping[str, str] = {"test_acc": "holdout_acc"}

RETRAINED_TERMS = tuple(_HOLDOUT_NAMES.get(name, name) for name in SAMPLE_WISE)
"""Terms of the objective ``retrained``."""

FORGOTTEN_TERMS = ("forget_acc", "forget_loss", "forget_attack")
"""Terms of the objective ``no-retrain`` that ask whether the forget set looks unseen; one half of it."""

KEPT_TERMS = ("retain_acc", "holdout_acc")
"""Terms of the objective ``no-retrain`` that ask whether the rest is kept; the other half."""

NO_RETRAIN_TERMS = (*FORGOTTEN_TERMS, *KEPT_TERMS)
"""Terms of the objective ``no-retrain``."""


@dataclass(frozen=True)
class Judgement:
    """What an objective says of one model.

    Attributes:
        value: What is minimised, in percentage points, 0 to 100.
        terms: What it is made of, in percentage points, each 0 to 100.
    """

    value: float
    terms: dict[str, float]


def on_holdout(outputs: Outputs, forget: ForgetSet) -> Predictions:
    """Divide a model's predictions as the forget set asks, with the holdout in the place of the test data.

    Args:
        outputs: One model's predictions, with a holdout.
        forget: The forget set.

    Returns:
        ``test`` is the holdout, without forgotten classes; ``forget_test`` its samples of these, where whole classes or
        sub-classes are forgotten. Nothing of the test data is in it.

    Raises:
        SettingError: If there is no holdout.
    """
    if outputs.holdout is None:
        raise SettingError("There is no holdout to search on; set data.holdout: true in the recipe.")
    return Outputs(outputs.train, outputs.holdout).split(forget)


def against_retrained(model: Predictions, retrained: Sequence[Predictions]) -> Judgement:
    """The objective ``retrained``: ``avg_gap`` on the holdout.

    Args:
        model: The unlearned model's predictions, as ``on_holdout`` gives them.
        retrained: Those of models retrained without the same forget set, one at least.

    Returns:
        ``avg_gap``, and the four distances that it is the mean of.

    Raises:
        UsageError: If a part is empty or there is no retrained model.
        TrainingError: If logits are not finite numbers.
    """
    own, reference = scores(model), mean_scores([scores(one) for one in retrained])
    value = avg_gap(own, reference)
    return Judgement(value, {_HOLDOUT_NAMES.get(name, name): abs(own[name] - reference[name]) for name in SAMPLE_WISE})


def without_retrained(model: Predictions, original: Predictions, *, whole_classes: bool) -> Judgement:
    """The objective ``no-retrain``: the forget set looks unseen, and the rest is as good as it was.

    To a model retrained without them, forget samples are like samples of the holdout. With *unseen* for the holdout, or
    its samples of the forgotten classes where classes are forgotten, the terms are:

    - ``forget_acc``: ``|acc(forget) - acc(unseen)|``. Where whole classes are forgotten it is ``acc(forget)``, because
      a model that never met a label does not predict it, on seen and unseen samples alike.
    - ``forget_loss``: 100 times the largest distance between the distribution functions of the losses of forget and
      unseen samples (Kolmogorov-Smirnov): what the best threshold on the loss gains over guessing.
    - ``forget_attack``: ``200 * |AUC - 0.5|`` of telling forget from unseen samples by the entropy of the predictions,
      which needs no label.
    - ``retain_acc``, ``holdout_acc``: by how much the accuracy on the retain set, and on the holdout without forgotten
      classes, falls short of the original's; 0 where it does not.

    The value is ``(mean of the first three + mean of the last two) / 2``: one half for what is forgotten and one for
    what is kept, as in ``avg_gap``, which has two terms of each. Within each half all count alike: they have the same
    unit, and there is nothing to fit other weights to.

    Samples must be like those of the holdout for this to be right. Those of ``hardest`` sets are harder, so that a
    retrained model is further from the holdout's accuracy than this asks for; and of a sub-class it cannot be known how
    much a retrained model would still get right, only that seen and unseen samples of it are alike.

    Args:
        model: The unlearned model's predictions, as ``on_holdout`` gives them.
        original: The original's.
        whole_classes: Whether the forget set is all samples of some labels.

    Raises:
        UsageError: If a part is empty.
        TrainingError: If logits are not finite numbers.
    """
    forgotten, unseen = forgotten_and_unseen(model)
    target = 0.0 if whole_classes else accuracy(unseen)
    terms = {
        "forget_acc": abs(accuracy(forgotten) - target),
        "forget_loss": 100.0 * largest_distance(loss(forgotten), loss(unseen)),
        "forget_attack": 200.0 * leak(auc_forget_test(model, "entropy")),
        "retain_acc": max(0.0, accuracy(original.retain) - accuracy(model.retain)),
        "holdout_acc": max(0.0, accuracy(original.test) - accuracy(model.test)),
    }
    halves = [float(np.mean([terms[name] for name in names])) for names in (FORGOTTEN_TERMS, KEPT_TERMS)]
    return Judgement(float(np.mean(halves)), terms)


def largest_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Largest distance between the distribution functions of two samples (Kolmogorov-Smirnov).

    Args:
        first: Values ``(M,)``, not empty.
        second: Values ``(N,)``, not empty.

    Returns:
        0 to 1. Two samples of one distribution are about ``0.87 * sqrt(1/M + 1/N)`` apart.

    >>> largest_distance([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    one, other = np.sort(np.asarray(first, np.float64)), np.sort(np.asarray(second, np.float64))
    steps = np.concatenate([one, other])
    below = [values.searchsorted(steps, "right") / len(values) for values in (one, other)]
    return float(np.abs(below[0] - below[1]).max())
