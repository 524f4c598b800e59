"""Pictures and tables of a year of deletion requests, from what requests_year.py wrote.

    python benchmarks/requests_year_figures.py year benchmarks/results

Writes ``requests-drift.png`` (accuracies by week, beside the original and the models retrained without everything
forgotten), ``requests-cost.png`` (seconds so far, beside retraining each week), and prints a table in Markdown. Needs
matplotlib.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from scipy.stats import t as student

from natmu.types import FloatArray

COLOURS = {"natmu": "#0072b2", "finetune": "#009e73", "salun": "#d55e00", "monthly": "#8a8a8a"}
PANELS = {
    "retain_acc": "retain",
    "test_acc": "test",
    "forget_acc": "forgotten this week",
    "earlier_forget_acc": "forgotten before",
}

Row = Mapping[str, str]


def main() -> None:
    """Draw both pictures and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("year", type=Path)
    parser.add_argument("out", type=Path)
    asked = parser.parse_args()
    weeks, earlier = (_rows(asked.year / name) for name in ("weeks.csv", "earlier.csv"))
    mpl.use("Agg")
    plt.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    draw_drift(weeks, asked.out / "requests-drift.png")
    draw_cost(weeks, asked.out / "requests-cost.png")
    print_table(weeks, earlier)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def of(weeks: Sequence[Row], policy: str) -> list[Row]:
    """The weeks of a policy."""
    return [row for row in weeks if row["policy"] == policy]


def retrained(row: Row, score: str) -> FloatArray:
    """A score of each retrained model of a week, ``(R,)``; empty where there was none."""
    return np.array((row.get(f"{score}_retrained") or "").split(), float)


def apart(value: float, others: FloatArray) -> bool:
    """Whether a value lies outside the prediction interval of one more retrained model.

    Its level is such that a retrained model is outside by chance for any of the scores in at most 5 % of the weeks; the
    policy ``monthly``, which deploys retrained models, is the control.
    """
    spread = float(others.std(ddof=1)) * np.sqrt(1 + 1 / len(others))
    return bool(abs(value - others.mean()) > student.ppf(1 - 0.05 / 2 / len(PANELS), len(others) - 1) * spread)


def gaps(row: Row) -> dict[str, float]:
    """By score, how far a measured candidate lies from the mean of retrained models, where that is beyond chance."""
    found = {}
    for score in PANELS:
        others = retrained(row, score)
        if row.get(score) and len(others) > 1 and apart(float(row[score]), others):
            found[score] = float(row[score]) - float(others.mean())
    return found


def draw_drift(weeks: Sequence[Row], path: Path) -> None:
    """A panel per score; a line per policy, dots where a candidate was refused, crosses for retrained models."""
    figure, grid = plt.subplots(2, 2, figsize=(8, 5.4), dpi=150, sharex=True)
    for axes, (score, title) in zip(grid.flat, PANELS.items(), strict=True):
        for policy, colour in COLOURS.items():
            rows = [row for row in of(weeks, policy) if row.get(score)]
            x, y = [int(row["week"]) for row in rows], [float(row[score]) for row in rows]
            axes.plot(x, y, color=colour, label=policy, linewidth=1.1)
            refused = [(a, b) for a, b, row in zip(x, y, rows, strict=True) if row["outcome"] == "reject"]
            axes.scatter(*(zip(*refused, strict=True) if refused else ((), ())), s=10, color=colour)
        measured = [row for row in weeks if len(retrained(row, score))]
        points = [(int(row["week"]), value) for row in measured for value in retrained(row, score)]
        if points:
            axes.plot(*zip(*points, strict=True), "k+", markersize=4, label="retrained, references")
        if measured:
            axes.axhline(float(measured[0][f"{score}_original"]), color="black", linestyle="--", linewidth=0.8)
        axes.set(title=title, ylabel="accuracy, %")
    grid[0, 0].legend(frameon=False)
    for axes in grid[-1]:
        axes.set_xlabel("week")
    figure.tight_layout()
    figure.savefig(path)


def draw_cost(weeks: Sequence[Row], path: Path) -> None:
    """Seconds of making models so far, refused ones included, beside retraining each week."""
    figure, axes = plt.subplots(figsize=(4.6, 3.4), dpi=150)
    for policy, colour in COLOURS.items():
        rows = of(weeks, policy)
        axes.plot([int(row["week"]) for row in rows], np.cumsum([float(row["seconds"]) for row in rows]), color=colour)
        axes.plot([], [], color=colour, label=policy)
    each = retraining(weeks)
    last = max(int(row["week"]) for row in weeks)
    axes.plot([0, last], [0, last * each], "k--", linewidth=0.8, label="retraining each week")
    axes.set(xlabel="week", ylabel="seconds so far")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def retraining(weeks: Sequence[Row]) -> float:
    """Median seconds of a retraining."""
    return float(np.median([float(row["retraining_seconds"]) for row in weeks if row["retraining_seconds"]]))


def print_table(weeks: Sequence[Row], earlier: Sequence[Row]) -> None:
    """A row per policy in Markdown."""
    print(
        "| policy | seconds | of retraining each week | refused | last retain / holdout / test | earlier measured "
        "| came back | weeks with references | apart from retrained | advised | advised and apart | neither |"
    )
    print("|---|---:|---:|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for policy in COLOURS:
        rows = of(weeks, policy)
        if rows:
            print(f"| {' | '.join([policy, *_cells(rows, [r for r in earlier if r['policy'] == policy], weeks)])} |")


def _cells(rows: Sequence[Row], earlier: Sequence[Row], weeks: Sequence[Row]) -> list[str]:
    """What the table says of a policy."""
    seconds = sum(float(row["seconds"]) for row in rows)
    refusals = [name for row in rows for name in row["refused"].split()]
    counts = ", ".join(f"{name} {refusals.count(name)}" for name in dict.fromkeys(refusals)) or "none"
    last = [row for row in rows if row.get("retain_acc")][-1]
    judged = [one for one in earlier if one["came_back"]]
    measured = [row for row in rows if len(retrained(row, "retain_acc")) > 1]
    advised = [row["advised"] == "True" for row in measured]
    differ = [bool(gaps(row)) for row in measured]
    both = sum(one and other for one, other in zip(advised, differ, strict=True))
    neither = sum(not one and not other for one, other in zip(advised, differ, strict=True))
    return [
        f"{seconds:.0f}",
        f"{100 * seconds / (len(rows) * retraining(weeks)):.0f} %",
        counts,
        " / ".join(f"{float(last[score]):.1f}" for score in ("retain_acc", "holdout_acc", "test_acc")),
        str(len(judged)),
        str(sum(one["came_back"] == "True" for one in judged)),
        str(len(measured)),
        str(sum(differ)),
        str(sum(advised)),
        str(both),
        str(neither),
    ]


if __name__ == "__main__":
    main()
