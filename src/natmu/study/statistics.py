"""What the seeds of a study allow to be said of its methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from natmu.scores.comparison import Seeds, differences, stability
from natmu.study.table import COSTS
from natmu.types import REFERENCES, RETRAINED

Row = Mapping[str, Any]

RANKED = "avg_gap"
"""The score by which methods are ranked, and each compared with each."""

LOWEST = COSTS
"""Of these less is better; of all others the best value is that of retrained models."""


def statistics_of(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Compare the methods of each scenario over seeds.

    The references do not compete, nor does a method of which a seed failed: the seeds that it survived may have been
    the easy ones. In ``avg_gap``, ``seconds`` and ``retrain_share`` the lowest mean is the best. In all other columns
    it is the lowest mean distance of a replicate from the mean of the retrained models, and differences are between
    such distances; without retrained models such a column is not compared.

    Args:
        rows: Those of ``table.json``.
        columns: What rows measure.

    Returns:
        ``comparisons`` holds, for each scenario and column, the best method with every other from best to worst; of
        ``avg_gap`` every method with every one that is worse. Each has ``scenario``, ``score``, ``best``, ``method``,
        ``difference`` (mean of best minus method over ``n`` common replicates, None if n = 0), ``interval`` (95 %, a
        pair; None where n < 2 or all differences agree to the last digit) and ``within_noise`` (None where there is
        no interval); see ``natmu.scores.comparison.differences``. ``ranks`` holds, for each scenario with an
        ``avg_gap``, ``scenario``, ``score``, ``n``, ``agreement`` (Kendall's W or None) and ``methods``: ``mean``,
        ``best`` and ``worst`` rank and the share of replicates in which it is ``first``, by label.
    """
    comparisons: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        chosen = [row for row in rows if row["scenario"] == scenario]
        for score in columns:
            comparisons += _comparisons(scenario, score, _competing(chosen, score))
        ranks += _ranks(scenario, _competing(chosen, RANKED))
    return {"comparisons": comparisons, "ranks": ranks}


def _comparisons(scenario: str, score: str, methods: dict[str, dict[Seeds, float]]) -> list[dict[str, Any]]:
    """The records of one scenario and column."""
    return [
        {
            "scenario": scenario,
            "score": score,
            "best": one.best,
            "method": one.method,
            "difference": one.mean,
            "interval": None if one.interval is None else list(one.interval),
            "n": one.n,
            "within_noise": one.within_noise,
        }
        for one in differences(methods, every_pair=score == RANKED)
    ]


def _ranks(scenario: str, methods: dict[str, dict[Seeds, float]]) -> list[dict[str, Any]]:
    """The ranks of one scenario; none where no method has a gap."""
    found = stability(methods)
    if found is None:
        return []
    places = {label: asdict(place) for label, place in found.places.items()}
    return [
        {"scenario": scenario, "score": RANKED, "n": found.n, "agreement": found.agreement, "methods": places},
    ]


def _competing(rows: Sequence[Row], score: str) -> dict[str, dict[Seeds, float]]:
    """Each method's values in one column by seeds, as numbers of which the lowest is the best."""
    centre = 0.0
    if score not in LOWEST:
        retrained = next((row[score] for row in rows if row["method"] == RETRAINED), None)
        if retrained is None:
            return {}
        centre = retrained["mean"]
    return {
        row["method"]: {
            seeds: value if score in LOWEST else abs(value - centre) for seeds, value in _values(row, score)
        }
        for row in rows
        if row["method"] not in REFERENCES and not row["failed"] and row[score] is not None
    }


def _values(row: Row, score: str) -> list[tuple[Seeds, float]]:
    """A row's values in one column with the seeds that they were measured with."""
    return [
        ((seeds["split"], seeds["training"], seeds["unlearning"]), value)
        for seeds, value in zip(row["replicates"], row[score]["values"], strict=True)
        if value is not None
    ]
