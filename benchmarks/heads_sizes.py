"""How long heads on features take to be fitted, and to forget.

    python benchmarks/heads_sizes.py --runs 5 --out heads.json

100,000 samples of 10 classes with 512 features and a constant, unless other numbers are given: normal around a mean for
each class. Each step runs once to warm up and then ``--runs`` times, always from the head of all samples and until the
new weights are there. The table gives the shortest, the median and the longest wall time in seconds, the median of the
processor's time, which other work disturbs less, and the limit that the median should meet. The last column is the
largest relative difference between the weights and those of a fit on what is left.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy

from natmu.heads import LogisticHead, RidgeHead, rows_of
from natmu.types import FloatArray, IntArray

LIMITS = {"fit": 10.0, "remove 1": 0.02, "remove 1,000": 1.0}
"""Seconds that each step may take on 2 cores."""


class Head(Protocol):
    """What all heads can do."""

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Weights ``(C, P)``."""

    def remove(self, features: FloatArray, labels: IntArray) -> Head:
        """The head of the samples that are left."""


HEADS: dict[str, Callable[[FloatArray, IntArray, int], Head]] = {
    "ridge": lambda rows, labels, classes: RidgeHead.fit(rows, labels, num_classes=classes),
    "logistic": lambda rows, labels, classes: LogisticHead.fit(
        rows, labels, num_classes=classes, l2=10.0, epsilon=100.0, delta=1e-5, noise=1.0, seed=0
    ),
}
"""How each head is fitted."""

Times = list[tuple[float, float]]


def samples_of(count: int, columns: int, classes: int) -> tuple[FloatArray, IntArray]:
    """Rows ``(count, columns + 1)`` and labels."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % classes
    means = draw.standard_normal((classes, columns)).astype(np.float32) / 4
    return rows_of(draw.standard_normal((count, columns), np.float32) + means[labels]), labels


def times_of(step: Callable[[int], Head], runs: int) -> tuple[Times, Head]:
    """Wall time and processor time of each run after one that is not counted, and the last run's head."""
    times = []
    for run in range(1 + runs):
        start, before = time.perf_counter(), time.process_time()
        head = step(run)
        _ = head.weights
        times.append((time.perf_counter() - start, time.process_time() - before))
    return times[1:], head


def measure(name: str, rows: FloatArray, labels: IntArray, classes: int, runs: int) -> list[dict[str, object]]:
    """Time every step of one head."""
    fit = HEADS[name]
    times, whole = times_of(lambda _: fit(rows, labels, classes), runs)
    results = [result_of(name, "fit", times, None)]
    for step, size in (("remove 1", 1), ("remove 1,000", 1000)):

        def forget(run: int, size: int = size) -> Head:
            goes = slice(run * size, (run + 1) * size)
            return whole.remove(rows[goes], labels[goes])

        times, head = times_of(forget, runs)
        there = np.ones(len(rows), bool)
        there[runs * size : (runs + 1) * size] = False
        refit = fit(rows[there], labels[there], classes).weights
        difference = np.linalg.norm(head.weights - refit) / np.linalg.norm(refit)
        results.append(result_of(name, step, times, float(difference)))
    return results


def result_of(name: str, step: str, times: Times, difference: float | None) -> dict[str, object]:
    """A row of the table, which is printed at once."""
    wall, processor = zip(*times, strict=True)
    median = statistics.median(wall)
    row = f"{min(wall):>9.4f}{median:>9.4f}{max(wall):>9.4f}{statistics.median(processor):>9.4f}{LIMITS[step]:>8.2f}"
    print(f"{name:<10}{step:<14}{row}{'' if difference is None else f'{difference:>13.1e}'}", flush=True)
    return {
        "head": name,
        "step": step,
        "seconds": wall,
        "processor_seconds": processor,
        "limit": LIMITS[step],
        "difference": difference,
    }


def main() -> None:
    """Measure every head, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000, help="samples")
    parser.add_argument("--columns", type=int, default=512, help="features of a sample")
    parser.add_argument("--classes", type=int, default=10, help="classes")
    parser.add_argument("--runs", type=int, default=5, help="runs of each step")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS), help="which heads")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args()
    setting = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "samples": given.samples,
        "columns": given.columns + 1,
        "classes": given.classes,
        "runs": given.runs,
    }
    print(", ".join(f"{key} {value}" for key, value in setting.items()) + "\n")
    print(f"{'head':<10}{'step':<14}{'min':>9}{'median':>9}{'max':>9}{'CPU':>9}{'limit':>8}{'difference':>13}")
    rows, labels = samples_of(given.samples, given.columns, given.classes)
    results = [result for name in given.heads for result in measure(name, rows, labels, given.classes, given.runs)]
    if given.out:
        given.out.write_text(json.dumps({**setting, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
