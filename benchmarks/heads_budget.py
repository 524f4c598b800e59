"""How many samples the budget of a certified logistic head lets go before the head is fitted again.

    python benchmarks/heads_budget.py --seeds 3 --out budget.json

Features are made up: normal around a mean for each of 10 classes, about ``MEANS`` long. Settings are the defaults,
but for the noise of the second half. Each seed draws other data, another noise and other removals. What is spent
depends on which samples are gone and not on the order, so that removing them as one batch tells what removing them one
after another would; the largest number that the budget holds is found by halving. Accuracy is on 5,000 further samples,
beside that of the same regression without noise. Seconds are the processor's, on one core; of a removal the median of
five.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy

from natmu.heads import BudgetSpent, LogisticHead, RidgeHead, rows_of
from natmu.heads.one_against_rest import minimum
from natmu.heads.threads import one_thread
from natmu.records.settings import LogisticTraining
from natmu.types import FloatArray, IntArray

SAMPLES, COLUMNS, NOISES = (1_000, 10_000, 50_000), (64, 512), (1.0, 3.0)
CLASSES, TEST, TIMES = 10, 5_000, 5

HEADER = ("noise", "features", "samples", "removals", "accuracy", "no noise", "ridge", "fit, s", "removal, ms", "ridge")

MEANS = 4.0
"""Of unit noise in each feature, so that classes overlap a little, as those of good features do."""

EXACT = 1e-6
"""Norm of the gradient at which the regression without noise stops."""

Samples = tuple[FloatArray, IntArray]


def drawn(count: int, columns: int, seed: int) -> tuple[Samples, Samples]:
    """Rows and labels to fit, and others to predict."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, count + TEST)
    means = draw.standard_normal((CLASSES, columns)) * (MEANS / np.sqrt(columns))
    rows = rows_of(means[labels] + draw.standard_normal((count + TEST, columns)))
    return (rows[:count], labels[:count]), (rows[count:], labels[count:])


def most_removed(head: LogisticHead, samples: Samples) -> int:
    """The largest number of first samples that the budget lets go together."""
    rows, labels = samples
    holds, spent = 0, len(rows)
    while spent - holds > 1:
        middle = (holds + spent) // 2 if spent < len(rows) else min(2 * holds + 64, (holds + spent) // 2)
        try:
            head.remove(rows[:middle], labels[:middle])
        except BudgetSpent:
            spent = middle
        else:
            holds = middle
    return holds


def accuracy(weights: npt.NDArray[np.float64], samples: Samples) -> float:
    """In per cent."""
    rows, labels = samples
    return 100 * float(np.mean((rows @ weights.T).argmax(1) == labels))


def seconds_of_removal(head: LogisticHead | RidgeHead, samples: Samples) -> float:
    """Seconds until the head without one sample has its weights."""
    rows, labels = samples
    seconds = []
    for one in range(TIMES):
        start = time.process_time()
        _ = head.remove(rows[one : one + 1], labels[one : one + 1]).weights
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure(count: int, columns: int, noise: float, seed: int) -> dict[str, float]:
    """One head on made-up features."""
    samples, others = drawn(count, columns, seed)
    rows, labels = samples
    recipe = LogisticTraining(noise=noise)
    start = time.process_time()
    settings = recipe.model_dump(exclude={"head"})
    head = LogisticHead.fit(rows, labels, num_classes=CLASSES, seed=seed, **settings)
    fit_seconds = time.process_time() - start
    ridge = RidgeHead.fit(rows, labels, num_classes=CLASSES)
    plain = minimum(
        rows.astype(np.float64), labels, recipe.l2, np.zeros((CLASSES, columns + 1)), goal=EXACT * count
    ).weights
    return {
        "samples": count,
        "columns": columns,
        "noise": noise,
        "seed": seed,
        "removals": most_removed(head, samples),
        "accuracy": accuracy(head.weights, others),
        "without_noise": accuracy(plain, others),
        "ridge_accuracy": accuracy(ridge.weights, others),
        "fit_seconds": fit_seconds,
        "removal_seconds": seconds_of_removal(head, samples),
        "ridge_removal_seconds": seconds_of_removal(ridge, samples),
    }


def main() -> None:
    """Measure every size and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="draws of data and noise for each size")
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES, help="numbers of samples")
    parser.add_argument("--columns", type=int, nargs="+", default=COLUMNS, help="numbers of features")
    parser.add_argument("--noises", type=float, nargs="+", default=NOISES, help="noises")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    setting = {"machine": platform.machine(), "cores": os.cpu_count(), "versions": versions}
    print(", ".join(f"{key} {value}" for key, value in setting.items()) + "\n")
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|", flush=True)
    results = []
    for noise in given.noises:
        for columns in given.columns:
            for count in given.samples:
                with one_thread():
                    found = [measure(count, columns, noise, seed) for seed in range(given.seeds)]
                results += found
                print(row_of(found), flush=True)
    if given.out:
        given.out.write_text(json.dumps({**setting, "results": results}, indent=1) + "\n")


def row_of(found: list[dict[str, float]]) -> str:
    """A row of the table: the least and the most removals, and medians of all else."""
    removals = sorted(int(one["removals"]) for one in found)

    def middle(name: str) -> float:
        return statistics.median(one[name] for one in found)

    cells = [
        f"{middle('noise'):g}",
        f"{middle('columns'):.0f}",
        f"{middle('samples'):,.0f}",
        f"{removals[0]:,} to {removals[-1]:,}",
        *(f"{middle(name):.1f}" for name in ("accuracy", "without_noise", "ridge_accuracy", "fit_seconds")),
        *(f"{1000 * middle(name):.1f}" for name in ("removal_seconds", "ridge_removal_seconds")),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
