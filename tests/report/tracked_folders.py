"""Run and study folders as natmu writes them, made without computing anything."""

from __future__ import annotations

import json

from natmu.study.statistics import statistics_of
from natmu.study.table import columns as columns_with

CURVES = [
    {"epoch": 1.0, "loss": 1.25, "lr": 0.1},
    {"epoch": 2.0, "loss": 0.5},
    {"epoch": 3.0, "loss": 0.125, "lr": 0.01},
]


def write_run(folder, digest, *, curves=CURVES, audit=None, name=None, **spec):
    """A run folder beside others; called by its digest unless it has a name."""
    path = folder / (name or digest)
    path.mkdir(parents=True)
    header = list(dict.fromkeys(key for row in curves for key in row)) or ["epoch"]
    lines = [",".join(str(row.get(key, "")) for key in header) for row in curves]
    (path / "history.csv").write_text("\n".join([",".join(header), *lines]) + "\n")
    record = {
        "spec": {"kind": "unlearn", "method": "natmu", "settings": {"lr": 0.001, "init": None}, "seed": 0}
        | {"forget": {"spec": "random:10%", "count": 5}}
        | spec,
        "digest": digest,
        "scores": {"test_acc": 91.5, "forget_acc": 12.25},
        "seconds": 3.5,
        "peak_memory_mb": 100.0,
        "versions": {"torch": "2.13.0"},
        "hardware": {"device": "cpu"},
        "finished": "2026-01-02T03:04:05+00:00",
    }
    (path / "record.json").write_text(json.dumps(record))
    if audit is not None:
        write_audit(path, audit)
    return path


def write_audit(path, scores):
    (path / "audit").mkdir()
    found = {"scores": {name: {"value": value} for name, value in scores.items()}}
    (path / "audit" / "audit.json").write_text(json.dumps(found))


def write_study(runs, name="tiny"):
    """A study of one forget set: an original with one run, a method with two, one method that was refused."""
    write_run(runs, "a" * 16, kind="train")
    write_run(runs, "b" * 16, audit={"rmia_auc": 0.5})
    write_run(runs, "c" * 16)
    columns = columns_with(["kl_avg"])
    rows = [
        _row("original", [_replicate("a", 0, None)], columns, test_acc=[95.0]),
        _row(
            "natmu", [_replicate("b", 0, 0), _replicate("c", 1, 2)], columns, test_acc=[93.0, 94.0], kl_avg=[0.25, None]
        ),
        _row("salun", [], columns) | {"failed": "It cannot."},
    ]
    study = {"name": name, "score_on": "test", "columns": columns, "rows": rows, **statistics_of(rows, columns)}
    (runs / name).mkdir()
    (runs / name / "table.json").write_text(json.dumps(study))
    return runs / name


def _replicate(letter, training, unlearning):
    seeds = {"split": 0, "training": training, "unlearning": unlearning}
    return seeds | {"run": letter * 16, "digest": letter * 16}


def _row(method, replicates, columns, **values):
    row = {"scenario": "random:10%", "method": method, "n": len(replicates), "failed": None, "log": None}
    found = {
        name: {"mean": sum(known) / len(known), "std": None, "values": numbers}
        for name, numbers in values.items()
        if (known := [one for one in numbers if one is not None])
    }
    return row | {"replicates": replicates} | {name: found.get(name) for name in columns}
