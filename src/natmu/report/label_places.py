"""Places for the names of points in a plot, so that none covers another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT, CHARACTER = 13.0, 6.4
"""Pixels of a line of text, and of a character of it, generously."""

GAP = 7.0
"""Pixels between the middle of a point and its name."""

PLACES = (
    "middle left",
    "bottom left",
    "bottom center",
    "middle right",
    "bottom right",
    "top center",
    "top left",
    "top right",
)
"""As Plotly names them, the best first: nothing lies to the lower left of the front."""

Box = tuple[float, float, float, float]
"""Left, lower, right and upper end."""


@dataclass(frozen=True)
class Named:
    """A point that may be named.

    Attributes:
        x: From 0 at the left end of the plot to 1 at the right end.
        y: From 0 at the lower end to 1 at the upper end.
        text: Its name.
        needed: Whether it is named in any case.
    """

    x: float
    y: float
    text: str
    needed: bool


@dataclass(frozen=True)
class Level:
    """Words at the right end of the plot that names must not cover.

    Attributes:
        y: Of their lower or upper edge, from 0 at the lower end to 1 at the upper end.
        text: The words.
        above: Whether they stand above that height, and not below it.
    """

    y: float
    text: str
    above: bool


def places(
    points: Sequence[Named], widths: Sequence[float], height: float, levels: Sequence[Level] = ()
) -> list[str | None]:
    """Where each point's name stands; None where there is no room for it.

    Names that are needed come first, and take the place where they cover least if none is free.

    Args:
        points: All points of the plot.
        widths: Of the plot in pixels, all those that it may have: names must not cover each other at any.
        height: Of the plot in pixels.
        levels: Words that are in the plot already.

    Returns:
        One of ``PLACES`` for each point, or None.
    """
    markers = [[_box(point, width, height, None) for point in points] for width in widths]
    taken = [[_level(level, width, height) for level in levels] for width in widths]
    found: list[str | None] = [None] * len(points)
    for number in sorted(range(len(points)), key=lambda number: not points[number].needed):
        options = []
        for place in PLACES:
            boxes = [_box(points[number], width, height, place) for width in widths]
            covered = 0.0
            for box, width, own, names in zip(boxes, widths, markers, taken, strict=True):
                others = [marker for other, marker in enumerate(own) if other != number]
                covered += sum(_common(box, other) for other in itertools.chain(others, names))
                covered += _outside(box, width, height)
            options.append((covered, place, boxes))
            if covered == 0:
                break
        covered, place, boxes = min(options, key=lambda option: option[0])
        if covered == 0 or points[number].needed:
            found[number] = place
            for names, box in zip(taken, boxes, strict=True):
                names.append(box)
    return found


def _box(point: Named, width: float, height: float, place: str | None) -> Box:
    """What a point's name covers in pixels; the point itself where no place is given."""
    x, y = point.x * width, point.y * height
    if place is None:
        return x - 5, y - 5, x + 5, y + 5
    long = len(point.text) * CHARACTER
    upright, across = place.split()
    left = {"left": x - GAP - long, "center": x - long / 2, "right": x + GAP}[across]
    lower = {"bottom": y - GAP - HEIGHT, "middle": y - HEIGHT / 2, "top": y + GAP}[upright]
    return left, lower, left + long, lower + HEIGHT


def _level(level: Level, width: float, height: float) -> Box:
    """What the words at the right end cover in pixels."""
    lower = level.y * height - (0 if level.above else HEIGHT)
    return width - len(level.text) * CHARACTER, lower, width, lower + HEIGHT


def _common(first: Box, second: Box) -> float:
    """Area that two boxes share."""
    across = min(first[2], second[2]) - max(first[0], second[0])
    upright = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, across) * max(0.0, upright)


def _outside(box: Box, width: float, height: float) -> float:
    """Area of a box that lies outside the plot."""
    return (box[2] - box[0]) * (box[3] - box[1]) - _common(box, (0.0, 0.0, width, height))
