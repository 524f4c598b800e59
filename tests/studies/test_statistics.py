from __future__ import annotations

import statistics

import pytest

from natmu.records.table import Column, Comparison, Place, Ranks, Replicate, Row
from natmu.scores.statistics import statistics_of
from natmu.scores.uncertainty import paired_interval

COLUMNS = ["test_acc", "kl_forget", "avg_gap", "seconds"]


def row(method, failed=None, scenario="a", **columns):
    count = len(next(iter(columns.values()), []))
    unlearned = method not in ("original", "retrained")
    replicates = tuple(
        Replicate(split=one, training=one, unlearning=one if unlearned else None, run=method, digest="ab")
        for one in range(count)
    )
    scores = {
        name: Column(
            mean=statistics.fmean(one for one in columns[name] if one is not None),
            std=None,
            values=tuple(columns[name]) + (None,) * (count - len(columns[name])),
        )
        if name in columns
        else None
        for name in COLUMNS
    }
    return Row(scenario=scenario, method=method, n=count, failed=failed, replicates=replicates, scores=scores)


ROWS = [
    row("original", test_acc=[94.0, 94.2, 94.1], avg_gap=[0.0, 0.0, 0.0]),
    row("retrained", test_acc=[93.0, 93.4, 93.2], avg_gap=[0.1, 0.1, 0.1], seconds=[0.0, 0.0, 0.0]),
    row("x", test_acc=[96.0, 90.3, 96.1], avg_gap=[3.0, 3.1, 3.3], seconds=[1.0, 2.0, None]),
    row("y", test_acc=[92.0, 92.1, 92.3], avg_gap=[1.0, 2.1, 3.2], seconds=[3.0, 4.0, 5.0]),
    row("z", test_acc=[80.0, 85.0, 81.0], avg_gap=[9.0, 9.5, 9.1]),
    row("broken", "One seed diverged.", test_acc=[93.2], avg_gap=[0.0], seconds=[0.0]),
    row("unserved", "Not for this forget set."),
]


def records(score, rows=ROWS):
    found, _ = statistics_of(rows, COLUMNS)
    assert all(isinstance(one, Comparison) for one in found)
    return {(one.best, one.method): one for one in found if one.score == score}


def test_gaps_are_compared_in_every_pair_and_references_and_failures_do_not_compete():
    found = records("avg_gap")
    assert list(found) == [("y", "x"), ("y", "z"), ("x", "z")]
    first = found["y", "x"]
    assert first.difference == pytest.approx(2.1 - 9.4 / 3)
    assert first.interval == pytest.approx(paired_interval([1.0, 2.1, 3.2], [3.0, 3.1, 3.3]))
    assert (first.scenario, first.n, first.within_noise) == ("a", 3, True)
    assert found["x", "z"].within_noise is False


def test_other_columns_compare_distances_from_the_mean_of_retrained_with_the_best_alone():
    found = records("test_acc")
    assert list(found) == [("y", "x"), ("y", "z")]
    distances = [[abs(value - 93.2) for value in values] for values in ([92.0, 92.1, 92.3], [96.0, 90.3, 96.1])]
    assert found["y", "x"].difference == pytest.approx(statistics.fmean(distances[0]) - statistics.fmean(distances[1]))
    assert found["y", "x"].interval == pytest.approx(paired_interval(*distances))


def test_seconds_are_compared_over_the_replicates_that_both_have():
    (one,) = records("seconds").values()
    assert (one.best, one.method, one.n, one.difference) == ("x", "y", 2, -2.0)


def with_scores(of, **scores):
    return of.model_copy(update={"scores": of.scores | scores})


def test_a_column_of_which_retrained_has_nothing_is_not_compared():
    rows = [with_scores(one, kl_forget=one.scores["avg_gap"]) for one in ROWS]
    assert records("kl_forget", rows)
    rows[1] = with_scores(rows[1], kl_forget=None)
    assert not records("kl_forget", rows)
    assert not records("test_acc", rows[2:])
    assert records("avg_gap", rows[2:])


def test_ranks_are_of_gaps_scenario_by_scenario():
    again = [one.model_copy(update={"scenario": "b"}) for one in ROWS[:3]]
    _, (first, second) = statistics_of(ROWS + again, COLUMNS)
    assert isinstance(first, Ranks)
    assert (first.scenario, first.score, first.n, first.agreement) == (
        "a",
        "avg_gap",
        3,
        pytest.approx(1.0),
    )
    assert first.methods["y"] == Place(mean=1.0, best=1.0, worst=1.0, first=1.0)
    assert first.methods.keys() == {"x", "y", "z"}
    assert (second.scenario, second.methods.keys(), second.agreement) == ("b", {"x"}, None)


def test_one_seed_has_differences_alone():
    rows = [row("retrained", test_acc=[90.0]), row("x", test_acc=[91.0], avg_gap=[1.0]), row("y", avg_gap=[3.0])]
    (one,), (ranks,) = statistics_of(rows, COLUMNS)
    assert (one.difference, one.interval, one.n, one.within_noise) == (-2.0, None, 1, None)
    assert ranks.agreement is None


def test_the_result_comes_back_from_json_as_it_was():
    comparisons, ranks = statistics_of(ROWS, COLUMNS)
    assert comparisons
    assert ranks
    for one in (*comparisons, *ranks):
        assert type(one).model_validate_json(one.model_dump_json()) == one
    assert statistics_of([], COLUMNS) == ((), ())
