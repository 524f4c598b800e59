"""Plots as plain Plotly figures: dictionaries of traces and layout, without Plotly's Python objects.

Colours are names of CSS variables, which the page's script resolves, so that plots follow light, dark and print.
Plotly reads markup in texts, so every text from outside goes through ``for_plotly``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from natmu.records.table import Row
from natmu.report.distributions import Margins, Values, percentages
from natmu.safe_text import for_plotly
from natmu.types import ORIGINAL, REFERENCES, RETRAINED

Figure = dict[str, Any]

SERIES = 8
"""Colours before they repeat with another dash."""
DASHES = ("solid", "dash", "dot", "dashdot")
LONGEST = 40
EPOCHS = 200
"""Points at most of a learning curve."""
DIAGONAL = {
    "type": "scatter",
    "mode": "lines",
    "x": [1e-4, 1],
    "y": [1e-4, 1],
    "line": {"color": "var(--faint)", "width": 1.2, "dash": "dash"},
    "hoverinfo": "skip",
}
"""What tells nothing, on linear and on logarithmic axes."""
INK, FAINT, GRID = "var(--ink)", "var(--faint)", "var(--line)"


@dataclass(frozen=True)
class Model:
    """One model of a comparison.

    Attributes:
        key: Names it within the page.
        label: What readers call it.
        place: Its number in the order of tables.
    """

    key: str
    label: str
    place: int

    @property
    def colour(self) -> str:
        """CSS variable of its colour; original and retrained have their own."""
        fixed = {ORIGINAL: "var(--original)", RETRAINED: "var(--retrained)"}
        return fixed.get(self.label, f"var(--series-{self.place % SERIES})")

    @property
    def dash(self) -> str:
        """Dash of its lines."""
        return "solid" if self.label in REFERENCES else DASHES[self.place // SERIES % len(DASHES)]


def bars(models: Sequence[Model], rows: Mapping[str, Row], score: str, title: str) -> Figure:
    """One score of each model, with the mean of the retrained ones as a line and its spread as a band."""
    measured = {model.key: column for model in models if (column := rows[model.key].scores.get(score)) is not None}
    shown = [model for model in models if model.key in measured][::-1]
    places = list(range(len(shown)))
    means = [measured[model.key].mean for model in shown]
    trace = {
        "type": "bar",
        "orientation": "h",
        "x": means,
        "y": places,
        "text": [for_plotly(model.label, LONGEST) for model in shown],
        "textposition": "none",
        "marker": {"color": [model.colour for model in shown], "opacity": 0.8},
        "error_x": {
            "type": "data",
            "array": [measured[model.key].std or 0 for model in shown],
            "color": INK,
            "thickness": 1.2,
            "width": 3,
        },
        "hovertemplate": "%{text}<br>%{x:.4g}<extra></extra>",
    }
    ticks = {"tickvals": places, "ticktext": [for_plotly(model.label, LONGEST) for model in shown]}
    figure = framed([trace], axis_of(title), axis_of("", showgrid=False, **ticks), 90 + 24 * len(shown))
    figure["layout"]["bargap"] = 0.45
    reference = next((measured[model.key] for model in shown if model.label == RETRAINED), None)
    if reference is not None:
        figure["layout"]["shapes"] = _reference(reference.mean, reference.std or 0.0)
    return figure


def histogram(models: Sequence[Model], margins: Mapping[str, Margins], part: str, edges: Values) -> Figure:
    """Margins of one part of the data under each model, as the outline of its bins."""
    centres = [round(float(low + high) / 2, 3) for low, high in itertools.pairwise(edges)]
    traces = [
        scatter(model, centres, list(percentages(margins[model.key].parts[part], edges)))
        | {"mode": "lines", "line": {"color": model.colour, "dash": model.dash, "width": 1.8, "shape": "hvh"}}
        | {"hovertemplate": "%{fullData.name}: %{y:.1f} % at φ ≈ %{x:.1f}<extra></extra>"}
        for model in models
        if part in margins[model.key].parts
    ]
    return framed(traces, axis_of("margin φ, nats"), axis_of("percent of samples", rangemode="tozero"), 300)


def rocs(models: Sequence[Model], margins: Mapping[str, Margins], part: str) -> Figure:
    """How well margins tell one part of the data from unseen data under each model."""
    traces = []
    for model in models:
        curve = margins[model.key].against_unseen(part) if part in margins[model.key].parts else None
        if curve is not None:
            traces.append(
                scatter(model, list(curve.fpr), list(curve.tpr))
                | {"mode": "lines", "line": {"color": model.colour, "dash": model.dash, "width": 1.8}}
                | {"hovertemplate": "%{fullData.name}<br>%{y:.3f} of members at %{x:.3f} false alarms<extra></extra>"}
            )
    if not traces:
        return framed([], {}, {}, 0)
    return framed(
        [DIAGONAL, *traces],
        axis_of("false positive rate", range=[0, 1]),
        axis_of("true positive rate", range=[0, 1.01]),
        340,
    )


def learning(models: Sequence[Model], histories: Mapping[str, Mapping[str, list[float | None]]], column: str) -> Figure:
    """One column of the histories by epoch, of long ones some of the epochs."""
    traces = []
    for model in models:
        values = histories[model.key].get(column)
        if values:
            step = math.ceil(len(values) / EPOCHS)
            epochs = list(range(1, len(values) + 1))[::step]
            traces.append(
                scatter(model, epochs, [short(one) for one in values[::step]])
                | {"mode": "lines+markers", "marker": {"size": 4, "color": model.colour}}
                | {"line": {"color": model.colour, "dash": model.dash, "width": 1.8}}
                | {"hovertemplate": "%{fullData.name}<br>epoch %{x:g}: %{y:.4g}<extra></extra>"}
            )
    return framed(traces, axis_of("epoch"), axis_of(column), 300)


def scatter(model: Model, x: Sequence[float | None], y: Sequence[float | None]) -> Figure:
    """A scatter trace that the page's checkboxes know by its model."""
    return {"type": "scatter", "name": for_plotly(model.label, LONGEST), "meta": model.key, "x": list(x), "y": list(y)}


