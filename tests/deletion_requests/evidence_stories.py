"""Ledgers whose requests evidence is written of, with what audits would say."""

from tests.deletion_requests.fakes import (
    chained,
    opening,
    purged,
    rejected,
    released,
    requested,
    retrained,
    rolled_back,
    started,
)

from natmu.records.audit import Answer
from natmu.records.guarantees import PROMISES, HeadFacts
from natmu.records.measurement import GuardrailResult, MeasuredScore, Measurement, Remeasured
from natmu.requests.evidence import evidence_of
from natmu.requests.state import fold


def score(value, original, *retrained, detectable=4.5):
    return MeasuredScore(
        value=value, original=original, retrained=retrained, distinguishable=False, detectable=detectable
    )


def measurement(samples=24):
    """An audit beside two retrained models."""
    return Measurement(
        samples=samples,
        level="quick",
        references=2,
        scores={
            "forget_acc": score(75.0, 100.0, 70.8, 79.2),
            "retain_acc": score(98.9, 99.6, 99.1, 99.3, detectable=0.3),
            "holdout_acc": score(92.1, 92.6, 92.0, 92.4, detectable=0.8),
            "mia_efficacy_confidence": score(22.0, 2.0, 20.0, 25.0),
            "kl_forget": score(0.3, 0.9, 0.2, 0.3),
        },
        forgotten=Answer(outcome="not distinguishable", sentence="No score tells it from retrained models."),
        kept=Answer(outcome="yes", sentence="It is right on 98.9 % of all other samples, the original on 99.6 %."),
    )


NAMES = ("retain_loss", "holdout_loss", "over_forgetting", "batch_norm_drift", "no_op", "forgotten", "earlier")
GUARDRAILS = tuple(
    GuardrailResult(
        name=name, value=0.7, limit=2.0, passed=True, sentence=f"{name} is 0.70 points, of at most 2 that are allowed."
    )
    for name in NAMES
)


def remeasured(request, number=0):
    return Remeasured(
        request=request,
        samples=24,
        accuracy=74.0 + number % 5,
        original=100.0,
        retrained=75.0 - number % 3,
        confidence=0.61,
        original_confidence=0.98,
        retrained_confidence=0.6,
        came_back=False,
    )


CERTIFIED = {
    "method": "downdate",
    "guarantee": "certified",
    "promise": PROMISES["logistic"].promise,
    "assumptions": PROMISES["logistic"].assumptions,
    "seed": None,
    "settings": {},
    "head": HeadFacts(
        kind="logistic",
        backbone="0123456789abcdef" * 2,
        origin="timm:resnet18.a1_in1k",
        epsilon=1.0,
        delta=1e-5,
        spent=0.012,
        budget=0.25,
        removed=24,
    ),
    "decisions": (
        "The head was fitted again on what is left. The budget of these removals would be spent.",
        "(epsilon, delta) = (1, 1e-05); 0.012 of 0.25 of the budget are spent by 24 removals since the last fit.",
    ),
}
"""What is noted of a certified candidate beyond others."""

EXACT = {
    "method": "sisa",
    "guarantee": "exact",
    "promise": PROMISES["sisa"].promise,
    "assumptions": PROMISES["sisa"].assumptions,
}
"""What is noted of an exact one."""


def long_story(later=8, ticket="T-1", **how):
    """A request that two candidates answer, one of them refused, and later releases that measure it again."""
    details = {"measured": measurement(), "guardrails": GUARDRAILS} | how
    bodies = [
        opening(),
        requested(1, samples=24, ticket=ticket, copies=2),
        started(1, 1),
        rejected(1, 1, final=False, **details),
        released(1, 1, 1, **details),
    ]
    for number in range(2, later + 2):
        bodies += [
            requested(number),
            started(number, number, source=number - 1),
            released(
                number, number, number, source=number - 1, remeasured=(remeasured(1, number),), measured=measurement(3)
            ),
        ]
    return chained(*bodies)


STORIES = {
    "pending": (opening(), requested(1)),
    "refused": (opening(), requested(1), started(1, 1), rejected(1, 1, final=True, measured=measurement())),
    "rolled back": (opening(), requested(1), started(1, 1), released(1, 1, 1), rolled_back(0, 1)),
    "retrained": (opening(), requested(1), retrained(1, 1), purged(1)),
}


def evidence(entries, request=1, **changed):
    return evidence_of(entries, fold(entries), request, **changed)
