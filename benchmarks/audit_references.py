"""Time and memory of LiRA and RMIA from stored logits to scores, and how both grow.

    python benchmarks/audit_references.py                             # every case, under a minute on 2 cores
    python benchmarks/audit_references.py --cases 64-50000 --rounds 5

A case is a number of reference models and of samples, with 10 classes. Each has a process of its own, which stores
made-up float32 logits, a file per model, and then in each round does what an audit would do with them:

- ``signals``: load each model's logits, and take from them the margins and the log probabilities of the true class;
- ``online``, ``offline``: ``natmu.scores.lira`` on the margins, with a random half of the samples trained on by each;
- ``rmia``: ``natmu.scores.rmia`` on the log probabilities, against a population of 10,000 other samples.

Seconds, the median over rounds and the range; ``total`` is of the whole round. ``peak`` is by how many MiB the largest
memory of the process grows over what it was after the imports and the storing of the logits, ``inputs`` how many MiB
the margins and the log probabilities take. The target is 10 s for 64 references and 50,000 samples
on 2 cores. The last line is all of it as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy
from scipy.special import logsumexp

from natmu.scores.lira import lira_offline, lira_online
from natmu.scores.rmia import rmia

CASES = ("64-12500", "64-25000", "64-50000", "8-50000", "16-50000", "32-50000")
STAGES = ("signals", "online", "offline", "rmia", "total")
CLASSES, POPULATION = 10, 10_000
TARGET_CASE, TARGET_SECONDS = "64-50000", 10.0


def store(folder: Path, references: int, samples: int) -> None:
    """Write the labels, and the logits of the target (model 0) and of the references on samples and population."""
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=samples + POPULATION)
    np.save(folder / "labels.npy", labels)
    for model in range(1 + references):
        logits = rng.normal(0, 3, (len(labels), CLASSES)).astype(np.float32)
        logits[np.arange(len(labels)), labels] += 5
        np.save(folder / f"{model}.npy", logits)


def signals(folder: Path, references: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins and log probabilities of the true class of every model, each ``(1 + references, N + M)``."""
    labels = np.load(folder / "labels.npy")
    rows = np.arange(len(labels))
    margins, log_probabilities = np.empty((2, 1 + references, len(labels)))
    for model in range(1 + references):
        logits = np.load(folder / f"{model}.npy").astype(np.float64)
        true = logits[rows, labels]
        logits[rows, labels] = -np.inf
        margins[model] = true - logsumexp(logits, axis=1)
        log_probabilities[model] = -np.logaddexp(0, -margins[model])
    return margins, log_probabilities


def round_of(folder: Path, references: int, samples: int, member: np.ndarray) -> dict[str, float]:
    """Score the target once; seconds of each stage."""
    marks = [time.perf_counter()]
    margins, log_p = signals(folder, references)
    marks.append(time.perf_counter())
    lira_online(margins[0, :samples], margins[1:, :samples], member)
    marks.append(time.perf_counter())
    lira_offline(margins[0, :samples], margins[1:, :samples], member)
    marks.append(time.perf_counter())
    rmia(log_p[0, :samples], log_p[1:, :samples], log_p[0, samples:], log_p[1:, samples:])
    marks.append(time.perf_counter())
    seconds = [*np.diff(marks).tolist(), marks[-1] - marks[0]]
    return dict(zip(STAGES, seconds, strict=True))


def peak_memory_mb() -> float:
    """Largest memory of this process since it started, in MiB; ``getrusage`` counts what its parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure(case: str, rounds: int) -> dict[str, object]:
    """All rounds of one case, in this process."""
    references, samples = map(int, case.split("-"))
    member = np.random.default_rng(1).permuted(np.tile(np.arange(references) % 2 == 0, (samples, 1)), axis=1).T.copy()
    inputs = 2 * 8 * (1 + references) * (samples + POPULATION) / 2**20
    with tempfile.TemporaryDirectory() as name:
        store(Path(name), references, samples)
        before = peak_memory_mb()
        each = [round_of(Path(name), references, samples, member) for _ in range(rounds)]
    seconds = {stage: [one[stage] for one in each] for stage in STAGES}
    return {"case": case, "n": rounds, "seconds": seconds, "peak_mb": peak_memory_mb() - before, "inputs_mb": inputs}


def show(found: dict) -> None:
    """Print the lines of one case."""
    print(f"{found['case']}: peak {found['peak_mb']:.0f} MiB, inputs {found['inputs_mb']:.0f} MiB")
    for stage, times in found["seconds"].items():
        spread = f"{min(times):.3f} - {max(times):.3f}"
        print(f"  {stage:<8}{statistics.median(times):>8.3f}{spread:>18}{len(times):>4}", flush=True)


def main() -> None:
    """Measure every case in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, help="references-samples")
    parser.add_argument("--rounds", type=int, default=5, help="how often each case is scored")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.rounds)))
        return
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    machine |= {"numpy": np.__version__, "scipy": scipy.__version__}
    print(f"{json.dumps(machine)}\n\n  {'stage':<8}{'s':>8}{'range':>18}{'n':>4}")
    cases = []
    for case in asked.cases:
        command = [sys.executable, __file__, "--one", case, "--rounds", str(asked.rounds)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        cases.append(json.loads(ran.stdout))
        show(cases[-1])
    totals = [max(found["seconds"]["total"]) for found in cases if found["case"] == TARGET_CASE]
    met = max(totals) <= TARGET_SECONDS if totals else None
    print(json.dumps({**machine, "target_case": TARGET_CASE, "target_s": TARGET_SECONDS, "met": met, "cases": cases}))


if __name__ == "__main__":
    main()
