"""Every score there is: what it measures, what it costs, and between which values it lies.

This is text and imports nothing but the standard library. ``make catalogue`` stores it, because a verb that only tells
loads neither numpy nor scikit-learn, as the package above this one does.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from natmu.scores.catalogue import alone, attacks, inside, many
from natmu.scores.catalogue.families import FAMILIES
from natmu.scores.catalogue.papers import Source
from natmu.scores.catalogue.row import NEEDS, ScoreInfo

__all__ = ["CATALOGUED", "FAMILIES", "NEEDS", "PACKAGE", "SCORES", "ScoreInfo", "Source", "catalogue", "row_of"]

SCORES: tuple[ScoreInfo, ...] = (
    *alone.ACCURACIES,
    *alone.CLOSENESS,
    *alone.DISTANCES,
    *inside.BEHIND,
    *alone.CALIBRATION,
    *attacks.ENTROPY_ATTACK,
    *attacks.EFFICACY,
    *attacks.POPULATION,
    *many.RMIA,
    *many.LIRA,
    *many.ULIRA,
    *many.SWAP,
    *many.KLOM,
    *many.QUALITY,
)
"""Every score, in the order of tables."""


CATALOGUED = frozenset(score.name for score in SCORES)
"""The names of our scores, which no other score can have."""

PACKAGE = "natmu"


def catalogue() -> list[dict[str, Any]]:
    """Our scores as plain values, one row each, in the order of ``SCORES``."""
    return [row_of(score) for score in SCORES]


def row_of(score: ScoreInfo, package: str = PACKAGE) -> dict[str, Any]:
    """A row as plain values; ``about`` is the text on its family, and ``package`` is what brings the score."""
    return asdict(score) | {
        "package": package,
        "needs": [NEEDS[key] for key in score.needs],
        "called_mia_by": list(score.called_mia_by),
        "about": FAMILIES.get(score.family, score.about),
    }
