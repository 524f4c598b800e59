"""What evidence of a request shows, and what it does not, a sentence each."""

from __future__ import annotations

from natmu.records.evidence import Attempt, Evidence
from natmu.records.guarantees import RETRAIN
from natmu.records.ledger import Released, Retrained
from natmu.records.measurement import MeasuredScore
from natmu.requests.purging import NOT_LOOKED_FOR

FEW = 100
"""Samples below which evidence says that they are few: by chance alone, an accuracy of them moves by 5 points."""

FORGET_ACC = "forget_acc"
"""The score that says how often a model is right on the samples of a request."""

TESTED = (
    "That a sample is forgotten. Tests can find an influence of a sample on a model. If no test finds one, there may "
    "still be one."
)
"""What tests do not show, where they are all that there is."""

PROMISED = (
    "That the assumptions of the promise hold. They are listed with the promise, and the operator of the service is "
    "responsible for them."
)
"""What is not shown where something is promised."""

ELSEWHERE = (
    "Which data the original was really trained on before the service began. A model from elsewhere may have learnt "
    "from samples that the service counts as unseen."
)
"""What is not shown where natmu did not train the original."""

ALWAYS = (
    "That the model is anonymous, or that this procedure satisfies a law.",
    "What happens to other copies of the samples, to backups, and to models that were exported or made from these.",
    "That times are right. They come from the clock of the service's machine, and the time of receipt from the person "
    "who recorded the request.",
)
"""What no evidence shows."""

UNSIGNED = "Who wrote this evidence. It is not signed, because the service has no signing key."


def shown(evidence: Evidence) -> tuple[str, ...]:
    """What the evidence shows.

    Args:
        evidence: The evidence; its ``shown`` is not looked at.
    """
    numbers = [entry.number for entry in evidence.entries]
    sentences = [
        f"{_counted(len(numbers), 'entry', 'entries')} of the ledger, between number {numbers[0]} and {numbers[-1]}, "
        "are the source of this evidence. Each has the hash of its content."
    ]
    answer = evidence.answer
    if answer is not None and answer.made is not None:
        sentences += _shown_of(answer)
    made = evidence.promised
    if made is not None:
        rests = "is" if made.release == evidence.deployed.release else f"rests on release {made.release},"
        sentences.append(f"The deployed model {rests} {_as_trained(evidence, made)}")
    if evidence.purges:
        sentences.append(
            f"natmu searched for the samples in {_counted(evidence.purges[-1].files, 'file', 'files')} of the data on "
            f"{evidence.purges[-1].time[:10]}, by their content, and did not find them."
        )
        sentences += _deleted(evidence)
    return tuple(sentences)


def not_shown(evidence: Evidence) -> tuple[str, ...]:
    """What the evidence does not show: what none does, and what follows from this one's state.

    Args:
        evidence: The evidence, as long as it is not signed; its ``not_shown`` is not looked at.
    """
    answer = evidence.answer
    sentences = [TESTED if evidence.promised is None else PROMISED, *ALWAYS]
    if not evidence.service.trained_here:
        sentences.append(ELSEWHERE)
    if answer is None:
        return (
            *sentences,
            "That anything was done about the request. No model was deployed that honours it.",
            UNSIGNED,
        )
    if not evidence.deployed.honours:
        sentences.append(
            "That the deployed model honours the request. It does not, because an earlier release was deployed again."
        )
    if not evidence.purges:
        sentences.append("That the samples are gone from the data. Nobody has confirmed that so far.")
    else:
        sentences.append(
            f"What the search did not cover when the samples were confirmed to be gone: {'; '.join(NOT_LOOKED_FOR)}."
        )
    if not any(purge.weights or purge.heads for purge in evidence.purges):
        sentences.append(
            "That no model is left which learnt the samples. The original and earlier releases keep their weights in "
            "the service until a purge deletes them."
        )
    sentences += _unmeasured(answer)
    if answer.made is not None and answer.made.head is not None:
        sentences.append(
            "What the backbone below the head knows. Its owner says that it was not trained on the samples."
        )
    if answer.made is not None and answer.made.guarantee == "approximate":
        sentences.append(
            f"A guarantee: {answer.method} is {answer.made.guarantee}, and only tests show what it achieves."
        )
    if _gone(evidence):
        sentences.append(
            "How later models treat the samples. They are gone from the data, so they cannot be measured any more."
        )
    return (*sentences, UNSIGNED)


