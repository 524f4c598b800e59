"""The one picture in evidence: accuracy on the samples of a request, release by release, beside retrained models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from natmu.report.html import for_html

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 190, 46, 12, 24, 38
"""Of the picture and its margins, in its own units."""

_TICKS = 10


@dataclass(frozen=True)
class Point:
    """A release.

    Attributes:
        release: Its number.
        accuracy: On the samples, in percent.
        retrained: The same of each retrained model, or their mean alone.
    """

    release: str
    accuracy: float
    retrained: tuple[float, ...]


def picture(points: Sequence[Point], original: float | None) -> Markup:
    """The picture as inline SVG; its colours are those of the page.

    Args:
        points: Releases in order.
        original: Accuracy of the original on the samples, in percent.
    """
    parts = [_grid(), _band(points)]
    if original is not None:
        line = _y(original)
        parts.append(f'<path class="original" d="M{LEFT} {line:.1f}H{WIDTH - RIGHT}"/>')
    for name, values in (
        (
            "retrained",
            [(row, sum(one.retrained) / len(one.retrained)) for row, one in enumerate(points) if one.retrained],
        ),
        ("deployed", [(row, one.accuracy) for row, one in enumerate(points)]),
    ):
        places = [f"{_x(row, len(points)):.1f} {_y(value):.1f}" for row, value in values]
        parts.append(f'<path class="{name}" d="M{"L".join(places)}"/>' if places else "")
        parts += [f'<circle class="{name}" r="3.2" cx="{x}" cy="{y}"/>' for x, y in (place.split() for place in places)]
    parts += _labels(points, original)
    words = "Accuracy on the samples of the request, in percent: " + "; ".join(
        f"release {one.release} {one.accuracy:.1f}" for one in points
    )
    words += "" if original is None else f"; original {original:.1f}"
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{for_html(words)}">{"".join(parts)}</svg>'
    )


def _x(row: int, count: int) -> float:
    """Where a release stands."""
    return LEFT + (row + 0.5) * (WIDTH - LEFT - RIGHT) / count


def _y(percent: float) -> float:
    """Where a percentage stands."""
    return TOP + (1 - percent / 100) * (HEIGHT - TOP - BOTTOM)


def _grid() -> str:
    """Lines at round percentages."""
    return "".join(
        f'<path class="grid" d="M{LEFT} {_y(value):.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{_y(value) + 4:.1f}" text-anchor="end">{value}{" %" if value == 100 else ""}</text>'
        for value in (0, 50, 100)
    )


def _band(points: Sequence[Point]) -> str:
    """The range of retrained models, where there are several."""
    width = (WIDTH - LEFT - RIGHT) / len(points) * 0.7
    return "".join(
        f'<rect class="band" x="{_x(row, len(points)) - width / 2:.1f}" width="{width:.1f}" '
        f'y="{_y(max(one.retrained)):.1f}" height="{_y(min(one.retrained)) - _y(max(one.retrained)):.1f}"/>'
        for row, one in enumerate(points)
        if len(one.retrained) > 1
    )


def _labels(points: Sequence[Point], original: float | None) -> list[str]:
    """Numbers of releases, some of many, and what the lines are."""
    step = -(-len(points) // _TICKS)
    base = HEIGHT - BOTTOM + 16
    texts = [
        f'<text x="{_x(row, len(points)):.1f}" y="{base}" text-anchor="middle">{for_html(points[row].release)}</text>'
        for row in range(0, len(points), step)
    ]
    texts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">release</text>')
    names = [("deployed", "deployed"), ("retrained", "retrained models")] + [("original", "original")] * (
        original is not None
    )
    for place, (name, text) in enumerate(names):
        x = LEFT + 155 * place
        texts.append(f'<path class="{name}" d="M{x} 10h24"/><text x="{x + 30}" y="14">{text}</text>')
    return texts
