from __future__ import annotations

import pytest

from .folders import row, table


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
    """Two scenarios whose methods are out of order, of unlike numbers of seeds, and partly failed or not run."""
    retrained = scored([93.3, 93.1], [99.94, 99.92], [94.1, 93.2], [83.9, 84.9], [0.3, 0.5], seconds=[230.0, 240.0])
    original = scored([93.5], [99.98], [100.0], [99.1], [5.9])
    return table(
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
                retrain_fraction=[0.010, 0.012, 0.011],
            ),
        ),
        row("random:10%", "amnesiac", 1, **scored([90.0], [98.0], [70.0], [55.0], [2.5], seconds=[1234.5])),
        row("random:10%", "salun|wide", 0, failed="A class ran out\nof partners; use a smaller n.", log="logs/s.log"),
        row("random:10%", "unsir", 0, failed="It needs whole classes."),
        row("random:10%", "retrained", 2, **retrained, retrain_fraction=[1.0, 1.0]),
        row("random:10%", "original", 1, **original),
        row("class:rocket", "retrained", 2, **retrained, forget_test_acc=[0.0, 0.0]),
        row("class:rocket", "natmu", 1, **scored([93.0], [99.0], [0.0], [1.5], [0.2]), forget_test_acc=[0.5]),
    )


@pytest.fixture
def repeated():
    """Three seeds: natmu and salun are within noise of each other in the gap, ssd and slow are far off."""
    reference = scored([93.0, 93.2], [99.9, 99.9], [94.1, 93.9], [84.0, 84.4], [0.3, 0.5], seconds=[200.0, 220.0])
    return table(
        row("random:10%", "original", 3, **scored([93.5] * 3, [99.9] * 3, [100.0] * 3, [99.1] * 3, [5.9, 5.8, 6.0])),
        row("random:10%", "retrained", 2, **reference),
        row(
            "random:10%",
            "natmu",
            3,
            **scored([93.1, 93.0, 93.2], [99.8, 99.7, 99.9], [94.0, 94.5, 93.8], [80.0, 81.0, 82.0], [0.7, 0.8, 1.2]),
            seconds=[2.0, 2.1, 2.2],
        ),
        row(
            "random:10%",
            "salun",
            3,
            **scored([92.1, 92.0, 92.3], [99.7, 99.9, 99.7], [93.0, 95.5, 93.9], [79.0, 84.0, 88.0], [0.9, 0.7, 1.5]),
            seconds=[3.0, 3.2, 3.1],
        ),
        row(
            "random:10%",
            "ssd",
            3,
            **scored(
                [60.0, 61.0, 62.0], [70.0, 71.0, 72.5], [60.0, 62.0, 61.0], [20.0, 21.0, 22.0], [30.0, 30.2, 31.0]
            ),
            seconds=[1.0, 1.1, 1.2],
        ),
    )
