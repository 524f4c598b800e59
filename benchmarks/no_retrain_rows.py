"""What ``no-retrain`` says of the models of a study, beside how far they are from retrained models.

    python benchmarks/no_retrain_rows.py runs/cifar10-full

For each forget set a table in Markdown: ``avg_gap`` on the test set, which the study measured, and the objective on the
holdout, which sees no retrained model, means over seeds. The last column has the objective with the model's own
predictions on the holdout as its yardstick, as it was before the original's took their place. Below it stand Spearman's
correlations with ``avg_gap``, over methods and the original.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from scipy.stats import spearmanr

from natmu.engine.store import Run, Store
from natmu.records.table import Row, Table
from natmu.report import read_study
from natmu.scores.objectives import FORGOTTEN_TERMS, KEPT_TERMS, on_holdout, without_retrained
from natmu.types import ORIGINAL, RETRAINED, Predictions

Values = tuple[float, float, float]


def main() -> None:
    """Print a table for each forget set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    folder = parser.parse_args().study
    table = read_study(folder)
    for text in dict.fromkeys(row.scenario for row in table.rows):
        found = judged(table, text, Store(folder.parent))
        print(f"### {text}\n")
        print("| method | n | avg_gap | no-retrain | own yardstick |\n|---|---:|---:|---:|---:|")
        means = {name: [statistics.mean(one) for one in zip(*values, strict=True)] for name, values in found.items()}
        for name, (gap, *values) in sorted(means.items(), key=lambda item: item[1]):
            cells = " | ".join(f"{one:.2f}" for one in (gap, *values))
            print(f"| {name} | {len(found[name])} | {cells} |")
        gaps, *objectives = zip(*(one for name, one in means.items() if name != RETRAINED), strict=True)
        now, before = (spearmanr(gaps, one).statistic for one in objectives)
        print(f"\nSpearman with avg_gap, {len(gaps)} rows: {now:.2f}, with its own yardstick {before:.2f}\n")


def judged(table: Table, text: str, store: Store) -> dict[str, list[Values]]:
    """Of each row, for each seed: ``avg_gap``, the objective, and the objective with the model's own yardstick."""
    rows = {row.method: row for row in table.rows if row.scenario == text}
    originals, retrained = (models(rows[name], store) for name in (ORIGINAL, RETRAINED))
    found: defaultdict[str, list[Values]] = defaultdict(list)
    for name, row in rows.items():
        gaps = row.scores["avg_gap"]
        assert gaps is not None, "the study has a gap for each of its models"
        for (seeds, run), gap in zip(models(row, store).items(), gaps.values, strict=True):
            forget = retrained[seeds].forget()
            whole = forget.scenario == "class"
            model, before = (on_holdout(one.outputs(), forget) for one in (run, originals[seeds]))
            value = without_retrained(model, before, whole_classes=whole).value
            assert gap is not None
            found[name].append((gap, value, with_own_yardstick(model, before, whole=whole)))
    return found


def models(row: Row, store: Store) -> dict[tuple[int, int], Run]:
    """The runs of a row, by the seeds of the forget set and of the original."""
    runs = {(one.split, one.training): store.find(one.digest) for one in row.replicates}
    return {seeds: run for seeds, run in runs.items() if run is not None}


def with_own_yardstick(model: Predictions, original: Predictions, *, whole: bool) -> float:
    """The objective of a model whose own predictions on the holdout say how unseen samples look."""
    forgotten = without_retrained(model, replace(original, test=model.test), whole_classes=whole).terms
    kept = without_retrained(model, original, whole_classes=whole).terms
    halves = ([forgotten[name] for name in FORGOTTEN_TERMS], [kept[name] for name in KEPT_TERMS])
    return statistics.mean(statistics.mean(one) for one in halves)


if __name__ == "__main__":
    main()
