"""What a study's statistics say of one scenario: which cells are marked, and how sure the best method is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from natmu.report.digits import MOST_DECIMALS, first_place, fixed
from natmu.types import REFERENCES

Study = Mapping[str, Any]
Mark = Literal["best", "near"]


def marked(study: Study, scenario: str) -> dict[tuple[str, str], Mark]:
    """The best of each column and those within noise of it; the lowest gap alone where no two seeds can be compared.

    Args:
        study: As ``read_study`` returns it.
        scenario: Which of its scenarios.

    Returns:
        By method and score, ``best``, or ``near`` for what is within noise of the best.
    """
    marks: dict[tuple[str, str], Mark] = {(method, "avg_gap"): "best" for method in _lowest_gap(study, scenario)}
    for score in study["columns"]:
        records = _records(study, scenario, score)
        if any(record["n"] > 1 for record in records):
            best = records[0]["best"]
            alike = [one["method"] for one in records if one["best"] == best and one["within_noise"]]
            marks |= {(method, score): "near" for method in alike}
            equal = [one["method"] for one in records if one["best"] == best and one["difference"] == 0]
            marks |= {(method, score): "best" for method in (best, *equal)}
    return marks


def finding(study: Study, scenario: str) -> str | None:
    """The lowest gap next to the second lowest, and how well the seeds agree on the order of all methods.

    The difference has two significant digits of its interval's half width.

    Args:
        study: As ``read_study`` returns it.
        scenario: Which of its scenarios.

    Returns:
        One line, or None where no two methods share two seeds.
    """
    first = next(iter(_records(study, scenario, "avg_gap")), None)
    if first is None or first["n"] < 2:
        return None
    line = f"avg_gap: {first['best']} minus {first['method']} {_difference(first)}, n = {first['n']}"
    if first["within_noise"]:
        line += ", within noise"
    agreement = next((one["agreement"] for one in study["ranks"] if one["scenario"] == scenario), None)
    return line if agreement is None else f"{line}; ranks agree: Kendall's W = {agreement:.2f}"


def pairs(study: Study, scenario: str) -> list[tuple[str, str, str, int]]:
    """Every two methods that share two seeds: the one with the lower gap, the other, their difference, and how many.

    Args:
        study: As ``read_study`` returns it.
        scenario: Which of its scenarios.
    """
    records = _records(study, scenario, "avg_gap")
    return [(one["best"], one["method"], _difference(one), one["n"]) for one in records if one["n"] > 1]


def compared(study: Study) -> bool:
    """Whether any two methods of a study share two seeds, so that more than the lowest gap is marked."""
    return any(record["n"] > 1 for record in study["comparisons"])


def _records(study: Study, scenario: str, score: str) -> list[Mapping[str, Any]]:
    """The comparisons of one column, the best with the second best first."""
    return [one for one in study["comparisons"] if (one["scenario"], one["score"]) == (scenario, score)]


def _lowest_gap(study: Study, scenario: str) -> list[str]:
    """Methods with the lowest gap; the references do not compete, nor does a method of which a seed failed."""
    gaps = {
        row["method"]: row["avg_gap"]["mean"]
        for row in study["rows"]
        if row["scenario"] == scenario and row["method"] not in REFERENCES and not row["failed"] and row["avg_gap"]
    }
    return [method for method, gap in gaps.items() if gap == min(gaps.values())]


def _difference(record: Mapping[str, Any]) -> str:
    """A difference and its interval."""
    if record["interval"] is None:
        return f"{fixed(record['difference'], MOST_DECIMALS)} in every seed"
    low, high = record["interval"]
    decimals = min(MOST_DECIMALS, 1 - first_place((high - low) / 2)) if high > low else MOST_DECIMALS
    return f"{fixed(record['difference'], decimals)} (95 %: {fixed(low, decimals)} to {fixed(high, decimals)})"
