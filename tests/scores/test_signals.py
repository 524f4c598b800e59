from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import log_softmax, logit, softmax
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import log_loss
from tests.scores.made_up import any_part, moved, part, random_part

from natmu.errors import TrainingError, UsageError
from natmu.scores import (
    BOUND,
    SIGNALS,
    Softmax,
    confidence,
    entropy,
    log_probabilities,
    loss,
    margin,
    modified_entropy,
    softmax_of,
)

EVERY = {**SIGNALS, "log_probabilities": log_probabilities}
EXTREME = part(
    [
        [1e4, -1e4, 0],
        [-1e4, -1e4, -1e4],
        [0, -np.inf, -np.inf],
        [-np.inf, 0, -np.inf],
        [1e4, 1e4, -1e4],
        [-1e4, 1e4, 0],
    ],
    [0, 1, 0, 0, 0, 0],
)


def without_rounding(logits, label, formula):
    """A formula of p and the label in 400 decimal digits."""
    with localcontext() as context:
        context.prec = 400
        weights = [Decimal(float(value)).exp() for value in logits]
        return float(formula([weight / sum(weights) for weight in weights], label))


EXACT = {
    "loss": lambda p, y: p[y].ln(),
    "confidence": lambda p, y: p[y],
    "entropy": lambda p, y: sum(one * one.ln() for one in p),
    "mentropy": lambda p, y: (1 - p[y]) * p[y].ln() + sum(q * (1 - q).ln() for i, q in enumerate(p) if i != y),
    "margin": lambda p, y: p[y].ln() - sum(q for i, q in enumerate(p) if i != y).ln(),
}


def test_entropy_of_equal_logits_is_the_logarithm_of_the_number_of_classes():
    assert entropy(part(np.full((3, 8), 5.0), [0, 1, 2])) == pytest.approx([math.log(8)] * 3)


def test_signals_of_two_classes_have_closed_forms():
    share = np.array([0.5, 0.1, 0.9, 1e-12])
    of_two = Softmax(np.stack([np.log(share), np.log1p(-share)], axis=1), np.zeros(4, np.int64))
    assert entropy(of_two) == pytest.approx(-share * np.log(share) - (1 - share) * np.log1p(-share), rel=1e-9)
    assert confidence(of_two) == pytest.approx(share, rel=1e-9)
    assert loss(of_two) == pytest.approx(-np.log(share), rel=1e-9)
    assert margin(of_two) == pytest.approx(logit(share), rel=1e-9)
    assert modified_entropy(of_two) == pytest.approx(-2 * (1 - share) * np.log(share), rel=1e-9)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 300.0])
def test_signals_agree_with_scipy_and_scikit_learn(rng, scale):
    random = part(rng.normal(size=(60, 11)) * scale, rng.integers(0, 11, 60))
    logits = random.logits.astype(np.float64)
    assert log_probabilities(random) == pytest.approx(log_softmax(logits, axis=1), rel=1e-9, abs=1e-12)
    assert entropy(random) == pytest.approx(scipy_entropy(softmax(logits, axis=1), axis=1), rel=1e-9, abs=1e-14)
    assert confidence(random) == pytest.approx(softmax(logits, axis=1)[np.arange(60), random.labels], rel=1e-9)
    if scale <= 1:
        shares = softmax(logits, axis=1)
        assert loss(random).mean() == pytest.approx(log_loss(random.labels, shares, labels=np.arange(11)))


@pytest.mark.parametrize("signal", EXACT)
@pytest.mark.parametrize("scale", [1.0, 20.0, 200.0])
def test_signals_keep_their_digits_where_probabilities_have_none_left(rng, signal, scale):
    """Entropy alone may lose the smallest of them: the score of the research code is defined by it."""
    random = part(rng.normal(size=(40, 5)) * scale, rng.integers(0, 5, 40))
    expected = [
        without_rounding(row, label, EXACT[signal]) for row, label in zip(random.logits, random.labels, strict=True)
    ]
    tiny = 1e-13 if signal == "entropy" else 1e-300
    assert SIGNALS[signal](random) == pytest.approx(expected, rel=1e-9, abs=tiny)


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_surer_right_answer_looks_more_like_a_member(signal):
    heights = np.array([0.5, 1, 2, 4, 8, 16])
    surer = part(np.stack([heights, 0 * heights, 0 * heights], axis=1), np.zeros(6))
    assert (np.diff(SIGNALS[signal](surer)) > 0).all()


@pytest.mark.parametrize("signal", ["loss", "confidence", "mentropy", "margin"])
def test_signals_that_know_the_label_tell_sure_and_wrong_from_sure_and_right(signal):
    right, wrong, unsure = SIGNALS[signal](part([[9, 0, 0], [9, 0, 0], [0, 0, 0]], [0, 1, 0]))
    assert wrong < unsure < right


@pytest.mark.parametrize("signal", EVERY)
def test_signals_ignore_a_constant_added_to_the_logits(rng, signal):
    random = random_part(rng, 40, confidence=3)
    offsets = 1e4 * rng.normal(size=(40, 1))
    assert EVERY[signal](moved(random, offsets)) == pytest.approx(EVERY[signal](random), abs=1e-9)


def test_signals_survive_extreme_logits():
    log3, log2 = math.log(3), math.log(2)
    assert entropy(EXTREME) == pytest.approx([0, log3, 0, 0, log2, 0])
    assert confidence(EXTREME) == pytest.approx([1, 1 / 3, 1, 0, 0.5, 0])
    assert margin(EXTREME) == pytest.approx([1e4, -log2, BOUND, -BOUND, 0, -2e4], rel=1e-4)
    assert loss(EXTREME) == pytest.approx([0, log3, 0, BOUND, log2, 2e4], rel=1e-4)
    expected = [0, 2 / 3 * log3 + 2 / 3 * math.log(1.5), 0, 2 * BOUND, log2, 3e4]
    assert modified_entropy(EXTREME) == pytest.approx(expected, rel=1e-4)


def test_no_logits_at_all_leave_the_margin_within_its_bound():
    assert margin(part([[3.0e38, -3.0e38], [-3.0e38, 3.0e38]], [0, 0])) == pytest.approx([BOUND, -BOUND])
    assert margin(part([[2.0]], [0])) == [BOUND]


@settings(deadline=None)
@given(any_part())
def test_signals_of_whatever_logits_are_finite(random):
    for name, signal in EVERY.items():
        values = signal(random)
        assert values.dtype == np.float64, name
        assert np.isfinite(values).all(), name
    assert (np.abs(margin(random)) <= BOUND).all()
    assert (loss(random) >= 0).all()
    assert ((confidence(random) >= 0) & (confidence(random) <= 1)).all()
    assert (modified_entropy(random) >= 0).all()


@pytest.mark.parametrize("signal", EVERY)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_answers_that_are_not_numbers_are_refused(rng, signal, wrong):
    random = random_part(rng, 5, 3)
    random.logits[3, 1] = wrong
    with pytest.raises(TrainingError, match="lower the learning rate"):
        EVERY[signal](random)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(UsageError, match="0 to 2"):
        margin(part([[1, 2, 3]], [label]))


def test_nothing_has_no_signals():
    for signal in EVERY.values():
        assert len(signal(part(np.empty((0, 4)), []))) == 0


def test_a_kept_softmax_is_computed_once_and_stands_for_its_part(rng):
    random = random_part(rng, 20, 3)
    kept = softmax_of(random)
    assert softmax_of(kept) is kept
    assert kept.shares is kept.shares
    assert kept.logits is random.logits
    for signal in EVERY.values():
        np.testing.assert_array_equal(signal(kept), signal(random))
