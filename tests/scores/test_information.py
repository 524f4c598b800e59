"""What a linear probe finds in features, against the objective minimised by hand and against the joint distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.metrics import mutual_info_score

from natmu.errors import TrainingError, UsageError
from natmu.scores.information import (
    PENALTY,
    information_difference,
    label_information,
    membership_information,
)


def blobs(rng, count, classes=3, width=5, apart=2.0):
    """Features of samples around one centre per class."""
    labels = np.arange(count) % classes
    centres = np.random.default_rng(5).normal(size=(classes, width))
    return apart * centres[labels] + rng.normal(size=(count, width)), labels


def slow_information(features, labels, held, held_labels):
    """The rule, sample by sample: the multinomial regression by a minimiser that knows only its objective."""
    middle = features.mean(0)
    unit = math.sqrt(np.mean([np.sum((row - middle) ** 2) for row in features]))
    seen, other = (features - middle) / unit, (held - middle) / unit
    classes = sorted(set(labels.tolist()))

    def log_shares(flat, row):
        weights = flat.reshape(len(classes), -1)
        logits = [float(one[:-1] @ row + one[-1]) for one in weights]
        return [logit - math.log(sum(map(math.exp, logits))) for logit in logits]

    def objective(flat):
        loss = -np.mean([log_shares(flat, row)[classes.index(label)] for row, label in zip(seen, labels, strict=True)])
        return loss + PENALTY / 2 * float((flat.reshape(len(classes), -1)[:, :-1] ** 2).sum())

    flat = minimize(objective, np.zeros(len(classes) * (seen.shape[1] + 1)), tol=1e-9).x
    found = np.mean([log_shares(flat, row)[classes.index(one)] for row, one in zip(other, held_labels, strict=True)])
    shares = [np.mean(held_labels == one) for one in sorted(set(held_labels.tolist()))]
    return max(0.0, found - sum(share * math.log(share) for share in shares))


def test_the_probe_minimises_the_stated_objective_and_is_measured_on_held_samples(rng):
    features, labels = blobs(rng, 24, width=2)
    held, held_labels = blobs(rng, 9, width=2)
    found = label_information(features, labels, held, held_labels)
    assert 0.1 < found < math.log(3)
    assert found == pytest.approx(slow_information(features, labels, held, held_labels), abs=2e-4)


def test_of_two_classes_a_probe_has_one_row_of_weights_and_its_penalty_counts_once(rng):
    """scikit-learn fits one logit to two classes: half the difference of the two rows of the general rule."""
    features, labels = blobs(rng, 20, classes=2, width=2)
    held, held_labels = blobs(rng, 8, classes=2, width=2)
    middle, seen = features.mean(0), features - features.mean(0)
    unit = math.sqrt((seen**2).sum(1).mean())

    def logit(flat, row):
        return float(flat[:-1] @ (row - middle) / unit + flat[-1])

    def objective(flat):
        signs = 2 * labels - 1
        losses = [math.log1p(math.exp(-sign * logit(flat, row))) for sign, row in zip(signs, features, strict=True)]
        return np.mean(losses) + PENALTY / 2 * float(flat[:-1] @ flat[:-1])

    flat = minimize(objective, np.zeros(3), tol=1e-9).x
    logs = [
        -math.log1p(math.exp(-(2 * one - 1) * logit(flat, row))) for row, one in zip(held, held_labels, strict=True)
    ]
    assert label_information(features, labels, held, held_labels) == pytest.approx(
        math.log(2) + np.mean(logs), abs=2e-4
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.floats(0, 4))
def test_it_is_at_most_the_mutual_information_of_features_and_labels(seed, classes, strength):
    """Of features with a few values, whose joint distribution with the labels can be counted."""
    rng = np.random.default_rng(seed)
    labels = np.arange(80) % classes
    noisy = np.where(rng.random(80) < strength / 4, labels, rng.integers(0, classes, 80))
    features = np.eye(classes)[noisy]
    found = label_information(features[:40], labels[:40], features[40:], labels[40:])
    assert 0 <= found <= mutual_info_score(labels[40:], noisy[40:]) + 1e-9


def test_what_says_nothing_gives_nothing_and_what_says_all_gives_nearly_all(rng):
    labels = np.arange(400) % 4
    assert label_information(rng.normal(size=(400, 9)), labels, rng.normal(size=(400, 9)), labels) < 0.01
    assert label_information(np.ones((400, 3)), labels, np.ones((400, 3)), labels) == pytest.approx(0, abs=1e-9)
    told = np.eye(4)[labels]
    assert 0.8 * math.log(4) < label_information(told, labels, told, labels) <= math.log(4)


@pytest.mark.parametrize("change", [lambda x: 1e4 * x, lambda x: x + 50.0, lambda x: np.c_[x, np.ones((len(x), 3))]])
def test_scale_place_and_constant_columns_change_nothing(rng, change):
    (features, labels), (held, held_labels) = blobs(rng, 90), blobs(rng, 60)
    plain = label_information(features, labels, held, held_labels)
    assert plain > 0.5
    assert label_information(change(features), labels, change(held), held_labels) == pytest.approx(plain, rel=1e-3)


def test_a_feature_that_is_rare_among_the_samples_of_the_fit_does_not_decide(rng):
    """A unit that answered to one sample of the fit alone, a little, and to some of the others much."""
    (features, labels), (held, held_labels) = blobs(rng, 90), blobs(rng, 60)
    plain = label_information(features, labels, held, held_labels)
    rare, seldom = np.zeros((90, 1)), np.zeros((60, 1))
    rare[4], seldom[::7] = 1e-3, 1.0
    found = label_information(np.c_[features, rare], labels, np.c_[held, seldom], held_labels)
    assert found == pytest.approx(plain, rel=0.05)


def test_membership_is_asked_on_both_halves_in_turn(rng):
    forget, retain = rng.normal(0.8, 1, (13, 4)), rng.normal(0, 1, (10, 4))
    first = np.concatenate([forget[::2], retain[::2]]), np.array([1] * 7 + [0] * 5)
    second = np.concatenate([forget[1::2], retain[1::2]]), np.array([1] * 6 + [0] * 5)
    expected = (label_information(*first, *second) + label_information(*second, *first)) / 2
    assert 0 < membership_information(forget, retain) == pytest.approx(expected)
    assert membership_information(forget + 1e3, retain) > 0.9 * math.log(2)


def test_the_index_is_1_for_the_original_and_0_on_average_for_retrained_models():
    retrained, original = [3.0, 3.5, 4.0], 6.0
    index = [information_difference(one, retrained, original) for one in (*retrained, original, 3.0, 2.25)]
    assert np.mean(index[:3]) == pytest.approx(0)
    assert index[3] == 1
    assert index[5] == (2.25 - 3.5) / (6.0 - 3.5) < index[4] < 0, "less is known than by a model that never saw it"


def test_an_original_that_knows_less_than_retrained_models_has_1_as_well():
    assert information_difference(2.0, [3.0], 1.0) == 0.5
    assert information_difference(1.0, [3.0], 1.0) == 1


def test_what_cannot_be_probed_is_refused_in_a_sentence(rng):
    features, labels = blobs(rng, 12)
    with pytest.raises(UsageError, match="one label per row"):
        label_information(features, labels[1:], features, labels)
    with pytest.raises(UsageError, match="each held label"):
        label_information(features, labels, features, labels + 1)
    with pytest.raises(UsageError, match="of one width"):
        label_information(features, labels, features[:, 1:], labels)
    with pytest.raises(UsageError, match="at least 2 forget and 2 retain"):
        membership_information(features[:1], features)
    with pytest.raises(TrainingError, match="diverged"):
        label_information(np.where(features > 0, np.nan, 0), labels, features, labels)
    with pytest.raises(UsageError, match="needs a retrained model"):
        information_difference(1.0, [], 2.0)
    with pytest.raises(UsageError, match="something else than"):
        information_difference(1.0, [2.0], 2.0)


def test_one_class_alone_has_no_information(rng):
    features, _ = blobs(rng, 12)
    assert label_information(features, np.zeros(12, int), features, np.zeros(12, int)) == 0
