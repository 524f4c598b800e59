"""What a search of settings minimises: how far from retrained models, or what can be known of that without any.

Both read predictions in which the holdout stands for unseen data (``Predictions.test``, and ``forget_test`` for its
samples of forgotten classes), so that neither ever sees the test set.

An objective is a mean, in which much that is lost of what should be kept can be outweighed by a little that is gained
in forgetting. Settings are therefore ranked in two steps: those that lose more retain accuracy than the noise come
after all that do not (``ranked``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from natmu.errors import SettingError
from natmu.scores.basic import scores
from natmu.scores.population import auc_forget_test, forgotten_and_unseen, leak
from natmu.scores.signals import loss
from natmu.scores.utility import SAMPLE_WISE, accuracy, avg_gap, mean_scores
from natmu.types import ForgetSet, Outputs, Part, Predictions

_HOLDOUT_NAMES: Mapping[str, str] = {"test_acc": "holdout_acc"}

RETRAINED_TERMS = tuple(_HOLDOUT_NAMES.get(name, name) for name in SAMPLE_WISE)
"""Terms of the objective ``retrained``."""

FORGOTTEN_TERMS = ("forget_acc", "forget_loss", "forget_attack")
"""Terms of the objective ``no-retrain`` that ask whether the forget set looks unseen; one half of it."""

KEPT_TERMS = ("retain_acc", "holdout_acc")
"""Terms of the objective ``no-retrain`` that ask whether the rest is kept; the other half."""

NO_RETRAIN_TERMS = (*FORGOTTEN_TERMS, *KEPT_TERMS)
"""Terms of the objective ``no-retrain``."""

REVISIONS: Mapping[str, int] = {"retrained": 1, "no-retrain": 2}
"""Of each objective, a number that changes with its meaning: values of two revisions are not of one search."""

LEAST_NOISE = 1.0
"""Percentage points of retain accuracy that models may differ by in any case: few samples, or two models, cannot show
how much the randomness of training moves it."""

DRAWS = 200
"""Bootstrap draws of the noise of the objective ``no-retrain``."""

QUANTILE = 0.95
"""Of the bootstrap draws: the noise is what only one draw in twenty exceeds."""


@dataclass(frozen=True)
class Judgement:
    """What an objective says of one model.

    Attributes:
        value: The objective, in percentage points, 0 to 100.
        terms: What it is made of, in percentage points, each 0 to 100.
        lost: Percentage points of retain accuracy that are lost beyond the noise; 0 where none are.
    """

    value: float
    terms: dict[str, float]
    lost: float = 0.0


def ranked(judgements: Sequence[Judgement]) -> float:
    """What a search minimises over several forget sets.

    Args:
        judgements: Those of one model per forget set, one at least.

    Returns:
        The mean of their values where none lost retain accuracy beyond the noise. Else 100 plus the largest loss: more
        than any mean of values, so that such settings come after all others, those that lose least first.

    >>> kept, ruined = Judgement(9.5, {}), Judgement(7.9, {}, lost=11.0)
    >>> ranked([kept]), ranked([ruined]), ranked([kept, ruined])
    (9.5, 111.0, 111.0)
    """
    lost = max(one.lost for one in judgements)
    return 100.0 + lost if lost > 0 else float(np.mean([one.value for one in judgements]))


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
    return replace(outputs, test=outputs.holdout, holdout=None).split(forget)


def against_retrained(
    model: Predictions, retrained: Sequence[Predictions], noise: Judgement | None = None
) -> Judgement:
    """The objective ``retrained``: ``avg_gap`` on the holdout.

    Args:
        model: The unlearned model's predictions, as ``on_holdout`` gives them.
        retrained: Those of models retrained without the same forget set, one at least.
        noise: What two retrained models differ by; retain accuracy that is lost beyond it is told of.

    Returns:
        ``avg_gap``, and the four distances that it is the mean of.

    Raises:
        UsageError: If a part is empty or there is no retrained model.
        TrainingError: If logits are not finite numbers.
    """
    own, reference = scores(model), mean_scores([scores(one) for one in retrained])
    value = avg_gap(own, reference)
    terms = {_HOLDOUT_NAMES.get(name, name): abs(own[name] - reference[name]) for name in SAMPLE_WISE}
    return Judgement(value, terms, _lost(reference["retain_acc"] - own["retain_acc"], noise))


def without_retrained(
    model: Predictions, original: Predictions, *, whole_classes: bool, noise: Judgement | None = None
) -> Judgement:
    """The objective ``no-retrain``: the forget set looks unseen, and the rest is as good as it was.

    A retrained model meets forget samples as the original meets those of the holdout, so the original says how such
    samples look: *unseen* is what it predicts on the holdout. (The model's own predictions there are no yardstick. They
    are damaged with it, and one that is less certain of everything would pass.) Where classes are forgotten, *unseen*
    is what the model itself predicts on the holdout's samples of these: the original learnt the class. The terms are:

    - ``forget_acc``: ``|acc(forget) - acc(unseen)|``. Where whole classes are forgotten it is ``acc(forget)``, because
      a model that never met a label does not predict it, on seen and unseen samples alike.
    - ``forget_loss``: 100 times the largest distance between the distribution functions of the losses of forget and
      unseen samples (Kolmogorov-Smirnov).
    - ``forget_attack``: ``200 * |AUC - 0.5|`` of telling forget samples from those of the holdout, where classes are
      forgotten from its samples of these, by the entropy of the model's own predictions. An attacker has this model
      alone, and needs no label.
    - ``retain_acc``, ``holdout_acc``: by how much the accuracy on the retain set, and on the holdout without forgotten
      classes, falls short of the original's; 0 where it does not.

    The value is ``(mean of the first three + mean of the last two) / 2``: one half for what is forgotten and one for
    what is kept, as in ``avg_gap``, which has two terms of each. Within each half all count alike: they have the same
    unit, and there is nothing to fit other weights to.

    Samples must be like those of the holdout for this to be right. Those of ``hardest`` sets are harder, so that a
    retrained model is further from the holdout's accuracy than this asks for; and of a sub-class it cannot be known how
    much a retrained model would still get right, only that seen and unseen samples of it are alike. Nor is a retrained
    model quite the original on samples that it never saw: it had less data, the less the more is forgotten.

    Args:
        model: The unlearned model's predictions, as ``on_holdout`` gives them.
        original: The original's.
        whole_classes: Whether the forget set is all samples of some labels.
        noise: That of ``noise_without_retrained``; retain accuracy that is lost beyond it is told of.

    Raises:
        UsageError: If a part is empty.
        TrainingError: If logits are not finite numbers.
    """
    forgotten, own = forgotten_and_unseen(model)
    unseen = original.test if model.forget_test is None else own
    target = 0.0 if whole_classes else accuracy(unseen)
    terms = {
        "forget_acc": abs(accuracy(forgotten) - target),
        "forget_loss": 100.0 * largest_distance(loss(forgotten), loss(unseen)),
        "forget_attack": 200.0 * leak(auc_forget_test(model, "entropy")),
        "retain_acc": max(0.0, accuracy(original.retain) - accuracy(model.retain)),
        "holdout_acc": max(0.0, accuracy(original.test) - accuracy(model.test)),
    }
    return Judgement(_halves(terms), terms, _lost(terms["retain_acc"], noise))


def noise_without_retrained(original: Predictions, *, whole_classes: bool, seed: int) -> Judgement:
    """What the objective ``no-retrain`` would say of a model that forgot and kept all, for want of samples alone.

    By bootstrap. In each draw, as many unseen samples as the forget set has stand for it, drawn with replacement beside
    as many others as there are: to a model that forgot, both are samples of one distribution. Of retain set and holdout
    two draws each stand for those of two models of the same accuracy. That two models differ on the same samples, and
    that a retrained one had less data, is not in it.

    Args:
        original: The original's predictions, as ``on_holdout`` gives them.
        whole_classes: Whether the forget set is all samples of some labels; of these ``forget_acc`` has no noise.
        seed: Of the draws.

    Returns:
        Of the value and of each term what one draw in twenty exceeds.

    Raises:
        UsageError: If a part is empty.
        TrainingError: If logits are not finite numbers.
    """
    rng = np.random.default_rng(seed)
    forgotten, unseen = forgotten_and_unseen(original)

    def drawn(part: Part, count: int) -> Part:
        return part.take(rng.integers(0, len(part), count))

    def draw() -> dict[str, float]:
        one, other = drawn(unseen, len(forgotten)), drawn(unseen, len(unseen))
        alike = Predictions(other, one, other)
        apart = without_retrained(alike, alike, whole_classes=False).terms
        kept = {
            name: max(0.0, accuracy(drawn(part, len(part))) - accuracy(drawn(part, len(part))))
            for name, part in (("retain_acc", original.retain), ("holdout_acc", original.test))
        }
        return apart | kept | ({"forget_acc": 0.0} if whole_classes else {})

    draws = [draw() for _ in range(DRAWS)]
    terms = {name: float(np.quantile([one[name] for one in draws], QUANTILE)) for name in NO_RETRAIN_TERMS}
    return Judgement(float(np.quantile([_halves(one) for one in draws], QUANTILE)), terms)


def _halves(terms: Mapping[str, float]) -> float:
    """The value of the objective ``no-retrain`` from its terms."""
    return float(np.mean([np.mean([terms[name] for name in names]) for names in (FORGOTTEN_TERMS, KEPT_TERMS)]))


def _lost(points: float, noise: Judgement | None) -> float:
    """Percentage points of retain accuracy that are lost beyond the noise; none where no noise is known."""
    return 0.0 if noise is None else max(0.0, points - max(noise.terms["retain_acc"], LEAST_NOISE))


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
