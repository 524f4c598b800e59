from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy

from natmu.audit import entropy, mia_entropy
from natmu.errors import UsageError
from natmu.types import Part, Predictions


def answers(rng, count, confidence, classes=10):
    """Random answers whose true class stands out by about ``confidence``."""
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += rng.normal(confidence, confidence / 4, count)
    return Part(logits.astype(np.float32), labels)


def predictions(rng, retain, forget, test, counts=(900, 100, 300)):
    confidences = (retain, forget, test)
    return Predictions(*(answers(rng, *pair) for pair in zip(counts, confidences, strict=True)))


def slow_entropy(row):
    exponentials = [math.exp(value - max(row)) for value in row]
    shares = [value / math.fsum(exponentials) for value in exponentials]
    return -math.fsum(share * math.log(share) for share in shares if share > 0)


def slow_mia_entropy(predicted):
    """Minimise the textbook objective with a general optimiser."""
    member, stranger, forgotten = (
        scipy_entropy(softmax(part.logits.astype(np.float64), axis=1), axis=1)
        for part in (predicted.retain, predicted.test, predicted.forget)
    )
    count = len(member) + len(stranger)

    def objective(line):
        slope, offset = line
        of_member = np.logaddexp(0, -(slope * member + offset)).mean()
        of_stranger = np.logaddexp(0, slope * stranger + offset).mean()
        return count / 2 * (of_member + of_stranger) + slope**2 / 2

    slope, offset = minimize(objective, (0.0, 0.0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9}).x
    return 100 * np.mean(slope * forgotten + offset > 0)


def test_entropy_of_equal_logits_is_the_logarithm_of_the_number_of_classes():
    assert entropy(np.full((3, 8), 5.0)) == pytest.approx([math.log(8)] * 3)


def test_entropy_of_two_classes_has_a_closed_form():
    share = np.array([0.5, 0.1, 0.9, 1e-12])
    logits = np.stack([np.log(share), np.log1p(-share)], axis=1)
    assert entropy(logits) == pytest.approx(-share * np.log(share) - (1 - share) * np.log1p(-share), rel=1e-9)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 300.0])
def test_entropy_agrees_with_a_slow_loop_and_with_scipy(rng, scale):
    logits = rng.normal(size=(60, 11)) * scale
    assert entropy(logits) == pytest.approx([slow_entropy(row) for row in logits], rel=1e-9, abs=1e-14)
    assert entropy(logits) == pytest.approx(scipy_entropy(softmax(logits, axis=1), axis=1), rel=1e-9, abs=1e-14)


def test_entropy_ignores_a_constant_added_to_the_logits(rng):
    logits = rng.normal(size=(40, 5))
    assert entropy(logits + 1e4 * rng.normal(size=(40, 1))) == pytest.approx(entropy(logits), abs=1e-9)


def test_entropy_survives_extreme_logits():
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [0, -np.inf, -np.inf], [1e4, 1e4, -1e4]], np.float32)
    assert entropy(logits) == pytest.approx([0, math.log(3), 0, math.log(2)])


@pytest.mark.parametrize("forget", [2.0, 4.0, 6.0])
def test_mia_entropy_agrees_with_a_general_optimiser(rng, forget):
    predicted = predictions(rng, retain=6, forget=forget, test=3)
    assert mia_entropy(predicted) == pytest.approx(slow_mia_entropy(predicted), abs=1.0)


def test_mia_entropy_agrees_with_a_general_optimiser_on_tiny_entropies(rng):
    predicted = predictions(rng, retain=40, forget=20, test=14)
    assert mia_entropy(predicted) == pytest.approx(slow_mia_entropy(predicted), abs=1.0)


def test_a_model_that_memorised_is_caught_and_a_retrained_one_is_not(rng):
    memorised = mia_entropy(predictions(rng, retain=16, forget=16, test=3))
    retrained = mia_entropy(predictions(rng, retain=16, forget=3, test=3))
    assert memorised > 95
    assert retrained < 50


def test_mia_entropy_ignores_a_constant_added_to_the_logits(rng):
    predicted = predictions(rng, retain=6, forget=4, test=3)
    moved = Predictions(
        *(Part(part.logits + 8, part.labels) for part in (predicted.retain, predicted.forget, predicted.test))
    )
    assert mia_entropy(moved) == mia_entropy(predicted)


def test_mia_entropy_weighs_members_and_strangers_equally(rng):
    few, many = (predictions(rng, 8, 5, 3, counts=(count, 2000, 500)) for count in (500, 20_000))
    assert mia_entropy(few) == pytest.approx(mia_entropy(many), abs=5)


@pytest.mark.parametrize(("sure", "unsure"), [(1e4, 1e4), (1e4, 0.0), (0.0, 0.0)])
def test_mia_entropy_of_identical_or_separated_entropies_is_a_percentage(sure, unsure):
    def constant(count, height):
        return Part(np.tile(np.array([height, -height], np.float32), (count, 1)), np.zeros(count, np.int64))

    predicted = Predictions(constant(400, sure), constant(50, sure), constant(200, unsure))
    assert mia_entropy(predicted) == (100 if sure != unsure else pytest.approx(50, abs=50))


@pytest.mark.parametrize("empty", ["retain", "forget", "test"])
def test_mia_entropy_without_samples_is_refused(rng, empty):
    counts = tuple(0 if name == empty else 30 for name in ("retain", "forget", "test"))
    with pytest.raises(UsageError, match="mia_entropy needs"):
        mia_entropy(predictions(rng, 4, 4, 4, counts))
