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
    "That a sample is forgotten. Tests can find an influence of a sample on a model; that no test found one does not "
    "show that there is none."
)
"""What tests do not show, where they are all that there is."""

PROMISED = (
    "That the assumptions of what is promised hold: they stand beside the promise, and whoever runs the service "
    "answers for them."
)
"""What is not shown where something is promised."""

ELSEWHERE = (
    "Which data the original was really trained on before the service began: a model from elsewhere may have learnt "
    "from samples that the service counts as unseen."
)
"""What is not shown where natmu did not train the original."""

ALWAYS = (
    "That the model is anonymous, or that what was done satisfies a law.",
    "What becomes of other copies of the samples, of backups, and of models that were exported or made from these.",
    "That times are right: they come from the clock of the service's machine, and the time of receipt from whoever "
    "recorded the request.",
)
"""What no evidence shows."""

UNSIGNED = "Who wrote this evidence: it is not signed, because the service has no signing key."


def shown(evidence: Evidence) -> tuple[str, ...]:
    """What the evidence shows.

    Args:
        evidence: The evidence; its ``shown`` is not looked at.
    """
    numbers = [entry.number for entry in evidence.entries]
    sentences = [
        f"{_counted(len(numbers), 'entry', 'entries')} of the ledger, between number {numbers[0]} and {numbers[-1]}, "
        "say what is told here. Each has the hash of its content."
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
            f"The samples were looked for in {_counted(evidence.purges[-1].files, 'file', 'files')} of the data on "
            f"{evidence.purges[-1].time[:10]}, by their content, and were not found."
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
            "That anything was done about the request: no model was deployed that honours it.",
            UNSIGNED,
        )
    if not evidence.deployed.honours:
        sentences.append(
            "That the deployed model honours the request: it does not, since an earlier release was deployed again."
        )
    if not evidence.purges:
        sentences.append("That the samples are gone from the data: nobody has confirmed that so far.")
    else:
        sentences.append(f"What was not looked for when they were confirmed to be gone: {'; '.join(NOT_LOOKED_FOR)}.")
    if not any(purge.weights or purge.heads for purge in evidence.purges):
        sentences.append(
            "That no model is left which learnt the samples: the original and earlier releases keep their weights in "
            "the service until a purge deletes them."
        )
    sentences += _unmeasured(answer)
    if answer.made is not None and answer.made.head is not None:
        sentences.append(
            "What the backbone below the head knows: that it was not trained on the samples is what its owner says."
        )
    if answer.made is not None and answer.made.guarantee == "approximate":
        sentences.append(
            f"A guarantee: {answer.method} is {answer.made.guarantee}, and what it achieves is known from tests alone."
        )
    if _gone(evidence):
        sentences.append(
            "How later models treat the samples: they are gone from the data, so they cannot be measured any more."
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
            "a model that was retrained without the samples of the request. That is exact for what training sets, the "
            "weights. It covers neither the choice of the architecture and of hyper-parameters nor weights that "
            "training started from."
        )
    told = f"{made.guarantee} by {made.method}"
    if evidence.answer is not None and evidence.answer.release == made.release:
        return f"{told}; what that promises stands with what was done."
    return f"{told}. What that promises: {made.promise} This takes for granted: {' '.join(made.assumptions)}"


def _shown_of(answer: Attempt) -> list[str]:
    """What is shown of the model that answers the request."""
    assert answer.made is not None, "what was deployed was made"
    sentences = []
    if answer.thresholds is not None:
        sentences.append(
            f"What a model had to keep was fixed in entry {answer.thresholds.policy_entry}, before the model was made "
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
        return ["What the model says of the samples: none was left to measure."]
    sentences = []
    if len(answer.requests) > 1:
        others = len(answer.requests) - 1
        sentences.append(
            f"The scores of this request alone: it was measured together with {_counted(others, 'other', 'others')} "
            "that the same model answers."
        )
    if not measured.references:
        sentences.append(
            "How the model compares with one that never saw the samples: no retrained model was there to compare with."
            if answer.made is None or answer.made.guarantee == "approximate"
            else "That tests find nothing either: the model was not compared with retrained ones."
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
        return ", and how large a difference has to be to be seen is not known"
    return f", and accuracy on them has to differ by {score.detectable:.3g} points or more to be seen"


def _gone(evidence: Evidence) -> bool:
    """Whether the samples cannot be measured any more."""
    last = evidence.later[-1].measured if evidence.later else None
    return bool(evidence.purges) or (last is not None and last.samples == 0)


def _counted(count: int, one: str, several: str) -> str:
    """A number of things in words."""
    return f"{count} {one if count == 1 else several}"
