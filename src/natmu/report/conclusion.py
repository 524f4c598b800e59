"""What a study came to, for readers who look at nothing else: a few sentences on each forget set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from natmu.records.table import Column, Row
from natmu.report.audit_sentences import audit_sentences
from natmu.report.costs import interval_of
from natmu.report.digits import MOST_DECIMALS, first_place, fixed, rounded
from natmu.report.outcome import Outcome
from natmu.report.units import FRACTION
from natmu.scores.uncertainty import Interval

NAMED = 3
"""Methods that a sentence names at most."""


@dataclass(frozen=True)
class Conclusion:
    """One forget set in a few sentences.

    Attributes:
        title: The forget set, or what was made.
        closest: Which method came closest to retraining, and how close.
        cost: What it took; empty where nothing is known.
        others: A warning of retrained models that learnt little, how the original and the other methods compare with
            it, and which of them failed.
        audit: What the audit saw, or that there is none.
        steps: What to do next, the most urgent first.
    """

    title: str
    closest: str
    cost: str
    others: tuple[str, ...]
    audit: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that was found, in order."""
        return (self.closest, *([self.cost] if self.cost else []), *self.others, *self.audit)


def written(column: Column, words: str = "") -> str:
    """A mean gap with its interval, which starts at 0 at least because no gap is negative.

    Args:
        column: The gap.
        words: What the interval is called.
    """
    interval = interval_of(column)
    if interval is None:
        return rounded(column.mean, None)[0]
    decimals = _decimals(interval)
    low, high = (fixed(max(0.0, end), decimals) for end in interval)
    return f"{fixed(column.mean, decimals)} ({words}{low} to {high})"


def listed(labels: Sequence[str], others: str) -> str:
    """Some labels and how many more there are."""
    shown = list(labels[:NAMED]) if len(labels) > NAMED + 1 else list(labels)
    more = len(labels) - len(shown)
    parts = [*shown, f"{more} {others}"] if more else shown
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def findings(outcome: Outcome) -> Conclusion:
    """What one forget set came to, without what to do next.

    Args:
        outcome: Its facts.
    """
    best = outcome.best
    failed = _failed(outcome)
    if best is None:
        what = "No method was measured with every seed" if outcome.failed else "There is no method to compare"
        return Conclusion(outcome.scenario, f"{what}.", "", tuple(failed), (), ())
    others = (*outcome.poor_baseline, *_beside_original(outcome), *_beside_others(outcome), *failed)
    return Conclusion(outcome.scenario, _closest(outcome, best), _cost(best), others, _audit(outcome, best.method), ())


def _closest(outcome: Outcome, best: Row) -> str:
    """The best method beside the retraining baseline."""
    gap, baseline = best.scores["avg_gap"], outcome.baseline
    assert gap is not None, "it competes"
    number = written(gap, "95 % interval ")
    text = f"{_first_words(outcome, best)}: its avg_gap is {number} percentage points"
    if baseline is None:
        return f"{text}; the retraining baseline is not known."
    if interval_of(gap) is None:
        relation = "no more than" if outcome.place == "inside" else "more than"
        return f"{text}, {relation} the retraining baseline of {written(baseline)}; one seed gives no interval."
    if outcome.place == "open":
        return f"{text}. The retraining baseline is {written(baseline)}; whether the gap lies inside it is open."
    return f"{text}, {outcome.place} the retraining baseline of {written(baseline)}."


def _first_words(outcome: Outcome, best: Row) -> str:
    """Who is the closest; an original that is no farther away than any method comes first."""
    original = outcome.original
    if original is None or not outcome.original_is_closer:
        return f"{best.method} comes closest to retraining"
    number = rounded(original.mean, original.std)[0]
    first = f"No method comes closer to retraining than the original, whose avg_gap is {number}."
    return f"{first} The closest is {best.method}"


def _beside_original(outcome: Outcome) -> list[str]:
    """The gap of the original, where no sentence before has it, and whether there was anything to forget."""
    original = outcome.original
    if original is None:
        return []
    gap = [f"The avg_gap of the original is {rounded(original.mean, original.std)[0]}."]
    little = "The original lies inside the retraining baseline too, so by avg_gap there is little to forget."
    return [*gap * (not outcome.original_is_closer), *[little] * outcome.little_to_forget]


def _beside_others(outcome: Outcome) -> list[str]:
    """Whether the seeds distinguish the best method from the others, and which of equals is the cheapest."""
    tied, best, others = outcome.tied, outcome.best, outcome.ranked[1:]
    if not others or best is None:
        return []
    seeds = min((pair.n for pair in outcome.comparisons), default=0)
    if tied:
        names = listed([row.method for row in tied], "other methods")
        cheapest = _cheapest([best, *tied])
        text = f"At n = {seeds}, {best.method} is not distinguishable from {names}"
        return [f"{text}{f'; {cheapest} is the cheapest of these' if cheapest else ''}."]
    if outcome.undecided:
        return [f"At n = {max(seeds, 1)}, the order of the methods is not certain."]
    return [f"At n = {seeds}, every other method has a higher gap, beyond noise."]


def _cheapest(rows: Sequence[Row]) -> str | None:
    """The method with the lowest fraction of retraining's time; None where one is unknown, or two are about equal."""
    columns = {row.method: row.scores.get(FRACTION) for row in rows}
    known = {label: column for label, column in columns.items() if column is not None}
    if len(known) < len(rows):
        return None
    first, second = sorted(known, key=lambda label: known[label].mean)[:2]
    clear = known[first].mean + (known[first].std or 0.0) < known[second].mean - (known[second].std or 0.0)
    return first if clear else None


def _cost(row: Row) -> str:
    """What a method takes beside retraining."""
    fraction, passes = row.scores.get(FRACTION), row.scores.get("passes")
    parts = [] if fraction is None else [f"{significant(100 * fraction.mean)} % of retraining's time"]
    if passes is not None:
        plural = "pass" if significant(passes.mean) == "1" else "passes"
        parts.append(f"{significant(passes.mean)} {plural} over the training set")
    if not parts:
        return ""
    text = f"{row.method} takes {' and '.join(parts)}"
    return f"{text}, so it is no cheaper than retraining." if fraction and fraction.mean >= 1 else f"{text}."


def _audit(outcome: Outcome, label: str) -> tuple[str, ...]:
    """What the audit of a method saw."""
    if outcome.study.score_on == "holdout":
        return ("A study on the holdout is not audited, because audits look at the test set.",)
    if label in outcome.audits:
        audit = outcome.audits[label]
        return (f"The audit of {label} failed.",) if audit is None else audit_sentences(label, audit)
    return (f"{label} was not audited, so nothing here says whether attacks still recognise single samples.",)


def _failed(outcome: Outcome) -> list[str]:
    """The methods without a complete result: those that failed, then those that were never tried."""
    failed = [row.method for row in outcome.failed if row.log]
    unserved = [row.method for row in outcome.failed if not row.log]
    found = [f"At least one seed failed: {listed(failed, 'others')}."] if failed else []
    return [*found, *([f"Not run here: {listed(unserved, 'others')}."] if unserved else [])]


def significant(value: float) -> str:
    """Two significant digits, all of them before the point."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{float(f'{value:.2g}'):g}"


def _decimals(interval: Interval) -> int:
    """As many as the interval's half width deserves."""
    half = (interval[1] - interval[0]) / 2
    return max(0, min(MOST_DECIMALS, 1 - first_place(half))) if half > 0 else MOST_DECIMALS
