from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from tests.scores.made_up import any_part, moved, part, random_part

from natmu.errors import TrainingError, UsageError
from natmu.scores import BOUND, activation_distance, agreement, js, kl, zrf, zrf_code
from natmu.types import Part

DISTANCES = [kl, js, agreement, activation_distance, zrf, zrf_code]
LARGEST = {js: math.log(2), agreement: 100, activation_distance: math.sqrt(2), zrf: 1}


def pair(rng, scale=1.0, count=50, classes=6):
    labels = rng.integers(0, classes, count)
    return [part(rng.normal(size=(count, classes)) * scale, labels) for _ in range(2)]


def two_classes(share):
    """Predictions with this probability of the first of two classes."""
    return Part(np.array([[math.log(share), math.log1p(-share)]]), np.zeros(1, np.int64))


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_distances_agree_with_scipy(rng, scale):
    ours, theirs = pair(rng, scale)
    p, q = (softmax(one.logits.astype(np.float64), axis=1) for one in (ours, theirs))
    assert kl(ours, theirs) == pytest.approx(np.mean(scipy_entropy(q, p, axis=1)), rel=1e-9)
    assert js(ours, theirs) == pytest.approx(np.mean(jensenshannon(p, q, axis=1) ** 2), rel=1e-9)
    assert zrf(ours, theirs) == pytest.approx(1 - np.mean(jensenshannon(p, q, axis=1, base=2) ** 2), rel=1e-9)
    slow = [math.dist(one, other) for one, other in zip(p, q, strict=True)]
    assert activation_distance(ours, theirs) == pytest.approx(np.mean(slow), rel=1e-9)
    slow = [one.argmax() == other.argmax() for one, other in zip(p, q, strict=True)]
    assert agreement(ours, theirs) == pytest.approx(100 * np.mean(slow))


def test_two_classes_have_closed_forms():
    ours, theirs = two_classes(0.2), two_classes(0.9)
    assert kl(ours, theirs) == pytest.approx(0.9 * math.log(0.9 / 0.2) + 0.1 * math.log(0.1 / 0.8))
    assert kl(theirs, ours) == pytest.approx(0.2 * math.log(0.2 / 0.9) + 0.8 * math.log(0.8 / 0.1))
    assert activation_distance(ours, theirs) == pytest.approx(0.7 * math.sqrt(2))
    mixed = 0.55 * math.log(0.55) + 0.45 * math.log(0.45)
    alone = (0.2 * math.log(0.2) + 0.8 * math.log(0.8) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / 2
    assert js(ours, theirs) == pytest.approx(alone - mixed)


def test_models_without_a_class_in_common_are_as_far_apart_as_can_be():
    ours, theirs = part([[0, -np.inf], [1e4, -1e4]], [0, 0]), part([[-np.inf, 0], [-1e4, 1e4]], [0, 0])
    assert js(ours, theirs) == pytest.approx(math.log(2))
    assert zrf(ours, theirs) == pytest.approx(0)
    assert activation_distance(ours, theirs) == pytest.approx(math.sqrt(2))
    assert agreement(ours, theirs) == 0
    assert kl(ours, theirs) == pytest.approx((BOUND + 2e4) / 2)
    # Of both classes, m log(m / 0) + m log(m / 1) over 2 with m = 1/2.
    assert zrf_code(ours, theirs) == pytest.approx(1 - (BOUND + 2e4) / 8, rel=1e-4)


@pytest.mark.parametrize("scale", [0.1, 10.0, 1e4])
def test_equal_models_are_at_distance_nought(rng, scale):
    ours, _ = pair(rng, scale)
    again = Part(ours.logits.copy(), ours.labels.copy())
    assert (kl(ours, again), js(ours, again), activation_distance(ours, again)) == (0, 0, 0)
    assert (agreement(ours, again), zrf(ours, again), zrf_code(ours, again)) == (100, 1, 1)


def test_js_is_symmetric_and_kl_is_not(rng):
    ours, theirs = pair(rng, 3)
    assert js(ours, theirs) == pytest.approx(js(theirs, ours), rel=1e-12)
    assert kl(ours, theirs) != pytest.approx(kl(theirs, ours), rel=1e-3)


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_ignore_a_constant_added_to_the_logits(rng, distance):
    ours, theirs = pair(rng)
    offsets = 1e4 * rng.normal(size=(50, 1))
    assert distance(moved(ours, offsets), theirs) == pytest.approx(distance(ours, theirs), abs=1e-9)


@settings(deadline=None)
@given(any_part(), st.data())
def test_distances_of_whatever_logits_are_finite_and_in_their_ranges(ours, data):
    order = data.draw(st.permutations(range(ours.logits.shape[1])))
    theirs = Part(ours.logits[:, order], ours.labels)
    assert 0 <= kl(ours, theirs) <= 2 * BOUND
    assert 1 - BOUND / 2 <= zrf_code(ours, theirs) <= 1
    for distance, largest in LARGEST.items():
        assert 0 <= distance(ours, theirs) <= largest * (1 + 1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_answers_to_other_samples_are_refused(rng, distance):
    ours, theirs = pair(rng)
    shuffled = theirs.take(np.arange(50)[::-1])
    with pytest.raises(UsageError, match="same split"):
        distance(ours, shuffled)
    with pytest.raises(UsageError, match="same split"):
        distance(ours, theirs.take(np.arange(49)))
    with pytest.raises(UsageError, match="6 and 5 classes"):
        distance(ours, Part(theirs.logits[:, :5], theirs.labels))
    with pytest.raises(UsageError, match="at least one sample"):
        distance(ours.take(np.arange(0)), theirs.take(np.arange(0)))


@pytest.mark.parametrize("distance", [kl, js, activation_distance, zrf, zrf_code])
def test_a_model_that_diverged_has_no_distance(rng, distance):
    ours, theirs = random_part(rng, 9, 3), random_part(rng, 9, 3)
    theirs.logits[2] = np.nan
    with pytest.raises(TrainingError):
        distance(ours, Part(theirs.logits, ours.labels))
