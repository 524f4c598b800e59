"""Every score that stored predictions of one model and of retrained references allow, in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from natmu.errors import UsageError
from natmu.scores.calibration import calibration_error
from natmu.scores.distances import activation_distance, agreement, js, kl, require_same_samples, zrf
from natmu.scores.population import FEATURES, auc_forget_test, mia_efficacy, mia_entropy, tpr_forget_test
from natmu.scores.signals import SIGNALS, require_finite, softmax_of
from natmu.scores.utility import accuracy, avg_gap, mean_scores, tow
from natmu.types import Part, Predictions

PARTS = ("retain", "forget", "test")
"""The parts on which models are compared."""

RATES = (0.01, 0.001)
"""False positive rates at which the attack on the margin is read, as shares."""

_DISTANCES: Mapping[str, Callable[[Part, Part], float]] = {"kl": kl, "js": js, "agreement": agreement}

DISTANCES = ("kl_avg", *(f"{name}_{part}" for name in _DISTANCES for part in PARTS), "activation_distance")
"""Scores of one model and a reference; with several references the mean."""

QUICK_NAMES = (
    "test_acc",
    "forget_test_acc",
    "retain_acc",
    "forget_acc",
    "mia_entropy",
    "avg_gap",
    "tow",
    *(f"kl_{part}" for part in PARTS),
    "kl_avg",
    *(f"{name}_{part}" for name in ("js", "agreement") for part in PARTS),
    "activation_distance",
    "zrf",
    *(f"calibration_{part}" for part in PARTS),
    *(f"mia_efficacy_{feature}" for feature in FEATURES),
    *(f"auc_forget_test_{signal}" for signal in SIGNALS),
    *(f"tpr_at_fpr_{100 * rate:g}" for rate in RATES),
)
"""Every quick score, in the order of tables."""


@dataclass(frozen=True)
class Found:
    """What could be computed, and why the rest could not; every one of ``QUICK_NAMES`` is in one of the two.

    Attributes:
        scores: Score name to value, in the order of ``QUICK_NAMES``. Accuracies, attacks, agreement, calibration and
            true positive rates in percent, ``avg_gap`` in percentage points, ``kl`` and ``js`` in nats.
        missing: Score name to a sentence that says what it lacks.
    """

    scores: dict[str, float]
    missing: dict[str, str]


def quick_scores(
    model: Predictions, retrained: Sequence[Predictions], initial_forget: Part | None = None, seed: int = 0
) -> Found:
    """Score one model's predictions, alone and against retrained references.

    ``avg_gap`` and ``tow`` compare with the mean of the references' scores; a distance is the mean of the distances
    from each reference.

    Args:
        model: Predictions of the model to be judged.
        retrained: Predictions of retrained models on the same split; with none, what needs them is missing.
        initial_forget: A randomly initialised model's answers to the forget set, for ``zrf``.
        seed: Decides the samples that ``mia_efficacy`` learns from.

    Returns:
        The scores, and what is missing.

    Raises:
        UsageError: If a reference or ``initial_forget`` belongs to other data, another order or other classes.
        TrainingError: If answers are not finite numbers.
    """
    for one in retrained:
        for part, other in zip(_parts(model).values(), _parts(one).values(), strict=True):
            require_same_samples(part, other)
    if initial_forget is not None:
        require_same_samples(model.forget, initial_forget)
    seen = _kept(model)
    ledger = _alone(seen, seed)
    _compare(ledger, [_against(seen, _kept(one)) for one in retrained])
    if initial_forget is None:
        ledger.missing["zrf"] = "zrf needs a randomly initialised model's answers to the forget set; give them too."
    else:
        ledger.note("zrf", zrf, seen.forget, initial_forget)
    return Found(
        {name: ledger.scores[name] for name in QUICK_NAMES if name in ledger.scores},
        {name: ledger.missing[name] for name in QUICK_NAMES if name in ledger.missing},
    )


@dataclass
class _Ledger:
    """Scores so far, and reasons for those that cannot be computed."""

    scores: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def note(self, name: str, compute: Callable[..., float], *inputs: object) -> None:
        """Enter a score, or why there is none."""
        try:
            self.scores[name] = compute(*inputs)
        except UsageError as error:
            self.missing[name] = str(error)


def _parts(predictions: Predictions) -> dict[str, Part]:
    """The parts on which models are compared."""
    return {name: getattr(predictions, name) for name in PARTS}


def _kept(predictions: Predictions) -> Predictions:
    """The predictions with parts that keep their softmax."""
    forget_test = predictions.forget_test
    kept = {name: softmax_of(part) for name, part in _parts(predictions).items()}
    for part in kept.values():
        require_finite(part)
    return Predictions(**kept, forget_test=None if forget_test is None else softmax_of(forget_test))


def _plain(seen: Predictions) -> _Ledger:
    """The scores by which a model and its references are compared as numbers."""
    ledger = _Ledger()
    for name, part in _parts(seen).items():
        ledger.note(f"{name}_acc", accuracy, part)
    ledger.note("mia_entropy", mia_entropy, seen)
    return ledger


def _alone(seen: Predictions, seed: int) -> _Ledger:
    """The scores that need no other model."""
    ledger = _plain(seen)
    if seen.forget_test is None:
        ledger.missing["forget_test_acc"] = "forget_test_acc is of forgotten classes; forget a class to have it."
    else:
        ledger.note("forget_test_acc", accuracy, seen.forget_test)
    for name, part in _parts(seen).items():
        ledger.note(f"calibration_{name}", calibration_error, part)
    for feature in FEATURES:
        ledger.note(f"mia_efficacy_{feature}", mia_efficacy, seen, feature, seed)
    for signal in SIGNALS:
        ledger.note(f"auc_forget_test_{signal}", auc_forget_test, seen, signal)
    for rate in RATES:
        ledger.note(f"tpr_at_fpr_{100 * rate:g}", tpr_forget_test, seen, rate)
    return ledger


def _against(seen: Predictions, reference: Predictions) -> tuple[_Ledger, _Ledger]:
    """One reference's own scores, and the distances from it."""
    distances = _Ledger()
    for name, distance in _DISTANCES.items():
        for part, one, other in zip(PARTS, _parts(seen).values(), _parts(reference).values(), strict=True):
            distances.note(f"{name}_{part}", distance, one, other)
    distances.note("activation_distance", activation_distance, seen.forget, reference.forget)
    apart = [distances.scores[f"kl_{part}"] for part in PARTS if f"kl_{part}" in distances.scores]
    if len(apart) == len(PARTS):
        distances.scores["kl_avg"] = float(np.mean(apart))
    else:
        distances.missing["kl_avg"] = "kl_avg needs retain, forget and test samples; give all three."
    return _plain(reference), distances


def _compare(ledger: _Ledger, references: Sequence[tuple[_Ledger, _Ledger]]) -> None:
    """Enter what compares the model with its references; they all lack the same, because they share its samples."""
    if not references:
        for name in QUICK_NAMES[QUICK_NAMES.index("avg_gap") : QUICK_NAMES.index("zrf")]:
            ledger.missing[name] = f"{name} needs a retrained reference; retrain a model on the same split."
        return
    mean = mean_scores([own.scores for own, _ in references])
    own = dict(ledger.scores)
    ledger.note("avg_gap", avg_gap, own, mean)
    ledger.note("tow", tow, own, mean)
    ledger.scores |= mean_scores([distances.scores for _, distances in references])
    ledger.missing |= references[0][1].missing
