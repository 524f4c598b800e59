"""What scoring stored predictions costs: seconds, growth with the number of samples, and peak memory.

    python benchmarks/audit.py                            # about two minutes; the last line is one line of JSON
    python benchmarks/audit.py --counts 60000 --classes 100 --runs 5

Each count is of all samples of one split: three quarters retain, a twelfth forget, a sixth test, as in a data set of
50,000 training and 10,000 test images of which a tenth of the training images is forgotten. The predictions are made
up: logits of a model that is nearly always right on its training data. Each run starts from predictions that no score
has read before. Memory is the process's largest resident memory so far, with what Python and its packages take.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import sys
import time

import numpy as np
import sklearn

from natmu.scores import LIMIT, mia_efficacy, quick_scores
from natmu.types import Part, Predictions

CONFIDENCES = {"retain": (14.0, 0.001), "forget": (10.0, 0.05), "test": (9.0, 0.07)}
"""Of each part: how far the true class stands out, and the share of samples for which it does not at all."""


def main() -> None:
    """Measure what is asked for, print a line each, and all of it as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[7_500, 15_000, 30_000, 60_000])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--references", type=int, default=1, help="retrained models to compare with")
    parser.add_argument("--runs", type=int, default=5, help="runs that count; one before them does not")
    asked = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}, {asked.classes} classes, {asked.references} references, "
        f"n = {asked.runs}, median (min … max)"
    )
    found = quick(sorted(asked.counts), asked.classes, asked.references, asked.runs)
    found["mia_efficacy"] = seeds(max(asked.counts), asked.classes, asked.runs)
    print(json.dumps(found))


def quick(counts: list[int], classes: int, references: int, runs: int) -> dict[str, object]:
    """Time and memory of ``quick_scores`` for each count, smallest first, and the growth of time per doubling."""
    before = _peak_mb()
    rows = []
    for count in counts:
        model, *others = (predictions(seed, count, classes) for seed in range(1 + references))
        initial = predictions(99, count, classes, standing_out=0.0).forget
        times = []
        for run in range(1 + runs):
            start = time.perf_counter()
            scored = quick_scores(model, others, initial, seed=run)
            times.append(time.perf_counter() - start)
        row = _spread(times[1:]) | {"samples": count, "peak_mb": round(_peak_mb()), "scores": len(scored.scores)}
        rows.append(row)
        print(
            f"{count:>7} samples  {row['median']:.3f} ({row['min']:.3f} … {row['max']:.3f}) s, "
            f"peak memory {row['peak_mb']} MiB, {before:.0f} before",
            flush=True,
        )
    growth = [round(late["median"] / early["median"], 2) for early, late in itertools.pairwise(rows)]
    print(f"growth from one count to the next: {growth}")
    return {"quick": rows, "growth": growth, "before_mb": round(before)}


def seeds(count: int, classes: int, runs: int) -> dict[str, object]:
    """Over seeds: seconds of all five features, and how much each score moves with the samples drawn.

    Beside it, the score of the machine that learns from all samples of two equal sides.
    """
    model = predictions(0, count, classes)
    found: dict[str, object] = {"limit": LIMIT}
    times = np.zeros(runs)
    for feature in ("correctness", "confidence", "entropy", "mentropy", "prob"):
        scores = []
        for seed in range(runs):
            start = time.perf_counter()
            scores.append(mia_efficacy(model, feature, seed))
            times[seed] += time.perf_counter() - start
        mean, spread = float(np.mean(scores)), float(np.std(scores, ddof=1))
        of_all = mia_efficacy(model, feature, limit=count)
        found[feature] = {"mean": round(mean, 2), "sd": round(spread, 2), "of_all": round(of_all, 2)}
        print(f"mia_efficacy_{feature:12} {mean:.2f} %, sd over seeds {spread:.2f}; {of_all:.2f} % from all samples")
    found["seconds"] = _spread(times.tolist())
    print(f"all five features: {found['seconds']} s")
    return found


def predictions(seed: int, count: int, classes: int, standing_out: float = 1.0) -> Predictions:
    """Made-up predictions; the labels are the same for every seed, because the data is."""
    rng = np.random.default_rng(seed)
    shares = {"retain": count * 3 // 4, "forget": count // 12, "test": count // 6}

    def part(name: str) -> Part:
        height, unsure = CONFIDENCES[name]
        labels = np.arange(shares[name]) % classes
        logits = rng.normal(0, 1.5, (len(labels), classes))
        rise = rng.normal(height, height / 3, len(labels)) * (rng.random(len(labels)) > unsure)
        logits[np.arange(len(labels)), labels] += standing_out * rise
        return Part(logits.astype(np.float32), labels)

    return Predictions(part("retain"), part("forget"), part("test"))


def _spread(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds), 3),
        "min": round(min(seconds), 3),
        "max": round(max(seconds), 3),
        "n": len(seconds),
    }


def _peak_mb() -> float:
    """Largest resident memory of the process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
