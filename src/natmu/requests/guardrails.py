"""What a candidate may not do, each as a function of numbers or arrays, with the sentence that a user reads.

Accuracies are percentages, and losses percentage points. What cannot be measured passes, and the sentence says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from natmu.records.guarantees import RETRAIN, SISA, Guarantee
from natmu.records.measurement import GuardrailResult, Measurement, Remeasured
from natmu.records.policy import Guardrails
from natmu.requests.batch_norms import BatchNorm, mean_drift, variance_ratio
from natmu.requests.exact_test import SIGNIFICANCE, came_back, chance_of
from natmu.types import BoolArray

ROUNDING = 1e-9
"""What differences of floating-point numbers may miss a limit by."""

WHY_PASSED: dict[Guarantee, str] = {
    "exact": "The model is one that was trained without these samples, so it cannot remember them.",
    "certified": "No more than its guarantee allows can come from these samples, so that does not refuse it.",
}
"""Why what is measured of forgotten samples refuses no candidate that has such a guarantee."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What the guardrails look at.

    Attributes:
        method: Name of the method that made the candidate.
        guarantee: What the method promises of this model.
        retain: Retain accuracy of the original and of the candidate, on the same samples.
        unseen: Holdout accuracy of both; test accuracy where there is no holdout.
        unseen_part: Which of both that is.
        correct: On which forget samples the candidate is right, bool ``(F,)``.
        retrained_correct: On which of them each retrained model is, bool ``(R, F)``.
        before: Probability that the model before gives the true class of each forget sample, ``(F,)``.
        after: The same of the candidate.
        batch_norms_before: Statistics of the model before, by layer.
        batch_norms_after: Those of the candidate.
        measured: What the audit says of the requests; None where there was none.
        earlier: What it says of all earlier requests together.
        remeasured: Each earlier request.
    """

    method: str
    guarantee: Guarantee
    retain: tuple[float, float]
    unseen: tuple[float, float]
    unseen_part: Literal["holdout", "test"]
    correct: BoolArray
    retrained_correct: BoolArray
    before: npt.NDArray[Any]
    after: npt.NDArray[Any]
    batch_norms_before: Mapping[str, BatchNorm] = field(default_factory=dict)
    batch_norms_after: Mapping[str, BatchNorm] = field(default_factory=dict)
    measured: Measurement | None = None
    earlier: Measurement | None = None
    remeasured: tuple[Remeasured, ...] = ()


def judge_candidate(guardrails: Guardrails, facts: Facts) -> tuple[GuardrailResult, ...]:
    """What each guardrail of a policy says of a candidate, in the order of the policy.

    A candidate that is exact or certified is measured as any other, but what is measured of the forgotten samples does
    not refuse it: it can only be chance, or what its guarantee allows. Accuracy on all other samples can refuse it.

    Args:
        guardrails: The policy's limits.
        facts: What is known of the candidate.
    """
    given = facts.guarantee
    return (
        retain_loss(*facts.retain, guardrails.retain_loss),
        holdout_loss(*facts.unseen, guardrails.holdout_loss, facts.unseen_part),
        over_forgetting(facts.correct, facts.retrained_correct, guardrails.over_forgetting, given),
        batch_norm_drift(facts.batch_norms_before, facts.batch_norms_after, guardrails.batch_norm_drift, facts.method),
        no_op(facts.before, facts.after, guardrails.no_op, given),
        forgotten(facts.measured, facts.correct, facts.retrained_correct, given=given, on=guardrails.forgotten),
        earlier_forgotten(facts.earlier, facts.remeasured, given=given, on=guardrails.earlier),
    )


def retain_loss(original: float, candidate: float, limit: float) -> GuardrailResult:
    """Whether a candidate is still right on what is retained.

    Args:
        original: Retain accuracy of the original.
        candidate: That of the candidate, on the same samples.
        limit: Points that may be lost.
    """
    return _loss("retain_loss", "Retain accuracy", original, candidate, limit)


def holdout_loss(original: float, candidate: float, limit: float, part: Literal["holdout", "test"]) -> GuardrailResult:
    """Whether a candidate is still right on unseen samples.

    Args:
        original: Accuracy of the original.
        candidate: That of the candidate, on the same samples.
        limit: Points that may be lost.
        part: Where the samples are from; the test set stands in where there is no holdout.
    """
    what = "Holdout accuracy" if part == "holdout" else "Test accuracy (there is no holdout)"
    return _loss("holdout_loss", what, original, candidate, limit)


def over_forgetting(
    correct_F: BoolArray, retrained_RF: BoolArray, limit: float, given: Guarantee = "approximate"
) -> GuardrailResult:
    """Whether a candidate knows far less of the forget set than models that never saw it.

    It is refused where its accuracy lies further below the mean of retrained models than the limit, unless chance
    explains that it lies below them at all: with few samples it often does. ``exact_test.chance_of`` says so.

    Args:
        correct_F: On which forget samples the candidate is right, bool ``(F,)``.
        retrained_RF: On which of them each retrained model is, bool ``(R, F)``.
        limit: Points that it may lie below.
        given: What the method promises.
    """
    name = "over_forgetting"
    if not retrained_RF.size:
        why = "no forget sample is left" if retrained_RF.shape[0] else "there is no retrained model to compare with"
        return _unmeasured(name, limit, f"Over-forgetting could not be measured: {why}.")
    candidate, retrained = 100 * float(correct_F.mean()), 100 * float(retrained_RF.mean())
    gap = retrained - candidate
    models = f"that of {_counted(len(retrained_RF), 'retrained model')} ({retrained:.1f} %)"
    figures = f"Forget accuracy ({candidate:.1f} %) is {abs(gap):.2f} points {'below' if gap > 0 else 'above'} {models}"
    if gap <= limit + ROUNDING:
        return _result(name, gap, limit, True, f"{figures}; at most {limit:g} below are allowed.")
    chance = chance_of(correct_F, retrained_RF, "less")
    passed = chance > SIGNIFICANCE
    known = f"on {_counted(len(correct_F), 'sample')} chance {'explains' if passed else 'does not explain'} that"
    text = f"{figures}; at most {limit:g} are allowed, and {known} (p = {chance:.2g})."
    if not passed and given != "approximate":
        passed, text = True, f"{text} {WHY_PASSED[given]}"
    return _result(name, gap, limit, passed, text)


def batch_norm_drift(
    before: Mapping[str, BatchNorm], after: Mapping[str, BatchNorm], limit: float, method: str = ""
) -> GuardrailResult:
    r"""How far the running statistics of batch normalisations moved.

    Of a layer, the mean over channels of :math:`|\mu' - \mu| / \sqrt{\sigma^2 + \epsilon}`; the largest over layers.

    Args:
        before: Statistics of the model before, by layer.
        after: Those of the candidate.
        limit: What is allowed.
        method: Name of the method; what was retrained, as a whole or shard by shard, began anew and is not compared.
    """
    name = "batch_norm_drift"
    if method in (RETRAIN, SISA):
        return _unmeasured(
            name, limit, "The model was trained anew, so its batch normalisations have drifted from none."
        )
    if not before:
        return _unmeasured(name, limit, "The model has no batch normalisation, so nothing of it can drift.")
    drifts = {layer: mean_drift(one, after[layer]) for layer, one in before.items()}
    ratios = {layer: variance_ratio(one, after[layer]) for layer, one in before.items()}
    if not np.isfinite([*drifts.values(), *ratios.values()]).all():
        return _result(name, None, limit, False, "Running statistics of batch normalisations are not finite.")
    first = max(drifts, key=drifts.__getitem__)
    most = max(ratios, key=lambda layer: abs(np.log(ratios[layer])))
    text = f"Means of batch normalisations moved by at most {drifts[first]:.2f} standard deviations (in {first})"
    variances = f"variances changed at most by the factor {ratios[most]:.2f} (in {most})"
    passed = drifts[first] <= limit + ROUNDING
    return _result(name, drifts[first], limit, passed, f"{text}; {limit:g} are allowed; {variances}.")


def no_op(before_F: npt.NDArray[Any], after_F: npt.NDArray[Any], limit: float, given: Guarantee) -> GuardrailResult:
    """Whether a candidate says anything else of the forget samples than the model before.

    Args:
        before_F: Probability that the model before gives the true class, ``(F,)``.
        after_F: The same of the candidate.
        limit: A change of no sample by more than this counts as none.
        given: What the method promises; what is exact or certified is never refused for being like the model before.
    """
    name = "no_op"
    if not len(before_F):
        return _unmeasured(name, limit, "Whether anything changed could not be measured: no forget sample is left.")
    change = float(np.abs(np.asarray(after_F, np.float64) - before_F).max())
    if not np.isfinite(change):
        return _result(name, None, limit, False, "Probabilities of forget samples are not finite.")
    text = f"The probability of a forget sample's class changed by at most {change:.2g}"
    if change > limit:
        return _result(name, change, limit, True, f"{text}; more than {limit:g} counts as a change.")
    if given != "approximate":
        model = "a model that was retrained" if given == "exact" else "a certified one"
        return _result(name, change, limit, True, f"{text}; no more than {limit:g}, as {model} may.")
    return _result(name, change, limit, False, f"{text}; no more than {limit:g} counts as no change at all.")


def forgotten(
    measured: Measurement | None,
    correct_F: BoolArray,
    retrained_correct_RF: BoolArray,
    *,
    given: Guarantee,
    on: bool = True,
) -> GuardrailResult:
    """Whether the requests are not forgotten.

    A candidate is refused that is right on the samples more often than retrained models, beyond chance: an exact test
    sample by sample, which sees this with few samples and a single retrained model. Of the audit, which asks many
    scores and corrects for their number, the outcome ``no`` refuses too. ``too much`` does not, because
    ``over_forgetting`` has a limit for that; nor does ``unlike retraining``, which does not say on which side the model
    lies; nor what cannot be said.

    Args:
        measured: What the audit says; None where there was none.
        correct_F: On which samples the candidate is right, bool ``(F,)``.
        retrained_correct_RF: On which ones each retrained model is, bool ``(R, F)``.
        given: What the method promises; of what is exact an audit can only err.
        on: Whether the policy refuses for this.
    """
    if measured is None:
        return _unmeasured("forgotten", None, "Whether the samples are forgotten was not measured.")
    known = came_back(correct_F, retrained_correct_RF)
    sentences = [measured.forgotten.sentence]
    if known:
        others = retrained_correct_RF.sum(axis=1)
        least, most = int(others.min()), int(others.max())
        models = _counted(len(others), "retrained model")
        sentences.insert(
            0,
            f"The model is right on {int(correct_F.sum())} of {_counted(len(correct_F), 'sample')} and {models} on "
            f"{least if least == most else f'{least} to {most}'}, which is more than chance explains.",
        )
    remembers = bool(known) or measured.forgotten.outcome == "no"
    decided = known is not None or measured.forgotten.outcome != "cannot be said"
    return _switch("forgotten", remembers, " ".join(sentences), given=given, on=on, decided=decided)


def earlier_forgotten(
    earlier: Measurement | None, remeasured: Sequence[Remeasured], *, given: Guarantee, on: bool = True
) -> GuardrailResult:
    """Whether a candidate knows the samples of earlier requests again.

    Args:
        earlier: What the audit says of all earlier requests together; None where there are none left to measure.
        remeasured: Each earlier request.
        given: What the method promises; of what is exact an audit can only err.
        on: Whether the policy refuses for this.
    """
    name = "earlier"
    if earlier is None and not remeasured:
        return _unmeasured(name, None, "There is no earlier request to measure.")
    back = [one.request for one in remeasured if one.came_back]
    unsaid = [one.request for one in remeasured if one.came_back is None]
    together = earlier is not None and earlier.forgotten.outcome == "no"
    parts = []
    if back:
        which = _requests(back)
        parts.append(f"The model is right on samples of {which} more often than retrained models, beyond chance.")
    if together and earlier is not None:
        parts.append(f"Of all earlier requests together ({_requests([one.request for one in remeasured])}):")
        parts.append(earlier.forgotten.sentence)
    if not parts:
        known = len(remeasured) - len(unsaid)
        parts.append(f"None of {_counted(known, 'earlier request')} came back." if known else "")
    if unsaid:
        parts.append(f"Whether {_requests(unsaid)} came back cannot be said.")
    said = earlier is not None and earlier.forgotten.outcome != "cannot be said"
    decided = bool(back) or said or len(unsaid) < len(remeasured)
    return _switch(name, bool(back) or together, " ".join(filter(None, parts)), given=given, on=on, decided=decided)


def _loss(name: str, what: str, original: float, candidate: float, limit: float) -> GuardrailResult:
    """A loss of accuracy against the original."""
    lost = original - candidate
    moved = f"fell by {lost:.2f} points" if lost > 0 else f"rose by {-lost:.2f} points" if lost < 0 else "stayed"
    text = f"{what} {moved} (from {original:.2f} to {candidate:.2f} %); a loss of {limit:g} is allowed."
    return _result(name, lost, limit, lost <= limit + ROUNDING, text)


def _switch(
    name: str, remembers: bool, sentence: str, *, given: Guarantee, on: bool, decided: bool = True
) -> GuardrailResult:
    """A guardrail without a number."""
    promised = given != "approximate"
    if remembers and promised:
        sentence = f"{sentence} {WHY_PASSED[given]}"
    elif remembers and not on:
        sentence = f"{sentence} The policy does not refuse for that."
    passed = promised or not (remembers and on)
    return GuardrailResult(name=name, passed=passed, sentence=sentence, decided=decided)


def _unmeasured(name: str, limit: float | None, sentence: str) -> GuardrailResult:
    """A guardrail that cannot be measured."""
    return GuardrailResult(name=name, limit=limit, passed=True, sentence=sentence, decided=False)


def _result(name: str, value: float | None, limit: float | None, passed: bool, sentence: str) -> GuardrailResult:
    """What a guardrail says."""
    return GuardrailResult(name=name, value=value, limit=limit, passed=bool(passed), sentence=sentence)


def _requests(numbers: Sequence[int]) -> str:
    """Requests by number."""
    return f"{'request' if len(numbers) == 1 else 'requests'} {', '.join(map(str, numbers))}"


def _counted(count: int, word: str) -> str:
    """A number and its noun."""
    return f"{count} {word}{'' if count == 1 else 's'}"
