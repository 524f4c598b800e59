"""How long the verbs that only tell take, each as a whole process, from the start of Python to its end.

    python benchmarks/startup.py --runs 20

Each command runs once to warm up the file system's cache and then ``--runs`` times. The table gives the shortest, the
median and the longest wall time in seconds, the median of the processor's time, which other work disturbs less, and the
target that the median should meet. The last rows are what stored catalogues save: the same rows made by importing all
methods or models, which loads PyTorch.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

TARGETS = {"--help": 0.3, "--version": 0.3, "methods": 0.5, "methods --json": 0.5, "models": 0.5, "scores": 0.5}
"""Seconds that each command may take."""

BUILT = {
    "rows of methods": "from natmu.methods import catalogue; catalogue()",
    "rows of models": "from natmu.models import models; models()",
}
"""What natmu methods and natmu models would run, beside what they do, if nothing were stored."""


def times_of(words: list[str], runs: int) -> list[tuple[float, float]]:
    """Wall time and processor time in seconds of each run of Python, after one run that is not counted."""
    return [_times(words) for _ in range(1 + runs)][1:]


def _times(words: list[str]) -> tuple[float, float]:
    start, before = time.perf_counter(), _processor_time()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start, _processor_time() - before


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure every command and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="runs of each command")
    runs = parser.parse_args().runs
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, n = {runs}, seconds\n")
    print(f"{'command':<22}{'min':>7}{'median':>8}{'max':>7}{'CPU':>7}{'target':>8}")
    for command, target in TARGETS.items():
        _print_row(f"natmu {command}", times_of(["-m", "natmu", *command.split()], runs), f"{target:>8.1f}")
    for what, code in BUILT.items():
        _print_row(what, times_of(["-c", code], runs), "")


def _print_row(what: str, times: list[tuple[float, float]], target: str) -> None:
    wall, processor = zip(*times, strict=True)
    row = f"{min(wall):>7.2f}{statistics.median(wall):>8.2f}{max(wall):>7.2f}{statistics.median(processor):>7.2f}"
    print(f"{what:<22}{row}{target}", flush=True)


if __name__ == "__main__":
    main()
