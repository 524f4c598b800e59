"""What a study's statistics say of one scenario: which cells are marked, and how sure the best method is."""

from __future__ import annotations

from typing import Literal

from natmu.records.table import Comparison, Results
from natmu.report.digits import MOST_DECIMALS, first_place, fixed
from natmu.types import REFERENCES

Mark = Literal["best", "near"]


def marked(study: Results, scenario: str) -> dict[tuple[str, str], Mark]:
    """The best of each column and those within noise of it; the lowest gap alone where no two seeds can be compared.

    Args:
        study: The study.
        scenario: Which of its scenarios.

    Returns:
        By method and score, ``best``, or ``near`` for what is within noise of the best.
    """
    marks: dict[tuple[str, str], Mark] = {(method, "avg_gap"): "best" for method in _lowest_gap(study, scenario)}
    for score in study.columns:
        comparisons = _comparisons(study, scenario, score)
        if any(comparison.n > 1 for comparison in comparisons):
            best = comparisons[0].best
            with_best = [comparison for comparison in comparisons if comparison.best == best]
            marks |= {(other.method, score): "near" for other in with_best if other.within_noise}
            equal = [other.method for other in with_best if other.difference == 0]
            marks |= {(method, score): "best" for method in (best, *equal)}
    return marks


def finding(study: Results, scenario: str) -> str | None:
    """The lowest gap next to the second lowest, and how well the seeds agree on the order of all methods.

    The difference has two significant digits of its interval's half width.

    Args:
        study: The study.
        scenario: Which of its scenarios.

    Returns:
        One line, or None where no two methods share two seeds.
    """
    first = next(iter(_comparisons(study, scenario, "avg_gap")), None)
    if first is None or first.n < 2:
        return None
    line = f"avg_gap: {first.best} minus {first.method} {_difference(first)}, n = {first.n}"
    if first.within_noise:
        low, high = first.interval or (None, None)
        excluded = low is not None and high is not None and not low <= 0 <= high
        line += ", within noise" + (" after correction for the number of methods" if excluded else "")
    agreement = next((ranks.agreement for ranks in study.ranks if ranks.scenario == scenario), None)
    return line if agreement is None else f"{line}; ranks agree: Kendall's W = {agreement:.2f}"


def pairs(study: Results, scenario: str) -> list[tuple[str, str, str, int]]:
    """Every two methods that share two seeds: the one with the lower gap, the other, their difference, and how many.

    Args:
        study: The study.
        scenario: Which of its scenarios.
    """
    comparisons = _comparisons(study, scenario, "avg_gap")
    return [(pair.best, pair.method, _difference(pair), pair.n) for pair in comparisons if pair.n > 1]


def compared(study: Results) -> bool:
    """Whether any two methods of a study share two seeds, so that more than the lowest gap is marked."""
    return any(comparison.n > 1 for comparison in study.comparisons)


def _comparisons(study: Results, scenario: str, score: str) -> list[Comparison]:
    """The comparisons of one column, the best with the second best first."""
    return [pair for pair in study.comparisons if (pair.scenario, pair.score) == (scenario, score)]


def _lowest_gap(study: Results, scenario: str) -> list[str]:
    """Methods with the lowest gap; the references do not compete, nor does a method of which a seed failed."""
    gaps = {
        row.method: gap.mean
        for row in study.rows
        if row.scenario == scenario and row.method not in REFERENCES and not row.failed
        if (gap := row.scores["avg_gap"]) is not None
    }
    return [method for method, gap in gaps.items() if gap == min(gaps.values())]


def _difference(comparison: Comparison) -> str:
    """A difference and its interval."""
    if comparison.difference is None:
        return "not known"
    if comparison.interval is None:
        return f"{fixed(comparison.difference, MOST_DECIMALS)} in every seed"
    low, high = comparison.interval
    decimals = min(MOST_DECIMALS, 1 - first_place((high - low) / 2)) if high > low else MOST_DECIMALS
    return f"{fixed(comparison.difference, decimals)} (95 %: {fixed(low, decimals)} to {fixed(high, decimals)})"
