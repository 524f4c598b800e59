"""The demo's conclusions follow from the numbers, whatever these are."""

from __future__ import annotations

import pytest
from tests.records import folders

from natmu.records.table import StoryRow
from natmu.report.demo import conclusion, story_rows


def wrong_labels(gap=4.0, fraction=10.0, audit="no", memorised=100.0):
    """The rows of a story about wrong labels with one method."""
    finding = "Not forgotten: forget_acc 7.0 %"
    return [
        StoryRow(method="original", unwanted=memorised, corrected_acc=100 - memorised, avg_gap=40.0),
        StoryRow(method="retrained", unwanted=1.0, corrected_acc=97.0, avg_gap=0.5, retrain_fraction=100.0),
        StoryRow(
            method="salun",
            unwanted=7.0,
            corrected_acc=88.0,
            avg_gap=gap,
            retrain_fraction=fraction,
            audit=audit,
            finding=finding,
        ),
    ]


def a_class(recognised):
    """The rows of a story about a class without a method."""
    return [
        StoryRow(method="original", unwanted=recognised, avg_gap=40.0),
        StoryRow(method="retrained", unwanted=0.0, avg_gap=0.5),
    ]


def test_what_the_original_memorised_is_said_with_its_numbers():
    first, *_ = conclusion(wrong_labels())
    assert first.startswith(
        "The original has memorised the wrong labels: it predicts 100 % of them, and 0 % of the true"
    )
    assert "retrained without these images predict 97 % of the true" in first
    assert "has not memorised" in conclusion(wrong_labels(memorised=20.0))[0]
    assert conclusion(a_class(98.0))[0] == "The original recognises 98 % of the class, retrained models 0 %."
    assert "nothing to forget" in conclusion(a_class(0.0))[0]


def test_the_closest_method_is_named_with_what_it_reaches_and_costs():
    rows = [*wrong_labels(), wrong_labels()[2].model_copy(update={"method": "natmu", "avg_gap": 2.0})]
    sentence = conclusion(rows)[1]
    assert sentence.startswith(
        "natmu is closest to retraining: it predicts 88 % of the true labels and 7 % of the wrong"
    )
    assert "avg_gap is 2.0; that of the original is 40.0, that of retrained models among themselves 0.5" in sentence
    assert sentence.endswith("It takes 10 % of retraining's time.")
    assert not any("do not distinguish" in one for one in conclusion(rows))
    assert "The seeds do not distinguish its avg_gap from that of salun." in conclusion(rows, undecided=["salun"])


def test_a_method_that_is_no_closer_or_no_cheaper_is_not_praised():
    assert "No method is closer to retraining than the original" in conclusion(wrong_labels(gap=40.0))[1]
    assert conclusion(wrong_labels(fraction=130.0))[1].endswith("130 % of retraining's time. Retraining is cheaper.")
    assert conclusion(a_class(98.0))[1] == "No method can be compared with retraining."


@pytest.mark.parametrize("outcome", ["no", "too much", "unlike retraining"])
def test_a_caught_method_is_named_with_the_score_that_caught_it(outcome):
    found = conclusion(wrong_labels(audit=outcome))
    assert "The audit distinguishes salun from retrained models." in found
    assert "salun: Not forgotten: forget_acc 7.0 %." in found


@pytest.mark.parametrize("outcome", ["not distinguishable", "cannot be said"])
def test_where_the_audit_catches_nothing_it_says_so(outcome):
    found = conclusion(wrong_labels(audit=outcome))
    assert found[-1] == "The audit distinguishes none of salun from retrained models; a stronger audit may."
    assert conclusion(wrong_labels(audit=None))[-1] == "No method was audited."


def test_what_is_missing_is_said():
    assert conclusion(wrong_labels(), failed=["salun"])[0] == "Models are missing of salun; they do not compete."
    assert "No method can be compared" in conclusion(wrong_labels(), failed=["salun"])[2]
    assert conclusion(wrong_labels()[:1]) == ("Without the original and retrained models nothing can be concluded.",)


def test_rows_are_the_means_of_the_table():
    measured = folders.row("class:3", "natmu", [((0, 0, 0), "run0", "0" * 32), ((0, 1, 1), "run1", "1" * 32)])
    column = folders.column(10.0, 20.0)
    scores = measured.scores | {"forget_acc": column, "avg_gap": column, "retrain_fraction": folders.column(0.1, 0.2)}
    (shown,) = story_rows([measured.model_copy(update={"scores": scores})], [], "forget_acc", {"natmu": 90.0})
    assert (shown.unwanted, shown.avg_gap, shown.corrected_acc, shown.audit) == (15.0, 15.0, 90.0, None)
    assert shown.retrain_fraction == pytest.approx(15)
    assert story_rows([folders.row("class:3", "natmu", failed="It diverged.")], [], "forget_acc") == ()
