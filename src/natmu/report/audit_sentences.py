"""What an audit saw, in one or two sentences for readers who do not know its scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from natmu.records.audit import Audit, ScoreVerdict
from natmu.scores.catalogue import SCORES
from natmu.scores.correction import holm
from natmu.scores.uncertainty import LEVEL, POWER

SHOWN = 3
"""Scores that are named at most."""

HEADS = {
    "no": "distinguishes it from retrained models, on the side of a model that remembers",
    "too much": "distinguishes it from retrained models, on the side of a model that forgot too much",
    "unlike retraining": "distinguishes it from retrained models",
    "not distinguishable": "does not distinguish it from retrained models",
    "cannot be said": "cannot say whether the samples are forgotten",
}
"""By outcome, what the audit does."""


def audit_sentences(label: str, audit: Audit) -> tuple[str, ...]:
    """What an audit says of the forget set, and of the rest where accuracy was lost.

    Args:
        label: What the audited model is called.
        audit: Its audit.
    """
    outcome, verdicts = audit.forgotten.outcome, _of_forget_set(audit)
    models = len(audit.models.retrained)
    which = f"level {audit.level}, {models} retrained model{'' if models == 1 else 's'}"
    details = _power(verdicts) if outcome == "not distinguishable" else _seen(verdicts)
    if outcome == "cannot be said":
        details = ": not even the original is distinguishable" if verdicts else ": it takes more retrained models"
    sentences = (f"The audit of {label} ({which}) {HEADS[outcome]}{details}.",)
    return (
        (*sentences, "The audit also sees lost accuracy on the other data.")
        if audit.kept.outcome == "no"
        else sentences
    )


def _of_forget_set(audit: Audit) -> list[ScoreVerdict]:
    """The verdicts of those scores that say something of the forget set."""
    asked = {row.name for row in SCORES if row.question == "forgotten"}
    verdicts = (score.verdict for name, score in audit.scores.items() if name in asked)
    return [verdict for verdict in verdicts if verdict is not None and verdict.p_value is not None]


def _seen(verdicts: Sequence[ScoreVerdict]) -> str:
    """The scores that distinguish the model after Holm's correction, the clearest first."""
    ranked = sorted(verdicts, key=lambda one: one.p_value or 0.0)
    clear = holm([one.p_value or 0.0 for one in ranked], LEVEL)
    names = [one.score for one, rejected in zip(ranked, clear, strict=True) if rejected]
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f" ({len(names)} of {len(verdicts)} scores: {', '.join(names[:SHOWN])}{more})"


def _power(verdicts: Sequence[ScoreVerdict]) -> str:
    """Which difference would have been seen by the score that shows the original most clearly."""
    known = [one for one in verdicts if one.detectable is not None and one.detectable > 0]
    if not known:
        return ""
    telling = max(known, key=_clearness)
    seen = _rounded_up(telling.detectable or 0.0)
    blind = sum(one.sees_original is False for one in verdicts)
    doing = "does" if blind == 1 else "do"
    also = f", of which {blind} {doing} not distinguish the original either" if blind else ""
    counted = f"{len(verdicts)} score{'' if len(verdicts) == 1 else 's'}"
    power = f"a difference of {seen} in {telling.score} would be seen with {100 * POWER:.3g} % probability"
    return f" by {counted}{also}; {power}"


def _clearness(verdict: ScoreVerdict) -> float:
    """How far the original lies from retrained models, in detectable differences."""
    if verdict.original is None or verdict.baseline_low is None or verdict.baseline_high is None:
        return 0.0
    return abs(verdict.original - (verdict.baseline_low + verdict.baseline_high) / 2) / (verdict.detectable or 1.0)


def _rounded_up(value: float) -> str:
    """Two significant digits, rounded up so that no more is claimed than is true."""
    place = math.floor(math.log10(value)) - 1
    up = math.ceil(value / 10.0**place - 1e-9) * 10.0**place
    return f"{up:.{max(0, -place)}f}"
