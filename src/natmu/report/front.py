"""Which methods no other one beats in cost and in gap at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Standing = Literal["front", "near", "behind"]
"""On the front; behind it by less than the seeds show; behind."""


@dataclass(frozen=True)
class Point:
    """A method in the plane of cost and gap; of both less is better.

    Attributes:
        cost: In any unit.
        gap: Its mean.
    """

    cost: float
    gap: float


def pareto_front(points: Mapping[str, Point], lower: Collection[tuple[str, str]]) -> dict[str, Standing]:
    """Where each point stands.

    A point is on the front if no other costs at most as much and has at most its gap, with one of the two less. Equal
    points are on it together. A point behind the front is near it if no other that costs at most as much is known to
    have a lower gap.

    Args:
        points: By label.
        lower: Pairs of labels of which the first is known to have the lower gap.

    Returns:
        By label, in the order of the points.
    """
    standings: dict[str, Standing] = {}
    for label, point in points.items():
        cheaper = {other: one for other, one in points.items() if one.cost <= point.cost}
        ahead = [one for one in cheaper.values() if one.gap <= point.gap and one != point]
        known = any((other, label) in lower for other in cheaper)
        standings[label] = "front" if not ahead else "behind" if known else "near"
    return standings
