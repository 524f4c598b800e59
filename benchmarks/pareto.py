"""Gap against cost of the methods of studies, as a section of a page and a picture.

    python benchmarks/pareto.py runs/cifar10-full benchmarks/results/pareto.png > section.md

Names the folders of one or more studies, then the picture. Prints, for each forget set, a table in Markdown: gap with
its 95 % interval over seeds, passes over the training set, what fraction that is of retraining by the recipe and for 10
and 100 epochs, preparation and search apart, and which methods are on the Pareto front. The picture has a panel for
each forget set. Several studies become one where their methods were compared with the same retrained models; methods of
one name are then told apart by the name of the study. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from natmu.errors import NatmuError, UsageError
from natmu.records.settings import TrainSettings
from natmu.records.table import Row, Table
from natmu.report import read_study
from natmu.report.cost_figure import cost_table
from natmu.report.costs import YARDSTICKS, Costs
from natmu.report.label_places import Named, places
from natmu.safe_text import for_markdown
from natmu.types import ORIGINAL, REFERENCES, RETRAINED

WIDTH, HEIGHT = 7.2, 4.2
"""Of a panel, in inches."""

INK, GREY = "#1d2430", "#8a93a0"

SIDES = {"left": "right", "center": "center", "right": "left"}
EDGES = {"bottom": "top", "middle": "center", "top": "bottom"}


def main() -> int:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("picture", type=Path)
    asked = parser.parse_args()
    try:
        tables = [read_study(folder) for folder in asked.studies]
        found = {text: costs for text in _texts(tables) if (costs := costs_of(tables, text)).methods}
        if not found:
            raise UsageError("No method of these studies has both a gap and a cost; run them again.")
    except NatmuError as error:
        print(error, file=sys.stderr)
        return 2
    print(section(tables, found))
    draw(found, asked.picture)
    return 0


def _texts(tables: Sequence[Table]) -> list[str]:
    """The forget requests of all studies."""
    return list(dict.fromkeys(row.scenario for table in tables for row in table.rows))


def costs_of(tables: Sequence[Table], text: str) -> Costs:
    """The methods of all studies on one forget set.

    Raises:
        UsageError: They were not compared with the same retrained models.
    """
    rows: dict[str, Row] = {}
    for table in tables:
        for row in (row for row in table.rows if row.scenario == text):
            known = rows.get(row.method)
            if known is None:
                rows[row.method] = row
            elif row.method == RETRAINED:
                if {one.digest for one in row.replicates} != {one.digest for one in known.replicates}:
                    raise UsageError(
                        f"{table.name} has other retrained models on {text} than {tables[0].name}; draw them apart."
                    )
            elif row.method not in REFERENCES:
                label = f"{row.method} ({table.name})"
                rows[label] = row.model_copy(update={"method": label})
    training = tables[0].recipe.training
    return Costs(list(rows.values()), training.epochs if isinstance(training, TrainSettings) else None)


def section(tables: Sequence[Table], found: dict[str, Costs]) -> str:
    """What was measured on what, and a table for each forget set."""
    first = tables[0]
    versions = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    hardware = first.hardware
    parts = [
        f"{first.recipe.model} on {first.recipe.data.source}; {hardware.processor}, {hardware.threads} threads, "
        f"{hardware.precision}; {versions}."
    ]
    for text, costs in found.items():
        table = cost_table(costs)
        assert table is not None, "it has methods"
        seeds = sorted({row.n for row in costs.rows if row.method not in REFERENCES and row.n})
        front = ", ".join(one.label for one in costs.methods if one.standing == "front")
        headers, *rows = ([*map(for_markdown, line)] for line in (table.headers, *table.rows))
        lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
        parts.append(f"### {for_markdown(text)}")
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        parts.append(
            f"{' to '.join(map(str, seeds[:1] + seeds[1:][-1:]))} seeds. On the front: {front}. {table.caption}"
        )
    return "\n\n".join(parts)


def draw(found: dict[str, Costs], path: Path) -> None:
    """A panel for each forget set, one below the other."""
    mpl.use("Agg")
    plt.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    figure, grid = plt.subplots(len(found), 1, figsize=(WIDTH, HEIGHT * len(found)), dpi=150, squeeze=False)
    for axes, (text, costs) in zip(grid[:, 0], found.items(), strict=True):
        _panel(axes, text, costs)
    figure.tight_layout()
    figure.savefig(path)


def _panel(axes: Axes, text: str, costs: Costs) -> None:
    """The methods of one forget set, the front, and what they are measured against."""
    passes = [one.passes for one in costs.methods if one.passes > 0] or [1.0]
    low, high = min(passes) / 4, 1.5 * max(*passes, *map(costs.yardstick, YARDSTICKS))
    levels = [gap for gap in (costs.original, costs.baseline and costs.baseline[0]) if gap is not None]
    top = 1.12 * max(*(one.gap for one in costs.methods), *levels, 1e-9)
    axes.set(xscale="log", xlim=(low, high), ylim=(0, top), title=text)
    axes.set(xlabel="passes over the training set", ylabel="avg_gap, percentage points")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if costs.baseline is not None:
        gap, interval = costs.baseline
        axes.axhline(gap, color="#0072b2", linewidth=1, label="retraining baseline, 95 % interval")
        if interval is not None:
            axes.axhspan(max(0.0, interval[0]), interval[1], color="#0072b2", alpha=0.15, linewidth=0)
    if costs.original is not None:
        axes.axhline(costs.original, color="#c1272d", linestyle=":", linewidth=1, label=ORIGINAL)
    for epochs in YARDSTICKS:
        for fraction, width in ((0.01, 0.4), (0.1, 0.4), (1, 1.0)):
            axes.axvline(fraction * costs.yardstick(epochs), color=GREY, linestyle="--", linewidth=width)
        where = (costs.yardstick(epochs), top)
        axes.annotate(f"{epochs} epochs", where, (-2, -2), textcoords="offset points", ha="right", va="top", color=GREY)
    x = [max(one.passes, low * 1.5) for one in costs.methods]
    front = [(cost, one.gap) for cost, one in zip(x, costs.methods, strict=True) if one.standing == "front"]
    ends = [*front, (high, front[-1][1])]
    axes.plot(*zip(*ends, strict=True), color=INK, linewidth=1.2, drawstyle="steps-post", label="Pareto front")
    named = [
        Named(math.log(cost / low) / math.log(high / low), one.gap / top, one.label, one.standing == "front")
        for cost, one in zip(x, costs.methods, strict=True)
    ]
    pixels = 110.0  # an inch, of labels that take 12 of them in height
    shown = places(named, [(WIDTH - 0.8) * pixels], (HEIGHT - 0.8) * pixels)
    for cost, one, place in zip(x, costs.methods, shown, strict=True):
        on_front = one.standing == "front"
        colour, weight = (INK, "bold") if on_front else (GREY, "normal")
        half = 0.0 if one.interval is None else one.interval[1] - one.gap
        axes.errorbar(cost, one.gap, half, fmt="o", color=colour, markersize=4 if on_front else 3, elinewidth=0.7)
        if place is not None:
            edge, side = place.split()
            shift = {"left": -4, "center": 0, "right": 4}[side], {"bottom": -4, "middle": 0, "top": 4}[edge]
            style = {"textcoords": "offset points", "ha": SIDES[side], "va": EDGES[edge]}
            axes.annotate(one.label, (cost, one.gap), shift, color=colour, weight=weight, **style)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.94), framealpha=1, edgecolor="none")


if __name__ == "__main__":
    sys.exit(main())
