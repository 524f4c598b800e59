"""What ``no-retrain`` says of the models of a study, beside how far they are from retrained models.

    python benchmarks/no_retrain_rows.py runs/cpu-cifar10-full

For each forget set a table in Markdown: ``avg_gap``, as the study measured it, and the objective on the holdout, which
sees no retrained model, means over seeds. The last column has the objective with the model's own predictions on the
holdout as its yardstick, as it was before the original's took their place. Below it stand Spearman's correlations with
``avg_gap``, over the means of methods and originals, and over single models. The study needs a holdout and retrained
models; models without a gap are left out.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from scipy.stats import spearmanr

from natmu.engine.store import Run, Store
from natmu.records.table import Replicate, Row
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
        found = judged([row for row in table.rows if row.scenario == text], Store(folder.parent))
        print(f"### {text}\n")
        print("| method | n | avg_gap | no-retrain | own yardstick |\n|---|---:|---:|---:|---:|")
        means = {name: tuple(map(statistics.mean, zip(*values, strict=True))) for name, values in found.items()}
        for name, values in sorted(means.items(), key=lambda item: item[1]):
            print(f"| {name} | {len(found[name])} | {' | '.join(f'{one:.2f}' for one in values)} |")
        others = [name for name in found if name != RETRAINED]
        print(f"\nSpearman with avg_gap: {agreement([means[name] for name in others])} rows")
        print(f"Spearman with avg_gap: {agreement([one for name in others for one in found[name]])} models\n")


def agreement(values: list[tuple[float, ...]]) -> str:
    """Spearman's correlation of both forms of the objective with the gap, and over how many."""
    gaps, *objectives = zip(*values, strict=True)
    now, before = (spearmanr(gaps, one).statistic for one in objectives)
    return f"{now:.2f}, with its own yardstick {before:.2f}, over {len(gaps)}"


def judged(rows: list[Row], store: Store) -> dict[str, list[Values]]:
    """Of each row, for each seed: ``avg_gap``, the objective, and the objective with the model's own yardstick."""
    of_study = next(row.replicates for row in rows if row.method == ORIGINAL)
    retrained = models(next(row.replicates for row in rows if row.method == RETRAINED), store)
    found: defaultdict[str, list[Values]] = defaultdict(list)
    for row in rows:
        originals = models(row.original.replicates if row.original else of_study, store)
        for one, gap in gaps_of(row):
            run = store.find(one.digest)
            if run is None or (one.split, one.training) not in originals:
                continue
            forget = retrained[one.split, one.training].forget()
            whole = forget.scenario == "class"
            model, before = (on_holdout(each.outputs(), forget) for each in (run, originals[one.split, one.training]))
            value = without_retrained(model, before, whole_classes=whole).value
            found[row.method].append((gap, value, with_own_yardstick(model, before, whole=whole)))
    return found


def models(replicates: tuple[Replicate, ...], store: Store) -> dict[tuple[int, int], Run]:
    """Runs that no unlearning seed made, by the seeds of the forget set and of the training."""
    runs = {(one.split, one.training): store.find(one.digest) for one in replicates}
    return {seeds: run for seeds, run in runs.items() if run is not None}


def gaps_of(row: Row) -> Iterator[tuple[Replicate, float]]:
    """The models of a row whose gap is known."""
    column = row.scores.get("avg_gap")
    for one, gap in zip(row.replicates, () if column is None else column.values, strict=column is not None):
        if gap is not None:
            yield one, gap


def with_own_yardstick(model: Predictions, original: Predictions, *, whole: bool) -> float:
    """The objective of a model whose own predictions on the holdout say how unseen samples look."""
    forgotten = without_retrained(model, replace(original, test=model.test), whole_classes=whole).terms
    kept = without_retrained(model, original, whole_classes=whole).terms
    halves = ([forgotten[name] for name in FORGOTTEN_TERMS], [kept[name] for name in KEPT_TERMS])
    return statistics.mean(statistics.mean(one) for one in halves)


if __name__ == "__main__":
    main()
