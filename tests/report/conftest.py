from __future__ import annotations

import statistics

import pytest

from natmu.report import COLUMNS


def column(*values):
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": spread, "values": list(values)}


def row(scenario, method, n, failed=None, **columns):
    filled = {name: column(*columns[name]) if name in columns else None for name in COLUMNS}
    return {"scenario": scenario, "method": method, "n": n, "failed": failed, **filled}


def scored(test, retain, forget, attack, gap, **more):
    return {
        "test_acc": test,
        "retain_acc": retain,
        "forget_acc": forget,
        "mia_entropy": attack,
        "avg_gap": gap,
        **more,
    }


@pytest.fixture
def study():
    """Two scenarios whose methods are out of order, of unlike numbers of seeds, and partly failed."""
    retrained = scored([93.3, 93.1], [99.94, 99.92], [94.1, 93.2], [83.9, 84.9], [0.3, 0.5], seconds=[230.0, 240.0])
    original = scored([93.5], [99.98], [100.0], [99.1], [5.9])
    return {
        "name": "example",
        "score_on": "test",
        "rows": [
            row(
                "random:10%",
                "natmu [retain_fraction=0.1]",
                3,
                **scored(
                    [93.1, 93.5, 92.7],
                    [99.5, 99.3, 99.1],
                    [91.0, 94.0, 97.0],
                    [40.0, 60.0, 80.0],
                    [0.7, 0.9, 1.3],
                    seconds=[2.3, 2.8, 2.1],
                    retrain_share=[0.010, 0.012, 0.011],
                ),
            ),
            row("random:10%", "amnesiac", 1, **scored([90.0], [98.0], [70.0], [55.0], [2.5], seconds=[1234.5])),
            row("random:10%", "salun|wide", 0, failed="A class ran out\nof partners; use a smaller n."),
            row("random:10%", "retrained", 2, **retrained, retrain_share=[1.0, 1.0]),
            row("random:10%", "original", 1, **original),
            row("class:rocket", "retrained", 2, **retrained, forget_test_acc=[0.0, 0.0]),
            row("class:rocket", "natmu", 1, **scored([93.0], [99.0], [0.0], [1.5], [0.2]), forget_test_acc=[0.5]),
        ],
    }
