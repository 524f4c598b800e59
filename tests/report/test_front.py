"""Which methods no other one beats in cost and in gap at once, and where their names stand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from natmu.report.front import Point, pareto_front
from natmu.report.label_places import HEIGHT, Named, _box, _common, places


def slow(points, lower):
    """By comparing each with each."""
    standings = {}
    for label, (cost, gap) in points.items():
        beaten = clearly = False
        for other, (other_cost, other_gap) in points.items():
            if other_cost > cost:
                continue
            beaten |= other_gap < gap or (other_gap == gap and other_cost < cost)
            clearly |= (other, label) in lower
        standings[label] = "behind" if beaten and clearly else "near" if beaten else "front"
    return standings


@pytest.mark.parametrize("seed", range(40))
def test_the_front_is_what_comparing_each_with_each_finds(seed):
    draw = np.random.default_rng(seed)
    points = {str(name): tuple(pair) for name, pair in enumerate(draw.integers(0, 6, (12, 2)).tolist())}  # many tie
    pairs = itertools.permutations(points, 2)
    lower = {pair for pair in pairs if points[pair[0]][1] < points[pair[1]][1] and draw.random() < seed / 40}
    assert pareto_front({name: Point(*pair) for name, pair in points.items()}, lower) == slow(points, lower)


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
    named = {str(name): Point(*pair) for name, pair in enumerate(points)}
    lower = {pair for pair in itertools.permutations(named, 2) if named[pair[0]].gap < named[pair[1]].gap}
    assert [*pareto_front(named, lower).values()] == expected


def test_a_method_is_near_the_front_if_nothing_shows_that_another_is_better():
    points = {"best": Point(1, 1.0), "like it": Point(2, 1.3), "worse": Point(2, 1.6), "cheap": Point(0, 1.7)}
    assert [*pareto_front(points, {("best", "worse")}).values()] == ["front", "near", "behind", "front"]
    assert pareto_front(points, set())["worse"] == "near"


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