def _deleted(evidence: Evidence) -> list[str]:
    """What purges of the request deleted in the service."""
    models, heads, rows = (
        sum(getattr(purge, what) for purge in evidence.purges) for what in ("weights", "heads", "features")
    )
    knew = _counted(models, "model that knew the samples", "models that knew the samples")
    parts = [f"the weights of {knew}"] if models else []
    if heads:
        parts.append(
            f"the state of {_counted(heads, 'logistic head', 'logistic heads')}, which held weights of a fit on "
            "samples that were taken out since"
        )
    if rows:
        parts.append(f"{_counted(rows, 'row', 'rows')} of stored features")
    return [f"Deleted with the samples: {'; '.join(parts)}."] if parts else []


def _as_trained(evidence: Evidence, made: Released | Retrained) -> str:
    """What a model is that is as good as trained without the samples, and what that does not cover."""
    if made.method == RETRAIN:
        return (
            "a model that was retrained without the samples of the request. That is exact for the weights, which "
            "training sets. It does not cover the choice of the architecture and of settings, or the weights that "
            "training started from."
        )
    told = f"{made.guarantee} by {made.method}"
    if evidence.answer is not None and evidence.answer.release == made.release:
        return f"{told}; its promise is listed with what was done."
    return f"{told}. It promises: {made.promise} This assumes: {' '.join(made.assumptions)}"


def _shown_of(answer: Attempt) -> list[str]:
    """What is shown of the model that answers the request."""
    assert answer.made is not None, "what was deployed was made"
    sentences = []
    if answer.thresholds is not None:
        sentences.append(
            f"The limits for a model were fixed in entry {answer.thresholds.policy_entry}, before the model was made "
            f"and measured, in entry {answer.entry}."
        )
    measured = answer.made.measured
    if measured is not None:
        references = _counted(measured.references, "retrained model", "retrained models")
        sentences.append(
            f"{_counted(measured.samples, 'sample was', 'samples were')} measured on the model of release "
            f"{answer.release}, on the original, and on {references}."
        )
    return sentences


def _unmeasured(answer: Attempt) -> list[str]:
    """What measurements do not show, for want of samples or of models."""
    measured = None if answer.made is None else answer.made.measured
    if measured is None:
        return ["What the model predicts for the samples. None was left to measure."]
    sentences = []
    if len(answer.requests) > 1:
        others = len(answer.requests) - 1
        sentences.append(
            f"The scores of this request alone. It was measured together with {_counted(others, 'other', 'others')} "
            "that the same model answers."
        )
    if not measured.references:
        sentences.append(
            "How the model compares with one that never saw the samples. There was no retrained model to compare with."
            if answer.made is None or answer.made.guarantee == "approximate"
            else "That tests find nothing either. The model was not compared with retrained ones."
        )
    if measured.samples < FEW:
        sentences.append(
            f"Small differences: {_counted(measured.samples, 'sample is', 'samples are')} few"
            f"{_power(measured.scores.get(FORGET_ACC))}."
        )
    return sentences


def _power(score: MeasuredScore | None) -> str:
    """Which difference would be seen, as the end of a sentence."""
    if score is None or score.detectable is None:
        return ", and it is not known which differences they can show"
    return f", and they show only differences in accuracy of {score.detectable:.3g} points or more"


def _gone(evidence: Evidence) -> bool:
    """Whether the samples cannot be measured any more."""
    last = evidence.later[-1].measured if evidence.later else None
    return bool(evidence.purges) or (last is not None and last.samples == 0)


def _counted(count: int, one: str, several: str) -> str:
    """A number of things in words."""
    return f"{count} {one if count == 1 else several}"
