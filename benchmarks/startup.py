"""How long the verbs that only tell take, each as a whole process, from the start of Python to its end.

    python benchmarks/startup.py --runs 20

Each command runs once to warm up the file system's cache and then ``--runs`` times. The table gives the shortest, the
median and the longest wall time in seconds, and the target that the median should meet.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

TARGETS = {"--help": 0.3, "--version": 0.3, "methods": 0.5, "methods --json": 0.5, "models": 0.5, "scores": 0.5}
"""Seconds that each command may take."""


def wall_times(words: list[str], runs: int) -> list[float]:
    """Wall time in seconds of each run of one command, after one run that is not counted."""
    return [_wall_time(words) for _ in range(1 + runs)][1:]


def _wall_time(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "natmu", *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Measure every command and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="runs of each command")
    runs = parser.parse_args().runs
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, n = {runs}, seconds\n")
    print(f"{'command':<22}{'min':>7}{'median':>8}{'max':>7}{'target':>8}")
    for command, target in TARGETS.items():
        times = wall_times(command.split(), runs)
        row = f"{min(times):>7.2f}{statistics.median(times):>8.2f}{max(times):>7.2f}{target:>8.1f}"
        print(f"{'natmu ' + command:<22}{row}")


if __name__ == "__main__":
    main()
