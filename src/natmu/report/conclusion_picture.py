"""The small picture beside a conclusion: gaps of the closest methods over the retraining baseline, and their costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from natmu.records.table import Column, Row
from natmu.report.conclusion import significant, written
from natmu.report.costs import interval_of
from natmu.report.html import for_html
from natmu.report.outcome import Outcome, gap_of
from natmu.report.units import FRACTION

WIDTH, LEFT, RIGHT = 350, 116, 286
"""Of the picture and of both ends of its axis, in its own units: about the pixels of a phone."""

TOP, LINE, BOTTOM = 36, 20, 38
"""Heights of the head, of a row, and of the axis."""

SHOWN = 6
"""Methods with a row of their own."""

LONGEST = 16
"""Characters of a name that fit before the axis."""

TICKS = 4
"""Parts of the axis at most."""

ROOM = 1.08
"""Factor that the axis goes beyond what it shows."""


def picture(outcome: Outcome) -> Markup | None:
    """The picture as inline SVG; its colours are those of the page.

    The axis ends where the last of the named methods, the original and the baseline are shown; intervals and other
    methods that reach further are cut there.

    Args:
        outcome: The facts of one forget set.

    Returns:
        None where no method has a gap.
    """
    shown, others = outcome.ranked[:SHOWN], outcome.ranked[SHOWN:]
    if not shown:
        return None
    known = [column for column in (outcome.baseline, outcome.original) if column is not None]
    most = ROOM * max([*map(gap_of, shown), *(column.mean for column in known), 1e-9])
    original = outcome.original
    rows = len(shown) + bool(others) + (original is not None)
    height = TOP + rows * LINE + BOTTOM
    parts = [_head(), _baseline(outcome.baseline, most, height - BOTTOM), _axis(most, height - BOTTOM)]
    parts += [_method(row, place, most, best=place == 0) for place, row in enumerate(shown)]
    if others:
        name = f"{len(others)} other{'' if len(others) == 1 else 's'}"
        dots = "".join(_dot("other", gap_of(row), len(shown), most) for row in others)
        parts.append(_name(name, len(shown)) + dots)
    if original is not None:
        parts.append(_name("original", rows - 1) + _dot("original", original.mean, rows - 1, most))
    words = for_html(_in_words(outcome, shown, len(others)))
    return Markup(
        f'<svg class="strip" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{words}">{"".join(parts)}</svg>'
    )


def _in_words(outcome: Outcome, shown: Sequence[Row], others: int) -> str:
    """What the picture shows."""
    gaps = "; ".join(f"{row.method} {significant(gap_of(row))}" for row in shown)
    text = f"avg_gap of the closest methods, in percentage points: {gaps}"
    text += f"; {others} more are farther away" if others else ""
    text += "" if outcome.baseline is None else f"; retraining baseline {written(outcome.baseline)}"
    return text + ("" if outcome.original is None else f"; original {significant(outcome.original.mean)}")


def _head() -> str:
    """What the columns are."""
    return (
        f'<text x="{LEFT}" y="12">avg_gap, percentage points</text>'
        f'<text x="{WIDTH}" y="12" text-anchor="end">cost</text>'
        f'<text x="{WIDTH}" y="26" text-anchor="end">of retraining</text>'
    )


def _baseline(baseline: Column | None, most: float, lower: int) -> str:
    """The retraining baseline as a band of its interval and a line."""
    if baseline is None:
        return ""
    low, high = interval_of(baseline) or (baseline.mean, baseline.mean)
    left, right = _x(max(0.0, low), most), _x(high, most)
    return (
        f'<rect class="band" x="{left:.1f}" y="{TOP - 4}" width="{right - left:.1f}" height="{lower - TOP + 4}"/>'
        f'<path class="retrained" d="M{_x(baseline.mean, most):.1f} {TOP - 4}V{lower}"/>'
        f'<path class="retrained" d="M{LEFT} {lower + 30}h18"/>'
        f'<text x="{LEFT + 24}" y="{lower + 34}">retraining baseline</text>'
    )


def _axis(most: float, lower: int) -> str:
    """The axis with round numbers."""
    step = _step(most)
    ticks = "".join(
        f'<text x="{_x(count * step, most):.1f}" y="{lower + 15}" text-anchor="middle">{count * step:g}</text>'
        for count in range(math.floor(most / step) + 1)
    )
    return f'<path class="grid" d="M{LEFT} {lower}H{RIGHT}"/>{ticks}'


def _step(most: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that divides the axis into four parts at most."""
    power = 10.0 ** math.floor(math.log10(most / TICKS))
    return next(factor * power for factor in (1, 2, 5, 10) if most / (factor * power) <= TICKS)


def _method(row: Row, place: int, most: float, *, best: bool) -> str:
    """A method with its interval and its cost."""
    gap, fraction = row.scores["avg_gap"], row.scores.get(FRACTION)
    assert gap is not None, "it competes"
    kind, y = "best" if best else "method", _y(place)
    interval = interval_of(gap)
    whisker = ""
    if interval is not None:
        ends = f"M{_x(max(0.0, interval[0]), most):.1f} {y}H{_x(interval[1], most):.1f}"
        whisker = f'<path class="{kind}" d="{ends}"/>'
    cost = "-" if fraction is None else f"{significant(100 * fraction.mean)} %"
    words = f'<text class="{kind}" x="{WIDTH}" y="{y + 4}" text-anchor="end">{cost}</text>'
    return _name(row.method, place, kind) + whisker + _dot(kind, gap.mean, place, most) + words


def _name(label: str, place: int, kind: str = "other") -> str:
    """A name before the axis; a long one is cut, and whole in its title."""
    short = label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"
    title = "" if short == label else f"<title>{for_html(label)}</title>"
    return f'<text class="{kind}" x="0" y="{_y(place) + 4}">{title}{for_html(short)}</text>'


def _dot(kind: str, gap: float, place: int, most: float) -> str:
    """A gap; one beyond the axis is a triangle at its end."""
    y = _y(place)
    if gap > most:
        return f'<path class="beyond" d="M{RIGHT} {y - 4}l7 4l-7 4z"/>'
    return f'<circle class="{kind}" r="{4 if kind == "best" else 3}" cx="{_x(gap, most):.1f}" cy="{y}"/>'


def _x(gap: float, most: float) -> float:
    """Where a gap stands."""
    return LEFT + min(1.0, gap / most) * (RIGHT - LEFT)


def _y(place: int) -> int:
    """The middle of a row."""
    return TOP + place * LINE + LINE // 2
