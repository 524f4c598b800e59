"""What the seeds of a study allow to be said of its methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from natmu.records.table import Comparison, Place, Ranks, Row
from natmu.scores.comparison import Seeds, differences, stability
from natmu.types import REFERENCES, RETRAINED

RANKED = "avg_gap"
"""The score by which methods are ranked, and each compared with each."""

LOWEST = ("avg_gap", "seconds", "retrain_fraction", "passes")
"""Of these less is better; of all others the best value is that of retrained models."""


def statistics_of(rows: Sequence[Row], columns: Sequence[str]) -> tuple[tuple[Comparison, ...], tuple[Ranks, ...]]:
    """Compare the methods of each scenario over seeds.

    The references do not compete, nor does a method of which a seed failed: the seeds that it survived may have been
    the easy ones. In the columns of ``LOWEST`` the lowest mean is the best. In all other columns it is the lowest mean
    distance of a replicate from the mean of the retrained models, and differences are between such distances; without
    retrained models such a column is not compared.

    Args:
        rows: Those of a table.
        columns: What rows measure.

    Returns:
        For each scenario and column, the best method with every other from best to worst; of ``avg_gap`` every method
        with every one that is worse. See ``natmu.scores.comparison.differences``. Then, for each scenario with an
        ``avg_gap``, the ranks of its methods.
    """
    comparisons: list[Comparison] = []
    ranks: list[Ranks] = []
    for scenario in dict.fromkeys(row.scenario for row in rows):
        chosen = [row for row in rows if row.scenario == scenario]
        for score in columns:
            comparisons += _comparisons(scenario, score, _competing(chosen, score))
        ranks += _ranks(scenario, _competing(chosen, RANKED))
    return tuple(comparisons), tuple(ranks)


def _comparisons(scenario: str, score: str, methods: dict[str, dict[Seeds, float]]) -> list[Comparison]:
    """The comparisons of one scenario and column."""
    return [
        Comparison(
            scenario=scenario,
            score=score,
            best=found.best,
            method=found.method,
            difference=found.mean,
            interval=found.interval,
            n=found.n,
            within_noise=found.within_noise,
        )
        for found in differences(methods, every_pair=score == RANKED)
    ]


def _ranks(scenario: str, methods: dict[str, dict[Seeds, float]]) -> list[Ranks]:
    """The ranks of one scenario; none where no method has a gap."""
    found = stability(methods)
    if found is None:
        return []
    places = {label: Place(**asdict(place)) for label, place in found.places.items()}
    return [Ranks(scenario=scenario, score=RANKED, n=found.n, agreement=found.agreement, methods=places)]


def _competing(rows: Sequence[Row], score: str) -> dict[str, dict[Seeds, float]]:
    """Each method's values in one column by seeds, as numbers of which the lowest is the best."""
    centre = 0.0
    if score not in LOWEST:
        retrained = next((row.scores[score] for row in rows if row.method == RETRAINED), None)
        if retrained is None:
            return {}
        centre = retrained.mean
    return {
        row.method: {
            seeds: value if score in LOWEST else abs(value - centre) for seeds, value in by_seeds(row, score).items()
        }
        for row in rows
        if row.method not in REFERENCES and not row.failed and row.scores[score] is not None
    }


def by_seeds(row: Row, score: str) -> dict[Seeds, float]:
    """A row's values in one column, by the seeds that they were measured with."""
    column = row.scores[score]
    return {
        (replicate.split, replicate.training, replicate.unlearning): value
        for replicate, value in zip(row.replicates, () if column is None else column.values, strict=column is not None)
        if value is not None
    }
