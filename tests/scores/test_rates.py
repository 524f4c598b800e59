from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import auc as area_below
from sklearn.metrics import roc_auc_score, roc_curve
from tests.scores.made_up import gaussian

from natmu.errors import UsageError
from natmu.scores import auc, margin, resolvable, roc, tpr_at_fpr

SCORES = st.lists(st.integers(-4, 4) | st.sampled_from([-np.inf, np.inf, 0.5]), min_size=1, max_size=30)


def labelled(members, strangers):
    return np.repeat([1, 0], [len(members), len(strangers)]), np.concatenate([members, strangers])


def slow_tpr(members, strangers, fpr):
    """Try every threshold, and none."""
    rates = [0.0]
    for threshold in {*members, *strangers}:
        alarms = sum(score >= threshold for score in strangers)
        if alarms <= fpr * len(strangers) + 1e-9:
            rates.append(np.mean([score >= threshold for score in members]))
    return max(rates)


@pytest.mark.parametrize("delta", [-1.0, 0.0, 0.3, 1.0, 3.0])
def test_two_gaussians_have_closed_forms(delta):
    members, strangers = margin(gaussian(delta)), margin(gaussian(0))
    assert auc(members, strangers) == pytest.approx(norm.cdf(delta / np.sqrt(2)), abs=1e-4)
    for fpr in (0.5, 0.1, 0.01, 0.001):
        assert tpr_at_fpr(members, strangers, fpr) == pytest.approx(norm.cdf(delta - norm.isf(fpr)), abs=1e-3)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_auc_and_roc_agree_with_scikit_learn(rng, decimals):
    members, strangers = (np.round(rng.normal(mean, 1, count), decimals) for mean, count in ((0.5, 300), (0, 170)))
    truth, scores = labelled(members, strangers)
    assert auc(members, strangers) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    ours = roc(members, strangers)
    assert {*zip(ours.fpr.round(9), ours.tpr.round(9), strict=True)} <= {*zip(fpr.round(9), tpr.round(9), strict=True)}
    assert area_below(ours.fpr, ours.tpr) == pytest.approx(auc(members, strangers), abs=1e-12)


def test_a_roc_has_corners_only():
    ours = roc([5, 4, 4, 2, 1], [3, 3, 2, 0, -1, -2])
    assert ours.fpr == pytest.approx([0, 0, 2 / 6, 3 / 6, 3 / 6, 1])
    assert ours.tpr == pytest.approx([0, 3 / 5, 3 / 5, 4 / 5, 1, 1])


@settings(deadline=None)
@given(SCORES, SCORES)
def test_every_attack_has_a_curve_whose_area_is_its_auc(members, strangers):
    area = auc(members, strangers)
    ours = roc(members, strangers)
    wins = np.mean([(one > other) + (one == other) / 2 for one in members for other in strangers])
    assert area == pytest.approx(wins, abs=1e-12)
    assert area_below(ours.fpr, ours.tpr) == pytest.approx(area, abs=1e-12)
    assert (ours.fpr[0], ours.tpr[0], ours.fpr[-1], ours.tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(ours.fpr) >= 0).all()
    assert (np.diff(ours.tpr) >= 0).all()
    assert auc(strangers, members) == pytest.approx(1 - area, abs=1e-12)


@settings(deadline=None)
@given(SCORES, SCORES, st.integers(1, 100))
def test_tpr_is_the_best_of_all_thresholds(members, strangers, percent):
    if resolvable(len(strangers), percent / 100):
        expected = slow_tpr(members, strangers, percent / 100)
        assert tpr_at_fpr(members, strangers, percent / 100) == pytest.approx(expected)


def test_equal_scores_are_accepted_or_refused_together():
    strangers = np.repeat([1.0, 0.0], [2, 98])
    assert tpr_at_fpr([1, 1, 0], strangers, 0.01) == 0
    assert tpr_at_fpr([1, 1, 0], strangers, 0.02) == pytest.approx(2 / 3)
    assert tpr_at_fpr([2, 1, 0], strangers, 0.01) == pytest.approx(1 / 3)


def test_separated_and_identical_scores_are_the_two_ends():
    assert auc([2, 3], [0, 1]) == 1
    assert auc([0, 1], [2, 3]) == 0
    assert auc([1, 1, 1], [1, 1]) == 0.5
    assert tpr_at_fpr(np.arange(100) + 100, np.arange(100), 0.01) == 1
    assert tpr_at_fpr([0], [1], 1.0) == 1


@pytest.mark.parametrize(
    ("count", "fpr", "enough"),
    [(100, 0.01, True), (99, 0.01, False), (1000, 0.001, True), (999, 0.001, False), (49, 1 / 49, True), (1, 1, True)],
)
def test_a_rate_below_one_stranger_cannot_be_measured(count, fpr, enough):
    assert resolvable(count, fpr) is enough
    strangers = np.arange(count)
    if enough:
        assert tpr_at_fpr([count], strangers, fpr) == 1
    else:
        with pytest.raises(UsageError, match=rf"at least {round(1 / fpr)} strangers .* there are {count};"):
            tpr_at_fpr([count], strangers, fpr)


def test_a_rate_that_is_a_whole_number_of_strangers_but_for_rounding_is_that_number():
    strangers = np.arange(100.0)
    assert 0.29 * 100 < 29
    assert tpr_at_fpr([70.5], strangers, 0.29) == 1
    assert tpr_at_fpr([70.5], strangers, 0.28) == 0


@pytest.mark.parametrize("fpr", [0, -0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_rate_is_refused(fpr):
    with pytest.raises(UsageError, match="above 0"):
        tpr_at_fpr([1], [1], fpr)


@pytest.mark.parametrize("attack", [auc, roc, lambda one, other: tpr_at_fpr(one, other, 1)])
@pytest.mark.parametrize(("members", "strangers"), [([], [1]), ([1], []), ([float("nan")], [1]), ([1], [float("nan")])])
def test_attacks_without_scores_are_refused(attack, members, strangers):
    with pytest.raises(UsageError):
        attack(members, strangers)


def test_scores_are_left_as_they_were():
    members, strangers = np.array([3.0, 1.0]), np.array([2.0, 0.0])
    auc(members, strangers)
    assert members.tolist() == [3, 1]
    assert strangers.tolist() == [2, 0]
