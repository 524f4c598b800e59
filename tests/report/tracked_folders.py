"""Run and study folders for trackers, made without computing anything."""

from __future__ import annotations

from tests.records import folders
from tests.report.folders import columns, rewrite, statistics_of

from natmu.records.run import RunFolder

CURVES = [
    {"epoch": 1.0, "loss": 1.25, "lr": 0.1},
    {"epoch": 2.0, "loss": 0.5},
    {"epoch": 3.0, "loss": 0.125, "lr": 0.01},
]

UNLEARNED = folders.an_unlearned("natmu", lr=0.001, init=None)
DIGEST = UNLEARNED.digest


def write_run(folder, lineage=UNLEARNED, *, curves=CURVES, audit=None, name=None, **more):
    """A run folder beside others; called by its digest unless it has a name."""
    fields = {"scores": {"test_acc": 91.5, "forget_acc": 12.25}, "seconds": 3.5} | more
    path = folders.make_run(folder / (name or lineage.digest), lineage, history=curves, **fields)
    if audit is not None:
        write_audit(path, audit)
    return path


def write_audit(path, scores):
    folders.add_audit(path, RunFolder(path).record, scores=scores)


def lineages():
    """An original and two unlearned models of other seeds."""
    return folders.an_original(), UNLEARNED, folders.an_unlearned("natmu", seed=2)


def write_study(runs, name="tiny"):
    """A study of one forget set: an original with one run, a method with two, one method that was refused."""
    original, first, second = lineages()
    write_run(runs, original)
    write_run(runs, first, audit={"rmia_auc": 0.5})
    write_run(runs, second)
    rows = (
        _row("original", [_replicate(original, 0, None)], test_acc=(95.0,)),
        _row("natmu", [_replicate(first, 0, 0), _replicate(second, 1, 2)], test_acc=(93.0, 94.0), kl_avg=(0.25, None)),
        _row("salun", [], failed="It cannot."),
    )
    comparisons, ranks = statistics_of(rows, columns(["kl_avg"]))
    table = folders.a_table(*rows, columns=columns(["kl_avg"]), name=name, comparisons=comparisons, ranks=ranks)
    rewrite(runs / name, table)
    return runs / name


def _replicate(lineage, training, unlearning):
    return (0, training, unlearning), lineage.digest, lineage.digest


def _row(method, replicates, **more):
    return folders.row("random:10%", method, replicates, columns=columns(["kl_avg"]), **more)
