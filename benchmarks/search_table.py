"""What a search of settings found, as a table of a page.

    python benchmarks/search_table.py runs/cpu-cifar10-full-search > section.md

Prints each method's best trial with the terms of the objective and its passes over the training set, the median of its
trials, and how many of them lost no more retain accuracy than the noise. Methods of which no trial did that stand last.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from natmu.records.search import SearchFolder, Trial


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = SearchFolder(parser.parse_args().folder)
    by_place: defaultdict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in folder.trials:
        by_place[trial.forget, trial.method].append(trial)
    for text, original in folder.search.original.items():
        names = list(original.terms)
        print(f"### {text}\n")
        print(f"| method | passes | best | median | admissible | settings | {' | '.join(names)} |")
        print(f"|---|---:|---:|---:|---:|---|{'---:|' * len(names)}")
        terms = " | ".join(f"{original.terms[name]:.1f}" for name in names)
        print(f"| original | - | {original.value:.2f} | - | - | | {terms} |")
        rows = [row(method.label, by_place[text, method.label], names) for method in folder.search.methods]
        for _, line in sorted(rows):
            print(line)


def row(label: str, trials: list[Trial], names: list[str]) -> tuple[float, str]:
    """What a row is sorted by, and the row; a best trial that loses too much stands in brackets."""
    done = [(trial, trial.value) for trial in trials if trial.value is not None]
    if not done:
        return math.inf, f"| {label} | - | failed | - | 0 of {len(trials)} | |{' |' * len(names)}"
    best, value = min(done, key=lambda pair: rank(*pair))
    cells = [
        label,
        "-" if best.passes is None else f"{best.passes:.2f}",
        f"({value:.2f})" if best.lost else f"{value:.2f}",
    ]
    cells.append(f"{statistics.median(value for _, value in done):.2f}")
    cells.append(f"{sum(not trial.lost for trial, _ in done)} of {len(trials)}")
    cells.append(
        ", ".join(f"{name} {number(given)}" for name, given in best.settings.items() if name in varied(trials))
    )
    return rank(best, value), f"| {' | '.join([*cells, *(f'{best.terms[name]:.1f}' for name in names)])} |"


def rank(trial: Trial, value: float) -> float:
    """What the search minimised: the objective, or what comes after all others where too much is lost."""
    return 100 + trial.lost if trial.lost else value


def varied(trials: list[Trial]) -> set[str]:
    """The settings in which trials differ."""
    return {name for name in trials[0].settings if len({json.dumps(trial.settings[name]) for trial in trials}) > 1}


def number(given: Any) -> str:  # noqa: ANN401 - any setting's value
    """A setting in a cell."""
    if isinstance(given, dict):
        return "{" + ", ".join(f"{name}: {number(one)}" for name, one in given.items()) + "}"
    return f"{given:.4g}" if isinstance(given, float) else str(given)


if __name__ == "__main__":
    main()
