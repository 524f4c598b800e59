"""Our scores of one model at a time: what each row of the catalogue is computed by.

Of the other rows, ``natmu.scores.groups`` computes those of whole groups of models, and what takes weights or training
is measured elsewhere and handed in with the panel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from natmu.errors import UsageError
from natmu.scores.base import Kind, Score
from natmu.scores.calibration import calibration_error
from natmu.scores.catalogue import SCORES
from natmu.scores.distances import activation_distance, agreement, js, kl, zrf, zrf_code
from natmu.scores.evaluation import PARTS, own_scores
from natmu.scores.exposed import Sides, exposed_by_rmia, exposed_by_shadows, guessed_right
from natmu.scores.panel import Panel
from natmu.scores.population import FEATURES, auc_forget_test, mia_efficacy, mia_entropy, tpr_forget_test
from natmu.scores.rates import auc, tpr_at_fpr
from natmu.scores.signals import SIGNALS
from natmu.scores.utility import accuracy, avg_gap, tow
from natmu.types import Part, Predictions

RATES = (0.01, 0.001)
"""False positive rates at which attacks are read, as fractions."""

ATTACKS = ("rmia", "lira", "lira_offline", "ulira")
"""Attacks that take more models than the one that is attacked."""

Functions = dict[str, tuple[Kind, Callable[..., float]]]


def sides_of(attack: str, panel: Panel) -> Sides:
    """What an attack of ``ATTACKS`` says of each forget sample, and of each unseen sample.

    Raises:
        UsageError: The panel has too few models for it.
    """
    if attack == "rmia":
        return panel.once(attack, lambda: exposed_by_rmia(panel.model, panel.retrained))
    return panel.once(attack, lambda: exposed_by_shadows(attack, panel.model, panel.shadows))


def _mia_entropy(panel: Panel) -> float:
    own = own_scores(panel)
    return own["mia_entropy"] if "mia_entropy" in own else mia_entropy(panel.model)


def _forget_test_acc(panel: Panel) -> float:
    if panel.model.forget_test is None:
        raise UsageError("forget_test_acc is of forgotten classes; forget a class to have it.")
    return accuracy(panel.model.forget_test)


def _holdout_acc(panel: Panel) -> float:
    if panel.model.holdout is None:
        raise UsageError("holdout_acc is of a holdout, which this data does not have.")
    return accuracy(panel.model.holdout)


def _before_acc(panel: Panel) -> float:
    if panel.model.before is None:
        raise UsageError("before_acc is of samples that an earlier request had forgotten, and there was none.")
    return accuracy(panel.model.before)


def _corrected_acc(panel: Panel) -> float:
    if panel.model.corrected is None:
        raise UsageError("corrected_acc is of samples that are kept with a right label; forget by relabel:FILE.")
    return accuracy(panel.model.corrected)


def _from_untrained(name: str, function: Callable[[Part, Part], float]) -> Callable[[Panel], float]:
    def score(panel: Panel) -> float:
        if panel.initial_forget is None:
            raise UsageError(
                f"{name} needs a randomly initialised model's predictions on the forget set; give an untrained model "
                "too (initial_model of natmu.audit)."
            )
        return function(panel.model.forget, panel.initial_forget)

    return score


def _kl_avg(model: Predictions, retrained: Predictions) -> float:
    if not all(len(getattr(model, part)) for part in PARTS):
        raise UsageError("kl_avg needs retain, forget and test samples; give all three.")
    return float(np.mean([kl(getattr(model, part), getattr(retrained, part)) for part in PARTS]))


def _activation_distance(model: Predictions, retrained: Predictions) -> float:
    return activation_distance(model.forget, retrained.forget)


def _of_part(function: Callable[[Part], float], part: str) -> Callable[[Panel], float]:
    return lambda panel: function(getattr(panel.model, part))


def _between(function: Callable[[Part, Part], float], part: str) -> Callable[[Predictions, Predictions], float]:
    return lambda model, retrained: function(getattr(model, part), getattr(retrained, part))


def _efficacy(feature: str) -> Callable[[Panel], float]:
    return lambda panel: mia_efficacy(panel.model, feature, panel.seed)


def _separation(signal: str) -> Callable[[Panel], float]:
    return lambda panel: auc_forget_test(panel.model, signal)


def _given_away(rate: float) -> Callable[[Panel], float]:
    return lambda panel: tpr_forget_test(panel.model, rate)


def _area(attack: str) -> Callable[[Panel], float]:
    return lambda panel: auc(*sides_of(attack, panel))


def _rate(attack: str, rate: float) -> Callable[[Panel], float]:
    return lambda panel: 100 * tpr_at_fpr(*sides_of(attack, panel), rate)


def _alone() -> Functions:
    """Of one model, whatever it is compared with."""
    found: Functions = {f"{part}_acc": ("panel", _of_part(accuracy, part)) for part in PARTS}
    found |= {"holdout_acc": ("panel", _holdout_acc)}
    found |= {"forget_test_acc": ("panel", _forget_test_acc), "before_acc": ("panel", _before_acc)}
    found |= {"corrected_acc": ("panel", _corrected_acc)}
    found |= {"mia_entropy": ("panel", _mia_entropy)}
    found |= {name: ("panel", _from_untrained(name, score)) for name, score in (("zrf", zrf), ("zrf_code", zrf_code))}
    found |= {f"calibration_{part}": ("panel", _of_part(calibration_error, part)) for part in PARTS}
    found |= {f"mia_efficacy_{feature}": ("panel", _efficacy(feature)) for feature in FEATURES}
    found |= {f"auc_forget_test_{signal}": ("panel", _separation(signal)) for signal in SIGNALS}
    return found | {f"tpr_at_fpr_{100 * rate:g}": ("panel", _given_away(rate)) for rate in RATES}


def _compared() -> Functions:
    """Of one model among retrained ones."""
    distances: Mapping[str, Callable[[Part, Part], float]] = {"kl": kl, "js": js, "agreement": agreement}
    found: Functions = {"avg_gap": ("gap", avg_gap), "tow": ("gap", tow)}
    found |= {"kl_avg": ("distance", _kl_avg), "activation_distance": ("distance", _activation_distance)}
    return found | {
        f"{name}_{part}": ("distance", _between(distance, part))
        for name, distance in distances.items()
        for part in PARTS
    }


def _attacked() -> Functions:
    """Of attacks with reference or shadow models."""
    found: Functions = {f"{attack}_auc": ("panel", _area(attack)) for attack in ATTACKS}
    found |= {
        f"{attack}_tpr_at_fpr_{100 * rate:g}": ("panel", _rate(attack, rate))
        for attack in ("rmia", "lira")
        for rate in RATES
    }
    return found | {"ulira_acc": ("panel", lambda panel: guessed_right(sides_of("ulira", panel)))}


def _ours() -> dict[str, Score]:
    """Scores by name, in the order of the catalogue."""
    functions = _alone() | _compared() | _attacked()
    return {
        row.name: Score(row, function, kind)
        for row in SCORES
        for kind, function in [functions.get(row.name, (None, None))]
        if kind is not None and function is not None
    }


OURS: Mapping[str, Score] = _ours()
"""Our scores by name, in the order of the catalogue."""
