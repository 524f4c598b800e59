"""Gap and cost of the methods of one forget set, with what they are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from natmu.records.table import Column, Row
from natmu.report.front import Point, Standing, pareto_front
from natmu.scores.comparison import differences
from natmu.scores.statistics import by_seeds
from natmu.scores.uncertainty import Interval, seed_interval
from natmu.types import ORIGINAL, REFERENCES, RETRAINED

YARDSTICKS = (10, 100)
"""Epochs of the retrainings that costs are compared with, beside that of the recipe."""


@dataclass(frozen=True)
class Measured:
    """What one method came to.

    Attributes:
        label: Of the method.
        gap: Mean ``avg_gap``, in percentage points.
        interval: 95 % interval of the mean over seeds; None where one seed leaves it unknown.
        passes: Mean passes over the training set.
        preparation: Passes before any request; None where not known.
        search: Passes of the search that chose its settings; None where not known.
        standing: Against all methods of the forget set.
    """

    label: str
    gap: float
    interval: Interval | None
    passes: float
    preparation: float | None
    search: float | None
    standing: Standing


@dataclass(frozen=True)
class Costs:
    """The methods of one forget set by cost and gap.

    Attributes:
        rows: Of the table, of one forget set.
        epochs: Of the recipe that the originals were trained with; None where nobody says.
    """

    rows: Sequence[Row]
    epochs: int | None

    @cached_property
    def methods(self) -> tuple[Measured, ...]:
        """Those with a gap and a cost of which no seed failed, the cheapest first.

        A lower gap of another method is one that ``natmu.scores.comparison.differences`` finds in pairs over seeds.
        """
        found = []
        for row in self.rows:
            gap, passes = row.scores["avg_gap"], row.scores.get("passes")
            if row.method not in REFERENCES and not row.failed and gap is not None and passes is not None:
                found.append((row, gap.mean, interval_of(gap), passes.mean))
        pairs = differences({row.method: by_seeds(row, "avg_gap") for row, *_ in found}, every_pair=True)
        lower = {(pair.best, pair.method) for pair in pairs if pair.within_noise is False and (pair.mean or 0) < 0}
        standings = pareto_front({row.method: Point(passes, gap) for row, gap, _, passes in found}, lower)
        measured = [
            Measured(row.method, gap, interval, passes, row.preparation, row.search, standings[row.method])
            for row, gap, interval, passes in found
        ]
        return tuple(sorted(measured, key=lambda one: (one.passes, one.gap)))

    @cached_property
    def baseline(self) -> tuple[float, Interval | None] | None:
        """Mean ``avg_gap`` of retrained models and its interval: no method can be expected to beat it."""
        gap = self._column(RETRAINED, "avg_gap")
        return None if gap is None else (gap.mean, interval_of(gap))

    @property
    def original(self) -> float | None:
        """Mean ``avg_gap`` of the original."""
        gap = self._column(ORIGINAL, "avg_gap")
        return None if gap is None else gap.mean

    @property
    def retraining(self) -> float | None:
        """Passes over the training set of retraining by the recipe."""
        passes = self._column(RETRAINED, "passes")
        return passes.mean if passes is not None and passes.mean > 0 else None

    def yardstick(self, epochs: int) -> float:
        """Passes over the training set of retraining for some epochs, each of which shows the retain set once.

        The retain set counts as the whole where nobody says how large it is.
        """
        each = self.retraining / self.epochs if self.retraining is not None and self.epochs else 1.0
        return epochs * each

    def _column(self, label: str, name: str) -> Column | None:
        return next((row.scores.get(name) for row in self.rows if row.method == label), None)


def interval_of(column: Column) -> Interval | None:
    """Student's 95 % interval of the mean over seeds."""
    known = [value for value in column.values if value is not None]
    return seed_interval(known) if len(known) > 1 else None
