"""A study of thirty methods, whose gaps and costs are made up."""

from __future__ import annotations

import numpy as np
from tests.records import folders
from tests.records.folders import a_recipe

from natmu.methods.registry import ours
from natmu.records.study import StudyAudit, StudyAudits, write_study
from natmu.scores.statistics import statistics_of

COLUMNS = ("test_acc", "retain_acc", "forget_acc", "avg_gap", "seconds", "retrain_fraction", "passes")
SEEDS = ((0, 0, 0), (0, 1, 1), (0, 2, 2))


def many_rows(scenario="random:10%", epochs=20, count=30):
    """Original, retrained models and methods with three seeds each; gaps fall with costs, but for noise."""
    draw = np.random.default_rng(0)
    retraining = 0.9 * epochs

    def row(label, passes, gap, noise):
        seeds = [(split, training, None if passes in (None, retraining) else seed) for split, training, seed in SEEDS]
        replicates = [(seed, f"{label}{place}", f"{place:016x}") for place, seed in enumerate(seeds)]
        values = {"test_acc": tuple(draw.normal(88, 0.4, 3)), "avg_gap": tuple(abs(draw.normal(gap, noise, 3)))}
        values |= {"retain_acc": tuple(draw.normal(97, 0.4, 3)), "forget_acc": tuple(draw.normal(88, 0.4, 3))}
        if passes is not None:
            times = {"seconds": 40.0, "retrain_fraction": 1 / retraining, "passes": 1.0}
            values |= {name: tuple(passes * each for _ in SEEDS) for name, each in times.items()}
        return folders.row(scenario, label, replicates, columns=COLUMNS, **values)

    made = [row("original", None, 5.2, 0.1), row("retrained", retraining, 0.5, 0.1)]
    for name in [name for name in ours() if name != "retrain"][:count]:
        passes = float(np.exp(draw.uniform(np.log(0.03), np.log(12))))
        made.append(row(name, passes, 0.6 + 3.5 * passes**-0.25 * draw.uniform(0.3, 1.2), 0.15))
    return made


def many_methods(folder, requests=("random:10%",), epochs=20, count=30, audits=0):
    """A study folder with these rows for each forget request, and audits of the first methods."""
    training = folders.TRAINING.model_copy(update={"epochs": epochs}).model_dump()
    rows = [row for request in requests for row in many_rows(request, epochs=epochs, count=count)]
    labels = dict.fromkeys(row.method for row in rows if row.method not in ("original", "retrained"))
    recipe = a_recipe(requests, [{"label": label} for label in labels], training=training)
    comparisons, ranks = statistics_of(rows, COLUMNS)
    table = folders.a_table(*rows, columns=COLUMNS, recipe=recipe, comparisons=comparisons, ranks=ranks)
    held = [
        StudyAudit(scenario=requests[0], label=label, audit=folders.an_audit("0" * 16, note=label))
        for label in [*labels][:audits]
    ]
    return write_study(folder, table, StudyAudits(name=table.name, audits=tuple(held)) if held else None)
