from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from natmu.errors import UsageError
from natmu.scores import quality
from natmu.scores.quality import epsilons, final_score, forgetting_quality, points

DELTA = 1e-5


def slow_rule(is_positive, positives, negatives, delta):
    """Epsilon of one rule, or nothing where it is skipped."""
    fnr = sum(not is_positive(value) for value in positives) / len(positives)
    fpr = sum(is_positive(value) for value in negatives) / len(negatives)
    if fnr == fpr == 0:
        return math.inf
    if 0 in (fnr, fpr):
        return 0.0
    gains = ((1 - delta - fpr, fnr), (1 - delta - fnr, fpr))
    return max((math.log(top / bottom) for top, bottom in gains if top > 0), default=0.0)


def bounded_intervals(narrower, values):
    """Thresholds with the challenge's widths, one pair for each set of margins that such a pair can hold.

    An upper threshold is best at a margin, at its own bound, or just where the lower one clears a margin; the lower one
    is best at a margin, or as high as the upper one lets it be.
    """
    top, width = max(narrower), np.ptp(narrower)
    uppers = [*values, top - 2, *(value + width - 2 + 2**-20 for value in values)]
    for upper in uppers:
        for lower in [*values, upper - width + 2]:
            if abs(upper - top) <= 2 and abs(upper - lower - width) <= 2:
                yield lower, upper


def slow_epsilon(unlearned, retrained, delta=DELTA):
    """Every rule of both families, one after another."""
    values = sorted({*unlearned, *retrained})
    found = [0.0]
    for first, second in ((unlearned, retrained), (retrained, unlearned)):
        if np.median(first) >= np.median(second):
            found += [slow_rule(lambda value, cut=cut: value >= cut, first, second, delta) for cut in values]
        if np.ptp(first) <= np.ptp(second):
            found += [
                slow_rule(lambda value, low=low, high=high: low <= value <= high, first, second, delta)
                for low, high in set(bounded_intervals(first, values))
            ]
    return min(max(found), 50.0)


@pytest.mark.parametrize("models", [(8, 8), (12, 9), (8, 17), (20, 20)])
@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_epsilon_is_that_of_the_best_of_all_rules(rng, models, shift):
    unlearned = rng.normal(shift, rng.uniform(0.2, 3, 12), (models[0], 12))
    retrained = rng.normal(0, 1, (models[1], 12))
    slow = [slow_epsilon(*pair) for pair in zip(unlearned.T, retrained.T, strict=True)]
    assert epsilons(unlearned, retrained) == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_no_rule_cuts_between_equal_margins(rng, levels):
    unlearned, retrained = rng.integers(0, levels, (9, 30)), rng.integers(0, levels, (11, 30))
    slow = [slow_epsilon(*pair) for pair in zip(unlearned.T.tolist(), retrained.T.tolist(), strict=True)]
    assert epsilons(unlearned, retrained) == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("delta", [0.0, 0.01, 0.5])
def test_epsilon_is_that_of_the_best_rule_for_any_delta(rng, delta):
    unlearned, retrained = rng.normal(0, 2, (10, 8)), rng.normal(0, 1, (10, 8))
    slow = [slow_epsilon(*pair, delta) for pair in zip(unlearned.T, retrained.T, strict=True)]
    assert epsilons(unlearned, retrained, delta) == pytest.approx(slow, abs=1e-9)


def test_one_error_of_each_kind_in_ten_has_a_closed_form():
    retrained = np.array([*range(9), 10.0])[:, None]
    unlearned = np.array([9.0, *range(11, 20)])[:, None]
    assert epsilons(unlearned, retrained) == pytest.approx([math.log((1 - DELTA - 0.1) / 0.1)])


def test_a_separable_pair_has_the_cap_however_it_is_separated(rng):
    narrow, wide = rng.uniform(-1, 1, (16, 5)), rng.uniform(2, 5, (16, 5)) * rng.choice([-1, 1], (16, 5))
    wide[:2] = np.array([[-3.0], [3.0]])
    for pair in ((narrow, narrow + 3), (narrow + 3, narrow), (narrow, wide), (wide, narrow)):
        assert np.array_equal(epsilons(*pair), np.full(5, 50.0))


def test_an_identical_pair_has_an_epsilon_of_zero(rng):
    margins = rng.normal(size=(30, 10))
    assert np.array_equal(epsilons(margins, rng.permuted(margins, axis=0)), np.zeros(10))
    assert np.array_equal(epsilons(np.zeros((8, 3)), np.zeros((9, 3))), np.zeros(3))


