from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from natmu.errors import UsageError
from natmu.scores.accuracy_loss import TOLERANCE, Loss, loss_to_original, loss_to_retrained
from natmu.types import Part


def right(hits):
    """Predictions of two classes that are right where the hits say so."""
    hits = np.asarray(hits, bool)
    logits = np.zeros((len(hits), 2), np.float32)
    logits[np.arange(len(hits)), np.where(hits, 0, 1)] = 1
    return Part(logits, np.zeros(len(hits), np.int64))


def slow(before, after):
    """Wald's interval of a difference of matched proportions, with half a sample added to each of the four cells."""
    cells = {(was, still): 0.5 for was in (True, False) for still in (True, False)}
    for was, still in zip(before, after, strict=True):
        cells[bool(was), bool(still)] += 1
    total = math.fsum(cells.values())
    lost, won = cells[True, False] / total, cells[False, True] / total
    return 100 * (lost - won), 100 * math.sqrt((lost + won - (lost - won) ** 2) / total)


def test_the_loss_to_the_original_is_that_of_matched_proportions(rng):
    for count in (1, 7, 300):
        before, after = rng.random((2, count)) < (0.9, 0.7)[count % 2]
        found = loss_to_original(right(before), right(after))
        assert (found.points, found.error) == pytest.approx(slow(before, after))
        assert found.at_most() == pytest.approx(stats.norm(found.points, found.error).ppf(0.95))
        assert found.p_value() == pytest.approx(stats.norm(TOLERANCE, found.error).sf(found.points))
    with pytest.raises(UsageError, match="leave it out"):
        loss_to_original(right([]), right([]))


def test_few_samples_without_a_difference_exclude_no_loss_and_many_do():
    bounds = [loss_to_original(right([1] * count), right([1] * count)).at_most() for count in (5, 50, 500)]
    assert bounds[0] > bounds[1] > TOLERANCE > bounds[2] > 0
    assert all(above > below for above, below in pairwise(bounds))


def test_a_loss_of_just_the_tolerance_is_seldom_called_more_or_less(rng):
    trials, more, less = 600, 0, 0
    for _ in range(trials):
        before = rng.random(4000) < 0.9
        change = rng.random(4000)
        after = np.where(before, change > 0.05, change < 0.35)  # loses 4.5 points and wins 3.5
        found = loss_to_original(right(before), right(after))
        more += found.p_value() < 0.05
        less += found.at_most() < TOLERANCE
    assert max(more, less) <= stats.binom.ppf(0.999, trials, 0.05)
    assert min(more, less) >= stats.binom.ppf(0.001, trials, 0.05)


def test_the_loss_to_retrained_models_is_that_to_one_more_of_them():
    retrained = [92.0, 92.9, 92.3, 92.4]
    found = loss_to_retrained(90.0, retrained, None)
    error = np.std(retrained, ddof=1) * math.sqrt(1 + 1 / 4)
    assert found.points == pytest.approx(2.4)
    assert found.at_most() == pytest.approx(2.4 + stats.t(3).ppf(0.95) * error)
    assert found.p_value() == pytest.approx(stats.t(3).sf((2.4 - TOLERANCE) / error))
    assert loss_to_retrained(90.0, retrained[:1], None) is None


def test_where_retrained_models_agree_to_the_last_digit_samples_stand_in_or_the_loss_is_exact():
    stood_in = loss_to_retrained(98.0, [100.0] * 3, (97.0, 99.0))
    assert stood_in.at_most() == pytest.approx(2 + stats.norm.ppf(0.95) / stats.norm.ppf(0.975))
    assert loss_to_retrained(100.0, [100.0] * 3, (100.0, 100.0)) == Loss(0.0, 0.0, math.inf)
    assert Loss(0.0, 0.0, math.inf).p_value() == 1
    assert Loss(5.0, 0.0, math.inf).p_value() == 0
    assert Loss(5.0, 0.0, math.inf).at_most() == 5
