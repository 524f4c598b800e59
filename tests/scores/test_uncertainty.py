from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from natmu.errors import UsageError
from natmu.scores.uncertainty import (
    accuracy_interval,
    auc_interval,
    mean_interval,
    paired_interval,
    seed_interval,
    smallest_shift,
    spread,
)


def normal_auc(shift):
    """Area under the curve of two normal distributions of variance 1, one of them moved."""
    return stats.norm.cdf(shift / math.sqrt(2))


def within_binomial_bounds(hits, trials, probability):
    """Whether a count is one that chance gives in 999 of 1,000 cases."""
    low, high = stats.binom.interval(0.999, trials, probability)
    return low <= hits <= high


def slow_auc_interval(members, non_members, draws, level, rng):
    """Resample, score with scikit-learn, sort."""
    labels = np.repeat([1, 0], [len(members), len(non_members)])
    areas = [
        roc_auc_score(labels, [*rng.choice(members, len(members)), *rng.choice(non_members, len(non_members))])
        for _ in range(draws)
    ]
    return np.quantile(areas, [(1 - level) / 2, (1 + level) / 2])


def delong_deviation(members, non_members):
    """Standard error of the area by DeLong et al. 1988, from the placement of each sample among those of the other."""

    def won(member, nonmember):
        return 1.0 if member > nonmember else 0.5 if member == nonmember else 0.0

    of_member = [np.mean([won(member, nonmember) for nonmember in non_members]) for member in members]
    of_nonmember = [np.mean([won(member, nonmember) for member in members]) for nonmember in non_members]
    return math.sqrt(np.var(of_member, ddof=1) / len(of_member) + np.var(of_nonmember, ddof=1) / len(of_nonmember))


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_an_auc_interval_agrees_with_delong_and_with_slow_resampling_ties_included(rng, decimals):
    members, non_members = rng.normal(0.4, 1, 150), rng.normal(0, 1, 250)
    if decimals is not None:
        members, non_members = members.round(decimals), non_members.round(decimals)
    low, high = auc_interval(members, non_members, seed=1, draws=4000)
    area = roc_auc_score(np.repeat([1, 0], [150, 250]), [*members, *non_members])
    half = stats.norm.ppf(0.975) * delong_deviation(members, non_members)
    assert (low, high) == pytest.approx((area - half, area + half), abs=0.006)
    assert (low, high) == pytest.approx(slow_auc_interval(members, non_members, 1000, 0.95, rng), abs=0.01)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_auc_intervals_cover_the_truth_as_often_as_they_say(rng, shift):
    hits = 0
    for trial in range(200):
        low, high = auc_interval(rng.normal(shift, 1, 80), rng.normal(0, 1, 120), seed=trial, draws=400, level=0.9)
        hits += low <= normal_auc(shift) <= high
    assert within_binomial_bounds(hits, 200, 0.9), hits


def test_an_auc_interval_knows_ranks_alone(rng):
    members, non_members = rng.normal(0.3, 1, 60), rng.normal(0, 1, 70)
    expected = auc_interval(members, non_members, seed=0)
    assert auc_interval(np.exp(members), np.exp(non_members), seed=0) == expected
    low, high = auc_interval(-members, -non_members, seed=0)
    assert (1 - high, 1 - low) == pytest.approx(expected, abs=0.02)
    assert auc_interval([np.inf, 1, 2], [-np.inf, 0, -1e308], seed=0) == (1, 1)
    assert auc_interval([3.0] * 5, [3.0] * 9, seed=0) == (0.5, 0.5)


def test_an_auc_interval_is_decided_by_its_seed_and_widens_with_the_level(rng):
    members, non_members = rng.normal(0.3, 1, 60), rng.normal(0, 1, 70)
    first = auc_interval(members, non_members, seed=3)
    assert auc_interval(members, non_members, seed=3) == first
    assert auc_interval(members, non_members, seed=4) != first
    narrow, wide = (auc_interval(members, non_members, seed=3, level=level) for level in (0.5, 0.99))
    assert wide[0] < first[0] < narrow[0] < narrow[1] < first[1] < wide[1]


def test_draws_that_are_counted_in_several_chunks_are_all_there(rng):
    wide = rng.normal(size=70_000)  # one draw fills a chunk
    low, high = mean_interval(wide, seed=0, draws=300)
    expected = stats.norm.interval(0.95, wide.mean(), wide.std() / math.sqrt(len(wide)))
    assert (low, high) == pytest.approx(expected, abs=0.15 * (expected[1] - expected[0]))


def test_a_thousand_draws_of_many_samples_take_a_moment(rng):
    members, non_members = rng.normal(0.1, 1, 6000), rng.normal(0, 1, 10_000)
    auc_interval(members, non_members, seed=0, draws=10)
    start = time.perf_counter()
    auc_interval(members, non_members, seed=0, draws=1000)
    assert time.perf_counter() - start < 3  # 0.2 s where nothing else runs


def test_mean_intervals_cover_the_truth_as_often_as_they_say(rng):
    hits = 0
    for trial in range(300):
        low, high = mean_interval(100 * (rng.random(150) < 0.7), seed=trial, draws=400, level=0.9)
        hits += low <= 70 <= high
    assert within_binomial_bounds(hits, 300, 0.9), hits


