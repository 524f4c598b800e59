"""The facts of one forget set of a study that its conclusion is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from natmu.records.audit import Audit
from natmu.records.table import Column, Comparison, Results, Row
from natmu.report.costs import interval_of
from natmu.report.tables import references_first
from natmu.scores.poor_baseline import poor_baseline
from natmu.types import ORIGINAL, REFERENCES, RETRAINED

Audits = Mapping[str, Audit | None]
"""The audits of a forget set by the label of the method; None for one that failed."""

Place = Literal["inside", "outside", "open", "not known"]
"""Where a gap lies: below the upper end of the retraining baseline, above it, on both sides, or nobody knows."""


@dataclass(frozen=True)
class Outcome:
    """The facts of one forget set that a conclusion is made of.

    Attributes:
        study: The study.
        scenario: Text of the forget request.
        audits: Those of this forget set.
    """

    study: Results
    scenario: str
    audits: Audits

    @cached_property
    def rows(self) -> list[Row]:
        """The original, the retrained models, then the methods."""
        return sorted((row for row in self.study.rows if row.scenario == self.scenario), key=references_first)

    @cached_property
    def ranked(self) -> list[Row]:
        """The methods with a gap of which no seed failed, the lowest gap first."""
        return sorted((row for row in self.rows if competes(row)), key=gap_of)

    @property
    def best(self) -> Row | None:
        """The method with the lowest mean gap."""
        return self.ranked[0] if self.ranked else None

    @property
    def failed(self) -> list[Row]:
        """The methods that were not measured, or not with every seed."""
        return [row for row in self.rows if row.failed and row.method not in REFERENCES]

    @property
    def baseline(self) -> Column | None:
        """The ``avg_gap`` of retrained models."""
        return self._gap(RETRAINED)

    @property
    def original(self) -> Column | None:
        """The ``avg_gap`` of the original."""
        return self._gap(ORIGINAL)

    @property
    def poor_baseline(self) -> list[str]:
        """A warning where the retrained models did not learn what the original did; else nothing."""
        return poor_baseline(*(self._mean(label, "retain_acc") for label in (RETRAINED, ORIGINAL)))

    @property
    def original_is_closer(self) -> bool:
        """Whether the best method is no closer to retraining than the original is."""
        return self.original is not None and self.best is not None and self.original.mean <= gap_of(self.best)

    @property
    def little_to_forget(self) -> bool:
        """Whether the original itself lies inside the retraining baseline."""
        return self.original is not None and place_of(self.original, self.baseline) == "inside"

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The best method with every other one over the seeds that both have."""
        label = None if self.best is None else self.best.method
        return [
            pair
            for pair in self.study.comparisons
            if (pair.scenario, pair.score, pair.best) == (self.scenario, "avg_gap", label)
        ]

    @property
    def tied(self) -> list[Row]:
        """The methods that the seeds do not distinguish from the best, the lowest gap first."""
        alike = {pair.method for pair in self.comparisons if pair.within_noise}
        return [row for row in self.ranked if row.method in alike]

    @property
    def undecided(self) -> bool:
        """Whether some method shares too few seeds with the best to be compared with it."""
        decided = {pair.method for pair in self.comparisons if pair.within_noise is not None}
        return any(row.method not in decided for row in self.ranked[1:])

    @property
    def place(self) -> Place:
        """Where the best method lies beside the retraining baseline."""
        best = self.best
        column = None if best is None else best.scores["avg_gap"]
        return "not known" if column is None else place_of(column, self.baseline)

    def _gap(self, label: str) -> Column | None:
        return self._column(label, "avg_gap")

    def _mean(self, label: str, score: str) -> float | None:
        column = self._column(label, score)
        return None if column is None else column.mean

    def _column(self, label: str, score: str) -> Column | None:
        return next((row.scores.get(score) for row in self.rows if row.method == label), None)


def competes(row: Row) -> bool:
    """Whether a row is of a method that was measured with every seed."""
    return row.method not in REFERENCES and not row.failed and row.scores["avg_gap"] is not None


def gap_of(row: Row) -> float:
    """The mean gap of a row that competes."""
    gap = row.scores["avg_gap"]
    assert gap is not None, "it competes"
    return gap.mean


def place_of(gap: Column, baseline: Column | None) -> Place:
    """Where a gap lies beside the retraining baseline.

    Args:
        gap: The ``avg_gap`` of a method.
        baseline: That of retrained models; None where it is not known.

    Returns:
        ``inside`` if its whole 95 % interval lies below the upper end of the baseline's interval, ``outside`` if all of
        it lies above, ``open`` if the end lies within it. Where one seed leaves an interval unknown, the mean stands
        for it.
    """
    if baseline is None:
        return "not known"
    low, high = interval_of(gap) or (gap.mean, gap.mean)
    end = (interval_of(baseline) or (baseline.mean, baseline.mean))[1]
    return "inside" if high <= end else "outside" if low > end else "open"
