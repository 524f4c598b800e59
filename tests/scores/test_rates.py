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


def labelled(members, non_members):
    return np.repeat([1, 0], [len(members), len(non_members)]), np.concatenate([members, non_members])


def slow_tpr(members, non_members, fpr):
    """Try every threshold, and none."""
    rates = [0.0]
    for threshold in {*members, *non_members}:
        alarms = sum(score >= threshold for score in non_members)
        if alarms <= fpr * len(non_members) + 1e-9:
            rates.append(np.mean([score >= threshold for score in members]))
    return max(rates)


@pytest.mark.parametrize("delta", [-1.0, 0.0, 0.3, 1.0, 3.0])
def test_two_gaussians_have_closed_forms(delta):
    members, non_members = margin(gaussian(delta)), margin(gaussian(0))
    assert auc(members, non_members) == pytest.approx(norm.cdf(delta / np.sqrt(2)), abs=1e-4)
    for fpr in (0.5, 0.1, 0.01, 0.001):
        assert tpr_at_fpr(members, non_members, fpr) == pytest.approx(norm.cdf(delta - norm.isf(fpr)), abs=1e-3)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_auc_and_roc_agree_with_scikit_learn(rng, decimals):
    members, non_members = (np.round(rng.normal(mean, 1, count), decimals) for mean, count in ((0.5, 300), (0, 170)))
    truth, scores = labelled(members, non_members)
    assert auc(members, non_members) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    ours = roc(members, non_members)
    assert {*zip(ours.fpr.round(9), ours.tpr.round(9), strict=True)} <= {*zip(fpr.round(9), tpr.round(9), strict=True)}
    assert area_below(ours.fpr, ours.tpr) == pytest.approx(auc(members, non_members), abs=1e-12)


def test_a_roc_has_corners_only():
    ours = roc([5, 4, 4, 2, 1], [3, 3, 2, 0, -1, -2])
    assert ours.fpr == pytest.approx([0, 0, 2 / 6, 3 / 6, 3 / 6, 1])
    assert ours.tpr == pytest.approx([0, 3 / 5, 3 / 5, 4 / 5, 1, 1])


@settings(deadline=None)
@given(SCORES, SCORES)
def test_every_attack_has_a_curve_whose_area_is_its_auc(members, non_members):
    area = auc(members, non_members)
    ours = roc(members, non_members)
    wins = np.mean([(one > other) + (one == other) / 2 for one in members for other in non_members])
    assert area == pytest.approx(wins, abs=1e-12)
    assert area_below(ours.fpr, ours.tpr) == pytest.approx(area, abs=1e-12)
    assert (ours.fpr[0], ours.tpr[0], ours.fpr[-1], ours.tpr[-1]) == (0, 0, 1, 1)
    assert (np.diff(ours.fpr) >= 0).all()
    assert (np.diff(ours.tpr) >= 0).all()
    assert auc(non_members, members) == pytest.approx(1 - area, abs=1e-12)


@settings(deadline=None)
@given(SCORES, SCORES, st.integers(1, 100))
def test_tpr_is_the_best_of_all_thresholds(members, non_members, percent):
    if resolvable(len(non_members), percent / 100):
        expected = slow_tpr(members, non_members, percent / 100)
        assert tpr_at_fpr(members, non_members, percent / 100) == pytest.approx(expected)


def test_equal_scores_are_accepted_or_refused_together():
    non_members = np.repeat([1.0, 0.0], [2, 98])
    assert tpr_at_fpr([1, 1, 0], non_members, 0.01) == 0
    assert tpr_at_fpr([1, 1, 0], non_members, 0.02) == pytest.approx(2 / 3)
    assert tpr_at_fpr([2, 1, 0], non_members, 0.01) == pytest.approx(1 / 3)


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
    non_members = np.arange(count)
    if enough:
        assert tpr_at_fpr([count], non_members, fpr) == 1
    else:
        with pytest.raises(UsageError, match=rf"at least {round(1 / fpr)} non-members .* there are {count};"):
            tpr_at_fpr([count], non_members, fpr)


def test_a_rate_that_is_a_whole_number_of_nonmembers_but_for_rounding_is_that_number():
    non_members = np.arange(100.0)
    assert 0.29 * 100 < 29
    assert tpr_at_fpr([70.5], non_members, 0.29) == 1
    assert tpr_at_fpr([70.5], non_members, 0.28) == 0


@pytest.mark.parametrize("fpr", [0, -0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_rate_is_refused(fpr):
    with pytest.raises(UsageError, match="above 0"):
        tpr_at_fpr([1], [1], fpr)


@pytest.mark.parametrize("attack", [auc, roc, lambda one, other: tpr_at_fpr(one, other, 1)])
@pytest.mark.parametrize(
    ("members", "non_members"), [([], [1]), ([1], []), ([float("nan")], [1]), ([1], [float("nan")])]
)
def test_attacks_without_scores_are_refused(attack, members, non_members):
    with pytest.raises(UsageError):
        attack(members, non_members)


def test_scores_are_left_as_they_were():
    members, non_members = np.array([3.0, 1.0]), np.array([2.0, 0.0])
    auc(members, non_members)
    assert members.tolist() == [3, 1]
    assert non_members.tolist() == [2, 0]