def framed(traces: Sequence[Figure], x: Figure, y: Figure, height: int) -> Figure:
    """A figure in the page's own look; its width is that of the page."""
    layout = {
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": INK, "family": "system-ui, sans-serif", "size": 12},
        "hoverlabel": {"bgcolor": "var(--surface)", "bordercolor": GRID, "font": {"color": INK}, "namelength": -1},
        "showlegend": False,
        "xaxis": x,
        "yaxis": y,
    }
    return {"data": list(traces), "layout": layout}


def axis_of(title: str, **more: Any) -> Figure:  # noqa: ANN401 - settings of Plotly
    """An axis with faint lines."""
    look = {"gridcolor": GRID, "linecolor": GRID, "zerolinecolor": GRID, "automargin": True, "fixedrange": True}
    return look | {"title": {"text": for_plotly(title, LONGEST), "standoff": 8}} | more


def short(value: float | None) -> float | None:
    """Few digits, so that the file stays small; None of what is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def _reference(mean: float, std: float) -> list[Figure]:
    """A line at the retrained models' mean and a band of their standard deviation."""
    band = {"type": "rect", "xref": "x", "yref": "paper", "x0": mean - std, "x1": mean + std, "y0": 0, "y1": 1}
    return [
        band | {"fillcolor": "var(--band)", "line": {"width": 0}, "layer": "below"},
        _line(mean, 0, mean, 1, "paper"),
    ]


def _line(x0: float, y0: float, x1: float, y1: float, yref: str = "y") -> Figure:
    """A dashed line."""
    return {
        "type": "line",
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "xref": "x",
        "yref": yref,
        "line": {"color": INK, "width": 1.2, "dash": "dot"},
    }
