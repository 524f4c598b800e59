"""Every score there is: what it measures, what it costs, and between which values it lies.

This is text and imports nothing but the standard library. ``make catalogue`` stores it, because a verb that only tells
loads neither numpy nor scikit-learn, as the package above this one does.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from natmu.scores.catalogue import alone, many
from natmu.scores.catalogue.families import FAMILIES
from natmu.scores.catalogue.papers import Source
from natmu.scores.catalogue.row import NEEDS, ScoreInfo

__all__ = ["FAMILIES", "NEEDS", "SCORES", "ScoreInfo", "Source", "catalogue"]

SCORES: tuple[ScoreInfo, ...] = (
    *alone.ACCURACIES,
    *alone.CLOSENESS,
    *alone.DISTANCES,
    *alone.BEHIND,
    *alone.CALIBRATION,
    *alone.ENTROPY_ATTACK,
    *alone.EFFICACY,
    *alone.POPULATION,
    *many.RMIA,
    *many.LIRA,
    *many.ULIRA,
    *many.KLOM,
    *many.QUALITY,
)
"""Every score, in the order of tables."""


def catalogue() -> list[dict[str, Any]]:
    """Every score as plain values, one row each, in the order of ``SCORES``; ``about`` is the text on its family."""
    return [
        asdict(score)
        | {
            "needs": [NEEDS[key] for key in score.needs],
            "called_mia_by": list(score.called_mia_by),
            "about": FAMILIES[score.family],
        }
        for score in SCORES
    ]
