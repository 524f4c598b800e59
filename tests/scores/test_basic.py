from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from natmu.errors import SettingError, TrainingError
from natmu.scores import SCORE_NAMES, accuracy, holdout_as_test, mia_entropy, scores
from natmu.types import ForgetSet, Outputs, Part, Predictions


@pytest.fixture
def outputs(rng):
    def part(count):
        return Part(rng.normal(size=(count, 4)).astype(np.float32), rng.integers(0, 4, count))

    return Outputs(train=part(200), test=part(80), holdout=part(40))


def forget_samples(outputs) -> Predictions:
    return outputs.split(ForgetSet(np.arange(0, 200, 10), "random:10%", "random"))


def forget_class(outputs) -> Predictions:
    return outputs.split(ForgetSet(np.flatnonzero(outputs.train.labels == 2), "class:2", "class", (2,)))


def test_samples_forgotten_have_four_scores_in_the_order_of_tables_and_that_of_a_holdout(outputs):
    predicted = forget_samples(outputs)
    assert scores(predicted) == {
        "test_acc": accuracy(outputs.test),
        "retain_acc": accuracy(predicted.retain),
        "forget_acc": accuracy(predicted.forget),
        "holdout_acc": accuracy(outputs.holdout),
        "mia_entropy": mia_entropy(predicted),
    }
    bare = scores(replace(predicted, holdout=None))
    assert list(bare) == [name for name in SCORE_NAMES if name != "forget_test_acc"]


def test_a_class_forgotten_is_scored_apart_from_the_rest_of_the_test_set(outputs):
    result = scores(forget_class(outputs))
    labels = outputs.test.labels
    assert tuple(name for name in result if name != "holdout_acc") == SCORE_NAMES
    assert result["test_acc"] == accuracy(outputs.test.take(labels != 2))
    assert result["forget_test_acc"] == accuracy(outputs.test.take(labels == 2))


def test_what_was_forgotten_before_has_an_accuracy_of_its_own(outputs):
    first = forgetting(np.arange(0, 20, 2))
    predicted = outputs.split(forgetting(np.arange(1, 20, 2)).after(first))
    result = scores(predicted)
    assert tuple(result) == ("test_acc", "retain_acc", "forget_acc", "holdout_acc", "before_acc", "mia_entropy")
    assert result["before_acc"] == accuracy(outputs.train.take(np.arange(0, 20, 2)))
    assert result["retain_acc"] == accuracy(outputs.train.take(np.arange(20, len(outputs.train))))


def test_corrected_samples_are_judged_by_their_right_labels(outputs):
    right = (outputs.train.labels[[3, 7, 9]] + 1) % 4
    corrections = np.stack([[3, 7, 9], right], axis=1)
    predicted = outputs.split(replace(forgetting(np.array([3, 7, 9])), corrections=corrections))
    answered = [int(np.argmax(outputs.train.logits[row])) == label for row, label in corrections]
    result = scores(predicted)
    assert tuple(result) == ("test_acc", "retain_acc", "forget_acc", "holdout_acc", "corrected_acc", "mia_entropy")
    assert result["corrected_acc"] == pytest.approx(100 * sum(answered) / 3)
    assert result["forget_acc"] == accuracy(outputs.train.take(np.array([3, 7, 9])))
    later = outputs.split(
        forgetting(np.arange(20, 30)).after(replace(forgetting(np.array([3, 7, 9])), corrections=corrections))
    )
    assert "corrected_acc" not in scores(later)


def forgetting(indices):
    return ForgetSet(indices, "", "indices")


@pytest.mark.parametrize(
    ("empty", "left"),
    [
        ("test", ["retain_acc", "forget_acc", "holdout_acc"]),
        ("forget", ["test_acc", "retain_acc", "holdout_acc"]),
        ("forget_test", ["test_acc", "retain_acc", "forget_acc", "holdout_acc", "mia_entropy"]),
        ("holdout", ["test_acc", "retain_acc", "forget_acc", "mia_entropy"]),
    ],
)
def test_scores_of_empty_parts_are_left_out(outputs, empty, left):
    nothing = outputs.test.take(np.arange(0))
    assert list(scores(replace(forget_samples(outputs), **{empty: nothing}))) == left


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_model_that_diverged_has_no_scores(outputs, wrong):
    predicted = forget_samples(outputs)
    predicted.forget.logits[3, 1] = wrong
    with pytest.raises(TrainingError, match="lower the learning rate"):
        scores(predicted)


def test_a_probability_of_exactly_zero_is_scored(outputs):
    predicted = forget_samples(outputs)
    predicted.forget.logits[:, 1] = -np.inf
    assert scores(predicted)["forget_acc"] == accuracy(predicted.forget)


def test_a_search_sees_the_holdout_and_never_the_test_set(outputs):
    seen = holdout_as_test(forget_class(outputs))
    assert np.array_equal(seen.test.labels, outputs.holdout.labels[outputs.holdout.labels != 2])
    assert seen.forget_test is None
    assert seen.holdout is None
    assert list(scores(seen)) == ["test_acc", "retain_acc", "forget_acc", "mia_entropy"]


def test_a_search_without_a_holdout_is_refused(outputs):
    predicted = forget_samples(outputs)
    for holdout in (None, outputs.test.take(np.arange(0))):
        with pytest.raises(SettingError, match="no holdout"):
            holdout_as_test(replace(predicted, holdout=holdout))
