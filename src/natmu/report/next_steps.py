"""What to do after a study or an audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from natmu.records.audit import Audit
from natmu.records.table import Results
from natmu.report.conclusion import Conclusion, findings
from natmu.report.costs import interval_of
from natmu.report.outcome import Audits, Outcome

ENOUGH = 3
"""Seeds below which a study should have more in any case."""

CAUGHT = ("no", "too much", "unlike retraining")
"""Outcomes of an audit that distinguishes a model from retrained ones."""

HIGHER = {"quick": "standard", "standard": "full"}
"""The next level of an audit."""

NOTHING_LEFT = "The recipe leaves nothing open. Stronger attacks may still see more than these."


def conclusions(study: Results, audits: Mapping[str, Audits]) -> list[Conclusion]:
    """What each forget set of a study came to, and what to do next.

    Args:
        study: The study's table.
        audits: By forget set and label.

    Returns:
        One for each forget set, in the order of the table.
    """
    names = dict.fromkeys(row.scenario for row in study.rows)
    return [conclude(study, name, audits.get(name, {})) for name in names]


def conclude(study: Results, scenario: str, audits: Audits) -> Conclusion:
    """What one forget set came to, and what to do next.

    Args:
        study: The study's table.
        scenario: Text of the forget request.
        audits: Its audits by label; None for one that failed.
    """
    outcome = Outcome(study, scenario, audits)
    return replace(findings(outcome), steps=tuple(_steps(outcome)))


def _steps(outcome: Outcome) -> list[str]:
    """What to do, the most urgent first."""
    steps = [*_failures(outcome), *_baseline(outcome), *_method(outcome), *_seeds(outcome), *_audit(outcome)]
    return steps or [NOTHING_LEFT]


def _failures(outcome: Outcome) -> list[str]:
    """What to do about rows that failed or do not exist."""
    if any(row.log for row in outcome.failed):
        return ["Read why a method failed (below its table), change its settings, and run natmu bench again."]
    return [] if outcome.ranked else ["Add a method to the recipe that can serve this forget set."]


def _baseline(outcome: Outcome) -> list[str]:
    """What to do where nobody knows how close retrained models are to each other."""
    if outcome.baseline is not None or outcome.best is None:
        return []
    return ["Give the recipe two training seeds or more: the retraining baseline takes two retrained models."]


def _method(outcome: Outcome) -> list[str]:
    """Another method or other settings, where the best one is not good enough."""
    best = outcome.best
    if best is None:
        return []
    audit = outcome.audits.get(best.method)
    caught = audit is not None and audit.forgotten.outcome in CAUGHT
    instead = [row.method for row in outcome.tied if _passed(outcome.audits.get(row.method))]
    if caught and instead:
        return [f"Prefer {instead[0]}: its gap is not distinguishable from this one, and its audit sees nothing."]
    if not caught and outcome.little_to_forget and outcome.place != "outside":
        return ["Compare on another forget set, or by an audit: by avg_gap there is little to forget here."]
    if caught or outcome.place == "outside" or outcome.original_is_closer:
        return ["Try another method, or search the settings (natmu search)."]
    return []


def _passed(audit: Audit | None) -> bool:
    """Whether an audit does not distinguish a model from retrained ones."""
    return audit is not None and audit.forgotten.outcome == "not distinguishable"


def _seeds(outcome: Outcome) -> list[str]:
    """More seeds, where those there are leave something open."""
    best = outcome.best
    if best is None:
        return []
    order, place = outcome.tied or outcome.undecided, outcome.place == "open"
    unsure = [*["which method is best"] * bool(order), *[f"whether {best.method} is inside the baseline"] * place]
    reasons = [*[f"n = {best.n} is few"] * (best.n < ENOUGH)]
    reasons += [f"it is open {' and '.join(unsure)}"] if unsure else []
    reasons += ["the baseline is known only roughly"] if _rough(outcome) else []
    return [f"Add seeds to the recipe: {'; '.join(reasons)}."] if reasons else []


def _rough(outcome: Outcome) -> bool:
    """Whether the interval of the retraining baseline reaches beyond twice its mean, or is not known."""
    if outcome.baseline is None:
        return False
    interval = interval_of(outcome.baseline)
    return interval is None or interval[1] > 2 * outcome.baseline.mean


def _audit(outcome: Outcome) -> list[str]:
    """An audit, a repaired one or a stronger one."""
    best = outcome.best
    if best is None:
        return []
    if outcome.study.score_on == "holdout":
        return ["Run the chosen settings on the test set, with audit: standard in the recipe."]
    if best.method not in outcome.audits:
        return ["Add audit: standard to the recipe, and run natmu bench again."]
    audit = outcome.audits[best.method]
    if audit is None:
        return ["Read why the audit failed, and run natmu bench again."]
    return audit_steps(audit, "audit: {level} in the recipe", "references: {count} in the recipe")


def audit_steps(audit: Audit, level: str, references: str) -> list[str]:
    """What to do after an audit that did not distinguish a model from retrained ones.

    Args:
        audit: The audit.
        level: How another level is asked for, with ``{level}`` for it.
        references: How more retrained models are asked for, with ``{count}`` for their number.
    """
    outcome, higher = audit.forgotten.outcome, HIGHER.get(audit.level)
    if outcome == "cannot be said":
        more = max(ENOUGH, 2 * len(audit.models.retrained))
        return [f"Audit with more retrained models: {references.format(count=more)}."]
    if outcome == "not distinguishable" and higher is not None:
        return [f"Audit at a higher level: {level.format(level=higher)}."]
    return []
