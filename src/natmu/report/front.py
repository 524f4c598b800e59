"""Which methods no other one beats in cost and in gap at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Standing = Literal["front", "near", "behind"]
"""On the front; behind it by less than the intervals show; behind."""


@dataclass(frozen=True)
class Point:
    """A method in the plane of cost and gap; of both less is better.

    Attributes:
        cost: In any unit.
        gap: Its mean.
        low: Lower end of the gap's interval; the gap itself where no interval is known.
        high: Upper end.
    """

    cost: float
    gap: float
    low: float
    high: float


def pareto_front(points: Sequence[Point]) -> list[Standing]:
    """Where each point stands.

    A point is on the front if no other costs at most as much and has at most its gap, with one of the two less. Equal
    points are on it together. A point behind the front is near it if no point that costs at most as much has an
    interval that lies below its own.

    Args:
        points: In any order.

    Returns:
        One for each point. It takes time ``N log N``.
    """
    standings: list[Standing] = ["behind"] * len(points)
    lowest = lowest_end = float("inf")  # gap, and upper end of an interval, among all that cost less
    by_cost = sorted(range(len(points)), key=lambda place: points[place].cost)
    for _, equal in groupby(by_cost, key=lambda place: points[place].cost):
        alike = list(equal)
        least = min(points[place].gap for place in alike)
        lowest_end = min(lowest_end, *(points[place].high for place in alike))
        for place in alike:
            if points[place].gap == least < lowest:
                standings[place] = "front"
            elif points[place].low <= lowest_end:
                standings[place] = "near"
        lowest = min(lowest, least)
    return standings
