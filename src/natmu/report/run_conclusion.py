"""What one unlearned model came to, for readers who look at nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from natmu.records.audit import Audit
from natmu.report.audit_sentences import audit_sentences
from natmu.report.conclusion import Conclusion, significant
from natmu.report.digits import rounded
from natmu.report.next_steps import CAUGHT, NOTHING_LEFT, audit_steps
from natmu.types import ORIGINAL, RETRAINED

FORGET_ACCURACY = "forget_acc"


def conclude_run(
    label: str,
    scored: Mapping[str, Mapping[str, float]],
    seconds: float,
    retraining: float | None,
    audit: Audit | None,
    folder: str,
) -> Conclusion:
    """A run in a few sentences.

    Args:
        label: The method.
        scored: Scores by model, among them that of the label.
        seconds: What the run took.
        retraining: Seconds of a retrained model on the same hardware; None where there is none.
        audit: The audit of the run, if there is one.
        folder: Name of the run folder.
    """
    command = f"natmu audit runs/{folder}"
    if audit is None:
        seen: tuple[str, ...] = (
            f"{label} was not audited, so nothing here says whether attacks still recognise single samples.",
        )
        steps = [f"Audit it: {command} --level standard"]
    else:
        seen = audit_sentences(label, audit)
        again = f"{command} --level {audit.level}"
        steps = audit_steps(audit, command + " --level {level}", again + " --references {count}")
        if audit.forgotten.outcome in CAUGHT:
            steps = ["Try another method (natmu plan lists their costs) or other settings (natmu search)."]
    cost = f"It took {rounded(seconds, None)[0]} seconds"
    cost += "" if not retraining else f", {significant(100 * seconds / retraining)} % of the retrained model's time"
    return Conclusion(label, _accuracies(label, scored), f"{cost}.", (), seen, tuple(steps or [NOTHING_LEFT]))


def _accuracies(label: str, scored: Mapping[str, Mapping[str, float]]) -> str:
    """How often the models are right on the forget set."""
    names = {label: label, ORIGINAL: "the original", RETRAINED: "a retrained model"}
    known = {name: scored[name][FORGET_ACCURACY] for name in names if FORGET_ACCURACY in scored.get(name, {})}
    if label not in known:
        return f"The accuracy of {label} on the forget set is not known."
    others = [f"{names[name]} {rounded(value, None)[0]} %" for name, value in known.items() if name != label]
    beside = f" ({', '.join(others)})" if others else ""
    return f"{label} predicts the label of {rounded(known[label], None)[0]} % of the forget set{beside}."
