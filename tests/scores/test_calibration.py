from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.special import softmax
from tests.scores.made_up import any_part, moved, part

from natmu.errors import UsageError
from natmu.scores import calibration_error


def slow_error(logits, labels, bins):
    edges = np.linspace(0, 1, bins + 1)
    shares = softmax(logits.astype(np.float64), axis=1)
    total = 0.0
    for low, high in pairwise(edges):
        inside = [
            (row.max(), row.argmax() == y) for row, y in zip(shares, labels, strict=True) if low < row.max() <= high
        ]
        if inside:
            sure, right = np.mean(inside, axis=0)
            total += len(inside) / len(labels) * abs(right - sure)
    return 100 * total


def constant(share, right, count=100):
    """Predictions that are sure of the first of two classes by this share, so many of them right."""
    logits = np.tile(np.log([share, 1 - share]), (count, 1))
    return part(logits, np.arange(count) >= right)


@pytest.mark.parametrize("bins", [1, 7, 15])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_error_agrees_with_a_slow_loop(rng, bins, scale):
    logits, labels = (rng.normal(size=(400, 5)) * scale).astype(np.float32), rng.integers(0, 5, 400)
    assert calibration_error(part(logits, labels), bins) == pytest.approx(slow_error(logits, labels, bins), abs=1e-9)


@pytest.mark.parametrize(("share", "right"), [(0.8, 80), (0.8, 50), (0.6, 90), (0.999, 0)])
def test_a_constant_confidence_is_off_by_its_distance_from_the_accuracy(share, right):
    assert calibration_error(constant(share, right)) == pytest.approx(abs(100 * share - right), abs=1e-4)


def test_faults_of_different_bins_do_not_cancel():
    over, under = constant(0.9, 80), constant(0.7, 80)
    both = part(np.concatenate([over.logits, under.logits]), np.concatenate([over.labels, under.labels]))
    assert calibration_error(both) == pytest.approx(10, abs=1e-4)
    assert calibration_error(both, bins=1) == pytest.approx(0, abs=1e-4)


def test_the_error_ignores_a_constant_added_to_the_logits(rng):
    random = part(rng.normal(size=(90, 4)), rng.integers(0, 4, 90))
    assert calibration_error(moved(random, 50 * rng.normal(size=(90, 1)))) == pytest.approx(calibration_error(random))


@settings(deadline=None)
@given(any_part())
def test_the_error_of_whatever_logits_is_a_percentage(random):
    assert 0 <= calibration_error(random) <= 100


def test_the_error_of_nothing_is_refused():
    with pytest.raises(UsageError, match="at least one sample"):
        calibration_error(part(np.empty((0, 3)), []))