def test_without_errors_of_one_kind_alone_a_rule_is_skipped():
    # Each interval and each threshold is free of one kind of error at least, and none of both.
    retrained = np.array([0.0] * 10 + [1.0] * 10)[:, None]
    assert epsilons(np.zeros((10, 1)), retrained) == pytest.approx([0.0])


def test_which_models_are_called_unlearned_does_not_matter(rng):
    first, second = rng.integers(0, 12, (2, 12, 40)) / 3
    assert np.array_equal(epsilons(first, second), epsilons(second, first))


def test_a_constant_added_to_all_margins_changes_nothing(rng):
    unlearned, retrained = rng.integers(-40, 40, (2, 12, 30)) / 8
    assert np.array_equal(epsilons(unlearned + 1024, retrained + 1024), epsilons(unlearned, retrained))


def test_like_models_score_alike_however_many_they_are(rng):
    """The best of all intervals would have 0.13, 0.09 and 0.06."""
    for models in (16, 64, 256):
        unlearned, retrained = rng.normal(0, 1, (2, models, 300))
        # The points of a sample spread by 0.15 at most, hence their mean by 0.009.
        assert forgetting_quality(epsilons(unlearned, retrained)) == pytest.approx(0.175, abs=4 * 0.009)


def test_models_that_memorised_score_worse_than_retrained_ones(rng):
    retrained, again = rng.normal(0, 1, (2, 64, 100))
    original = rng.normal(5, 1, (64, 100))
    floor, memorised = epsilons(again, retrained), epsilons(original, retrained)
    assert memorised.mean() > 2 * floor.mean()
    assert forgetting_quality(floor) > 10 * forgetting_quality(memorised)


def test_samples_are_scored_alike_in_one_block_and_in_many(rng, monkeypatch):
    unlearned, retrained = rng.normal(size=(2, 10, 61))
    whole = epsilons(unlearned, retrained)
    monkeypatch.setattr(quality, "_BLOCK_VALUES", 7 * 20)
    assert np.array_equal(epsilons(unlearned, retrained), whole)


# Eighths have no rounding, which would decide where a threshold lies exactly on its bound.
sets = st.lists(st.integers(-3, 3) | st.integers(-80, 80).map(lambda eighths: eighths / 8), min_size=8, max_size=10)


@given(unlearned=sets, retrained=sets)
def test_whatever_the_margins_epsilon_is_that_of_the_best_rule(unlearned, retrained):
    (value,) = epsilons(np.array(unlearned)[:, None], np.array(retrained)[:, None])
    assert value == pytest.approx(slow_epsilon(unlearned, retrained), abs=1e-9)
    assert value == 50 or 0 <= value <= math.log(max(len(unlearned), len(retrained)) - 1)


def test_each_half_of_epsilon_halves_the_points():
    assert points([0.0, 0.49, 0.5, 0.99, 1.0, 2.3]).tolist() == [1, 1, 0.5, 0.5, 0.25, 1 / 16]
    assert points(50.0) == 2.0**-100


def test_forgetting_quality_is_the_mean_of_the_points():
    assert forgetting_quality([0.0, 0.6, 50.0, 1.2]) == pytest.approx((1 + 0.5 + 0.25) / 4)
    with pytest.raises(UsageError, match="at least 1 forget sample"):
        forgetting_quality([])


def test_the_final_score_weighs_quality_with_what_is_left_of_the_accuracies():
    assert final_score(0.5, 90, 100, 40, 80) == pytest.approx(0.5 * 0.9 * 0.5)
    for accuracies in ((90, 0, 40, 80), (90, 100, 40, 0), (90, 100, 40, math.nan)):
        with pytest.raises(UsageError, match="accuracies above 0"):
            final_score(0.5, *accuracies)


@pytest.mark.parametrize("delta", [-0.1, 1.0, math.nan])
def test_a_delta_out_of_range_is_refused(delta):
    with pytest.raises(UsageError, match="delta from 0"):
        epsilons(np.zeros((8, 1)), np.zeros((8, 1)), delta)


def test_what_has_no_epsilon_is_refused():
    with pytest.raises(UsageError, match=r"epsilon needs at least 8 retrained models \(got 7\)"):
        epsilons(np.zeros((8, 2)), np.zeros((7, 2)))
    with pytest.raises(UsageError, match="one row per model"):
        epsilons(np.zeros((8, 2)), np.zeros((8, 3)))
    with pytest.raises(UsageError, match="finite numbers"):
        epsilons(np.full((8, 2), np.inf), np.zeros((8, 2)))
