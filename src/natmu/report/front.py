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


def pareto_front(points: Mapping[str, Point], alike: Collection[tuple[str, str]] = ()) -> dict[str, Standing]:
    """Where each point stands.

    A point is on the front if no other costs at most as much and has at most its gap, with one of the two less. Equal
    points are on it together. A point behind the front is near it if all that cost at most as much and have a lower gap
    are like it.

    Args:
        points: By label.
        alike: Pairs of labels of which nothing shows that the first has the lower gap.

    Returns:
        By label, in the order of the points.
    """
    standings: dict[str, Standing] = {}
    for label, point in points.items():
        ahead = {
            other: one
            for other, one in points.items()
            if one.cost <= point.cost and one.gap <= point.gap and (one.cost, one.gap) != (point.cost, point.gap)
        }
        lower = [other for other, one in ahead.items() if one.gap < point.gap and (other, label) not in alike]
        standings[label] = "behind" if lower else "near" if ahead else "front"
    return standings