def test_an_accuracy_without_a_miss_has_the_exact_interval():
    """Where the bootstrap has none: that of scipy's binomial test."""
    for hits in (0, 9, 4):
        values = np.where(np.arange(9) < hits, 100.0, 0.0)
        exact = stats.binomtest(hits, 9).proportion_ci(0.9, method="exact")
        expected = (100 * exact.low, 100 * exact.high) if hits in (0, 9) else mean_interval(values, seed=3, level=0.9)
        assert accuracy_interval(values, seed=3, level=0.9) == pytest.approx(expected)
    assert accuracy_interval([100.0], seed=0) is None


def test_a_mean_interval_of_equal_values_has_no_width():
    assert mean_interval([2.5] * 40, seed=0) == (2.5, 2.5)


def test_seed_intervals_are_those_of_scipy(rng):
    values = rng.normal(90, 2, 5)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert seed_interval(values, level=0.9) == pytest.approx(tuple(expected))
    assert seed_interval([1.0, 1.0, 1.0]) == (1, 1)


def test_paired_intervals_are_those_of_scipy_and_ignore_what_seeds_share(rng):
    seeds = rng.normal(0, 50, 6)
    first, second = seeds + rng.normal(1, 0.1, 6), seeds + rng.normal(0, 0.1, 6)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert paired_interval(first, second) == pytest.approx(tuple(expected))
    assert paired_interval(first, second)[1] < 1.5 < seed_interval(first)[1]


def test_one_value_has_no_interval():
    assert seed_interval([3.0]) is None
    assert paired_interval([3.0], [2.0]) is None
    assert mean_interval([3.0], seed=0) is None
    assert auc_interval([3.0], [1.0, 2.0], seed=0) is None
    assert auc_interval([1.0, 2.0], [3.0], seed=0) is None


def equal_auc_deviation(members, non_members):
    """Standard error of the area of two equal distributions, that of the Mann-Whitney statistic."""
    return math.sqrt((members + non_members + 1) / (12 * members * non_members))


def test_the_smallest_shift_of_a_known_error_is_seen_with_the_power_it_states(rng):
    members, non_members, trials = 70, 90, 1500
    advantage = smallest_shift(equal_auc_deviation(members, non_members), math.inf, level=0.95, power=0.8)
    shift = math.sqrt(2) * stats.norm.ppf(0.5 + advantage)
    samples = rng.normal(shift, 1, (trials, members)), rng.normal(0, 1, (trials, non_members))
    found = stats.mannwhitneyu(*samples, axis=1, method="asymptotic", use_continuity=False)
    assert np.mean(found.pvalue < 0.05) == pytest.approx(0.8, abs=0.03)


def test_the_smallest_shift_grows_with_the_error_and_with_what_is_asked():
    assert smallest_shift(2.0, 4) == 2 * smallest_shift(1.0, 4)
    assert smallest_shift(1.0, 4, power=0.9) > smallest_shift(1.0, 4, power=0.8) > smallest_shift(1.0, 4, power=0.5)
    assert smallest_shift(1.0, 4, level=0.99) > smallest_shift(1.0, 4, level=0.9)
    assert smallest_shift(0.3, 4) == pytest.approx(0.3 * (stats.t(4).ppf(0.975) + stats.t(4).ppf(0.8)))
    assert smallest_shift(0.3, math.inf) == pytest.approx(0.3 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)))


@pytest.mark.parametrize(("count", "power"), [(2, 0.8), (3, 0.8), (8, 0.8), (8, 0.9)])
def test_the_detectable_distance_from_retrained_models_is_seen_with_its_power(rng, count, power):
    trials, seen = 2000, 0
    reach = stats.t(count - 1).ppf(0.975) * math.sqrt(1 + 1 / count)  # of Student's prediction interval
    for _ in range(trials):
        retrained = rng.normal(0.5, 0.01, count)
        error = spread(retrained) * math.sqrt(1 + 1 / count)
        another = rng.normal(0.5, 0.01) + smallest_shift(error, count - 1, power=power)
        seen += abs(another - retrained.mean()) > reach * retrained.std(ddof=1)
    # For two models the far side is not negligible: it adds some of the level.
    assert power - 0.03 < seen / trials < power + 0.03


def test_with_many_retrained_models_only_their_spread_counts(rng):
    retrained = rng.normal(0.5, 0.01, 100_000)
    expected = 0.01 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
    assert smallest_shift(spread(retrained), len(retrained) - 1) == pytest.approx(expected, rel=0.02)


def test_retrained_models_that_agree_to_the_last_digit_have_no_spread():
    assert spread([0.3, 0.1 + 0.2, 0.3]) == 0
    assert spread([0.5, 0.5, 0.5]) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: auc_interval([], [1.0, 2.0], seed=0),
        lambda: auc_interval([1.0, 2.0], [1.0, np.nan], seed=0),
        lambda: auc_interval([1.0, 2.0], [1.0, 3.0], seed=0, level=1.0),
        lambda: mean_interval([], seed=0),
        lambda: mean_interval([1.0, np.inf], seed=0),
        lambda: mean_interval([1.0, 2.0], seed=0, level=0.0),
        lambda: seed_interval([]),
        lambda: seed_interval([1.0, np.nan]),
        lambda: paired_interval([1.0, 2.0], [1.0]),
        lambda: smallest_shift(1.0, 4, level=95),
        lambda: smallest_shift(1.0, 4, power=0.4),
    ],
)
def test_what_has_no_interval_is_refused_in_one_sentence(wrong):
    with pytest.raises(UsageError, match=r"; .+\.$"):
        wrong()
