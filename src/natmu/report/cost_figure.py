"""Gap against cost, as a figure and as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from natmu.report.costs import YARDSTICKS, Costs, Measured
from natmu.report.digits import rounded
from natmu.report.figures import FAINT, INK, LONGEST, Figure, Model, axis_of, framed, scatter, short
from natmu.report.label_places import Level, Named, places
from natmu.report.views import Table
from natmu.safe_text import for_plotly
from natmu.types import RETRAINED

WIDTHS, HEIGHT, MARGINS = (205.0, 240.0, 420.0, 570.0, 780.0, 1000.0), 480, {"l": 56, "r": 28, "t": 44, "b": 48}
"""Pixels: of the plot without its margins, from a phone to a large screen; of the figure; beside the plot."""

MARK_CHARACTER = 5.3
"""Pixels of a character of what stands above the plot."""

ROOM = 1.5
"""Factor that the axis of costs goes beyond the cheapest and the dearest."""

MARKED = (0.01, 0.1, 1.0)
"""Fractions of the yardsticks that have a mark on the axis."""

STANDINGS = {"front": "yes", "near": "within noise", "behind": "no"}


def cost_figure(models: Sequence[Model], costs: Costs) -> Figure | None:
    """Gap against passes over the training set, with 95 % intervals of the gap, and what both are measured against.

    Args:
        models: Of the forget set; they give the points their keys.
        costs: What they came to.

    Returns:
        None where nothing has a gap and a cost.
    """
    if not costs.methods:
        return None
    keys = {model.label: model for model in models}
    low, high = _ends(costs)
    top = 1.1 * max(_upper_ends(costs))
    points = [(_place(one.passes, low), one.gap) for one in costs.methods]
    named = [
        Named(
            math.log(x / low) / math.log(high / low), y / top, for_plotly(one.label, LONGEST), one.standing == "front"
        )
        for one, (x, y) in zip(costs.methods, points, strict=True)
    ]
    levels = [Level(gap / top, words, gap < top / 2) for words, gap in _named_levels(costs).items()]
    shown = places(named, WIDTHS, HEIGHT - MARGINS["t"] - MARGINS["b"], levels)
    traces = [_steps(costs, low, high)]
    traces += [
        _point(keys[one.label], one, x, place, costs)
        for one, (x, _), place in zip(costs.methods, points, shown, strict=True)
    ]
    traces += _retrained(keys, costs)
    ticks = [digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5)]  # Plotly's own are bare digits
    spread = math.log10(high / low)
    ticks = [tick for tick in ticks if spread < 2 or round(math.log10(tick), 6).is_integer()]
    x = axis_of(
        "passes over the training set",
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[f"{tick:.9g}" for tick in ticks],
    )
    figure = framed(traces, x, axis_of("avg_gap, percentage points", range=[0, top]), HEIGHT)
    marks = list(_marks(costs, low, high))
    figure["layout"] |= {
        "margin": MARGINS,
        "shapes": [*_levels(costs), *(shape for shape, _ in marks)],
        "annotations": [*_words(costs, top), *(words for _, words in marks if words)],
    }
    return figure


def cost_table(costs: Costs) -> Table | None:
    """The numbers of the figure, with what else the methods took; None where there are none."""
    if not costs.methods:
        return None
    yardsticks = {f"% of {epochs} epochs": costs.yardstick(epochs) for epochs in YARDSTICKS}
    if costs.retraining is not None:
        own = f"% of retraining{f' ({costs.epochs} epochs)' if costs.epochs else ''}"
        yardsticks = {own: costs.retraining} | yardsticks
    rows = []
    for one in costs.methods:
        fractions = [_digits(100 * one.passes / whole) for whole in yardsticks.values()]
        apart = [_digits(one.preparation), _digits(one.search)]
        rows.append(
            (one.label, _gap(one.gap, one.interval), _digits(one.passes), *fractions, *apart, STANDINGS[one.standing])
        )
    if costs.baseline is not None and costs.retraining is not None:
        fractions = [_digits(100 * costs.retraining / whole) for whole in yardsticks.values()]
        rows.append((RETRAINED, _gap(*costs.baseline), _digits(costs.retraining), *fractions, "-", "-", "-"))
    caption = (
        "avg_gap with its 95 % interval over seeds, in percentage points; passes over the training set (a forward pass "
        "alone counts a third) and what fraction that is of retraining by the recipe, for 10 and for 100 epochs. "
        "Preparation, which may be done before a request comes, and the search of settings stand apart. On the front: "
        "no other method has a lower gap at no more passes; within noise: seeds, in pairs, do not show that one has."
    )
    headers = ("method", "avg_gap", "passes", *yardsticks, "preparation", "search", "on the front")
    return Table(caption, headers, tuple(rows))


def _ends(costs: Costs) -> tuple[float, float]:
    """Both ends of the axis of costs; what costs nothing stands at the lower one."""
    passes = [one.passes for one in costs.methods if one.passes > 0]
    known = [*passes, *([] if costs.retraining is None else [costs.retraining])] or [1.0]
    return min(known) / ROOM**2, ROOM * max(*known, *map(costs.yardstick, YARDSTICKS))


def _place(passes: float, low: float) -> float:
    return passes if passes > 0 else low * ROOM


def _upper_ends(costs: Costs) -> Iterator[float]:
    """The largest gaps that the figure shows."""
    yield 1e-9
    yield from (one.gap for one in costs.methods)
    yield from (one.interval[1] for one in costs.methods if one.interval and one.interval[1] < 2 * one.gap)
    yield from (gap for gap in (costs.original, costs.baseline and costs.baseline[0]) if gap is not None)


def _steps(costs: Costs, low: float, high: float) -> Figure:
    """The front as a line with steps: the lowest gap that some number of passes has reached."""
    front = [one for one in costs.methods if one.standing == "front"]
    x = [_place(one.passes, low) for one in front]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*map(short, x), short(high)],
        "y": [*(short(one.gap) for one in front), short(front[-1].gap)],
        "line": {"color": INK, "width": 1.5, "shape": "hv"},
        "hoverinfo": "skip",
    }


def _point(model: Model, one: Measured, x: float, place: str | None, costs: Costs) -> Figure:
    """A method, with its name where there is room."""
    on_front = one.standing == "front"
    colour, name = (
        (model.colour, f"<b>{for_plotly(one.label, LONGEST)}</b>")
        if on_front
        else (FAINT, for_plotly(one.label, LONGEST))
    )
    half = 0.0 if one.interval is None else one.interval[1] - one.gap
    of_retraining = (
        "" if costs.retraining is None else f", {_digits(100 * one.passes / costs.retraining)} % of retraining"
    )
    return scatter(model, [short(x)], [short(one.gap)]) | {
        "mode": "markers+text" if place else "markers",
        "cliponaxis": False,
        "text": [name],
        "textposition": place or "top center",
        "textfont": {"color": INK if on_front else FAINT, "size": 11},
        "marker": {"color": colour, "size": 10 if on_front else 7},
        "error_y": {"type": "data", "array": [short(half)], "visible": half > 0, "color": colour, "thickness": 1},
        "hovertemplate": f"{name}<br>{_digits(one.passes)} passes{of_retraining}<br>"
        f"gap {_gap(one.gap, one.interval)}<extra></extra>",
    }


def _retrained(keys: Mapping[str, Model], costs: Costs) -> list[Figure]:
    """Retraining, where its cost and its gap are known."""
    if costs.baseline is None or costs.retraining is None:
        return []
    model, (gap, interval) = keys[RETRAINED], costs.baseline
    return [
        scatter(model, [short(costs.retraining)], [short(gap)])
        | {
            "mode": "markers",
            "cliponaxis": False,
            "marker": {"color": model.colour, "size": 11, "symbol": "diamond"},
            "hovertemplate": f"{RETRAINED}<br>{_digits(costs.retraining)} passes<br>gap {_gap(gap, interval)}"
            "<extra></extra>",
        }
    ]


def _levels(costs: Costs) -> Iterator[Figure]:
    """The retraining baseline as a band and a line, the original as a line."""
    across = {"xref": "paper", "yref": "y", "x0": 0, "x1": 1, "layer": "below"}
    if costs.baseline is not None:
        gap, interval = costs.baseline
        if interval is not None:
            ends = {"y0": short(max(0.0, interval[0])), "y1": short(interval[1])}
            yield across | ends | {"type": "rect", "fillcolor": "var(--band)", "line": {"width": 0}}
        yield _level(across, gap, "var(--retrained)")
    if costs.original is not None:
        yield _level(across, costs.original, "var(--original)")


def _level(across: Figure, gap: float, colour: str) -> Figure:
    return across | {"type": "line", "y0": gap, "y1": gap, "line": {"color": colour, "width": 1.2, "dash": "dot"}}


def _words(costs: Costs, top: float) -> Iterator[Figure]:
    """What the levels are, at the right end of each."""
    for words, gap in _named_levels(costs).items():
        at = {"xref": "paper", "x": 1, "xanchor": "right", "yref": "y", "y": gap}
        yield at | {
            "yanchor": "bottom" if gap < top / 2 else "top",
            "text": words,
            "showarrow": False,
            "font": {"size": 10, "color": FAINT},
        }


def _named_levels(costs: Costs) -> dict[str, float]:
    """The gaps of the original and of retrained models, by what they are called."""
    levels = {"original": costs.original, "retraining baseline": None if costs.baseline is None else costs.baseline[0]}
    return {words: gap for words, gap in levels.items() if gap is not None}


def _marks(costs: Costs, low: float, high: float) -> Iterator[tuple[Figure, Figure | None]]:
    """Lines where retraining of the yardsticks' epochs would stand, and 1 % and 10 % of it, with names that have room.

    Whole epochs are named first.
    """
    names: dict[float, list[str]] = {}
    for epochs in YARDSTICKS:
        for fraction in MARKED:
            name = f"{epochs} epochs" if fraction == 1 else f"{fraction:.0%} of {epochs}".replace("%", " %")
            names.setdefault(float(f"{fraction * costs.yardstick(epochs):.6g}"), []).append(name)
    taken: list[tuple[float, float]] = []
    for x, words in sorted(names.items(), key=lambda mark: not _is_whole(mark[1])):
        if low < x < high:
            line = {"color": FAINT, "width": 1.2 if _is_whole(words) else 0.6, "dash": "dash"}
            half = MARK_CHARACTER * max(map(len, words)) / 2
            middle = WIDTHS[0] * math.log(x / low) / math.log(high / low)
            free = all(middle + half <= left or middle - half >= right for left, right in taken)
            if free:
                taken.append((middle - half, middle + half))
            where = {"yref": "paper", "xref": "x"}
            yield (
                where | {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line, "layer": "below"},
                where
                | {"x": math.log10(x), "y": 1, "yanchor": "bottom", "text": "<br>".join(sorted(words, key=len))}
                | {"showarrow": False, "font": {"size": 9, "color": FAINT}}
                if free
                else None,
            )


def _is_whole(names: Sequence[str]) -> bool:
    """Whether a line stands for whole epochs of a yardstick."""
    return any(name.endswith("epochs") for name in names)


def _digits(value: float | None) -> str:
    """Three significant digits."""
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _gap(gap: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return rounded(gap, None)[0]
    return f"{gap:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"
