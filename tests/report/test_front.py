"""Which methods no other one beats in cost and in gap at once, and where their names stand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from natmu.report.front import Point, pareto_front
from natmu.report.label_places import HEIGHT, Named, _box, _common, places


def slow(points):
    """By comparing each with each."""
    standings = []
    for one in points:
        cheaper = [other for other in points if other.cost <= one.cost]
        beaten = any(other.gap <= one.gap and (other.cost < one.cost or other.gap < one.gap) for other in cheaper)
        clearly = any(other.high < one.low for other in cheaper)
        standings.append("behind" if beaten and clearly else "near" if beaten else "front")
    return standings


@pytest.mark.parametrize("seed", range(40))
def test_the_front_is_what_comparing_each_with_each_finds(seed):
    draw = np.random.default_rng(seed)
    points = []
    for cost, gap in draw.integers(0, 6, (12, 2)).tolist():  # so few values that many are tied
        half = float(draw.integers(0, 3)) / 2 if seed % 2 else 0.0
        points.append(Point(cost, gap, gap - half, gap + half))
    assert pareto_front(points) == slow(points)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([(1, 1)], ["front"]),
        ([(1, 2), (2, 1)], ["front", "front"]),
        ([(1, 1), (1, 1), (2, 1)], ["front", "front", "near"]),  # as good for more: nothing shows that it is worse
        ([(1, 1), (1, 2)], ["front", "behind"]),
        ([(0, 5), (0, 3), (1, 4)], ["behind", "front", "behind"]),
    ],
)
def test_ties_share_the_front(points, expected):
    assert pareto_front([Point(cost, gap, gap, gap) for cost, gap in points]) == expected


def test_a_method_whose_interval_reaches_that_of_a_better_one_is_near_the_front():
    points = [Point(1, 1.0, 0.8, 1.2), Point(2, 1.3, 1.1, 1.5), Point(2, 1.6, 1.3, 1.9)]
    assert pareto_front(points) == ["front", "near", "behind"]


def test_no_name_covers_another_at_any_width():
    draw = np.random.default_rng(0)
    points = [Named(*draw.uniform(0.1, 0.9, 2), f"method_{number}", number < 4) for number in range(40)]
    widths, height = (250.0, 1100.0), 380.0
    found = places(points, widths, height)
    assert all(found[:4])
    assert 4 < sum(place is not None for place in found) < 40
    for width in widths:
        boxes = [_box(one, width, height, place) for one, place in zip(points, found, strict=True) if place]
        assert not any(_common(*pair) for pair in itertools.combinations(boxes, 2))
        assert all(box[3] - box[1] == HEIGHT for box in boxes)


def test_a_name_that_is_needed_stands_where_it_covers_least():
    crowd = [Named(0.5, 0.5, "crowd" * 9, True)] * 4
    assert None not in places(crowd, (100.0,), 60.0)
    assert places([Named(0.5, 0.5, "crowd" * 9, False)], (100.0,), 60.0) == [None]
