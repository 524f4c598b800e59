from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from natmu.errors import UsageError
from natmu.scores import SAMPLE_WISE, accuracy, avg_gap, mean_scores, tow
from natmu.types import Part

PUBLISHED = {"test_acc": 93.34, "retain_acc": 99.94, "forget_acc": 94.08, "mia_entropy": 83.88}


def part(logits, labels):
    return Part(np.asarray(logits, np.float32), np.asarray(labels, np.int64))


@pytest.mark.parametrize(("labels", "expected"), [([1, 0, 2], 100.0), ([1, 0, 0], 200 / 3), ([0, 1, 1], 0.0)])
def test_accuracy_is_the_percentage_of_correct_answers(labels, expected):
    assert accuracy(part([[0, 2, 1], [3, 0, 0], [-1, -2, 0]], labels)) == pytest.approx(expected)


def test_accuracy_agrees_with_scikit_learn(rng):
    logits, labels = rng.normal(size=(300, 7)), rng.integers(0, 7, 300)
    assert accuracy(part(logits, labels)) == pytest.approx(100 * accuracy_score(labels, logits.argmax(1)))


def test_accuracy_ignores_a_constant_added_to_a_samples_logits(rng):
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    assert accuracy(part(logits + rng.normal(size=(50, 1)), labels)) == accuracy(part(logits, labels))


def test_accuracy_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one sample"):
        accuracy(part(np.empty((0, 3)), []))


def test_avg_gap_is_the_mean_distance_in_either_direction():
    shifted = dict(zip(SAMPLE_WISE, (92.34, 99.94, 97.08, 79.88), strict=True))
    assert avg_gap(shifted, PUBLISHED) == pytest.approx((1 + 0 + 3 + 4) / 4)
    assert avg_gap(PUBLISHED, shifted) == avg_gap(shifted, PUBLISHED)
    assert avg_gap(PUBLISHED, PUBLISHED) == 0


def test_avg_gap_reads_the_same_four_scores_when_a_class_is_forgotten():
    assert avg_gap({**PUBLISHED, "forget_test_acc": 80.0}, {**PUBLISHED, "forget_test_acc": 0.0}) == 0


def test_avg_gap_names_the_scores_it_lacks():
    with pytest.raises(UsageError, match="needs test_acc, mia_entropy of both"):
        avg_gap(PUBLISHED, {"retain_acc": 99.0, "forget_acc": 90.0})


def test_tow_is_the_product_of_what_each_accuracy_leaves():
    shifted = PUBLISHED | {"test_acc": 83.34, "retain_acc": 79.94, "forget_acc": 99.08, "mia_entropy": 0.0}
    assert tow(shifted, PUBLISHED) == pytest.approx(0.9 * 0.8 * 0.95)
    assert tow(PUBLISHED, shifted) == tow(shifted, PUBLISHED)
    assert tow(PUBLISHED, PUBLISHED) == 1


def test_tow_of_a_model_that_is_wrong_where_retraining_is_right_is_nought():
    assert (
        tow({"test_acc": 0, "retain_acc": 90, "forget_acc": 9}, {"test_acc": 100, "retain_acc": 90, "forget_acc": 9})
        == 0
    )


def test_tow_names_the_scores_it_lacks():
    with pytest.raises(UsageError, match="tow needs forget_acc, test_acc of both"):
        tow(PUBLISHED, {"retain_acc": 99.0})


def test_mean_scores_averages_each_score():
    assert mean_scores([{"test_acc": 90.0, "forget_acc": 0.0}, {"forget_acc": 10.0, "test_acc": 93.0}]) == {
        "test_acc": 91.5,
        "forget_acc": 5.0,
    }
    assert mean_scores([PUBLISHED]) == PUBLISHED


@pytest.mark.parametrize("references", [[], [PUBLISHED, {"test_acc": 1.0}], [{"test_acc": 1.0}, PUBLISHED]])
def test_mean_scores_refuses_none_and_unlike_models(references):
    with pytest.raises(UsageError):
        mean_scores(references)
