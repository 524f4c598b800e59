from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from natmu.scores.comparison import concordance, differences, paired, stability
from natmu.scores.correction import holm


def seeded(*values):
    return {(0, seed, seed): value for seed, value in enumerate(values)}


def drawn(rng, count, **means):
    """Methods with an effect of each seed in common."""
    shared = rng.normal(0, 3, count)
    return {label: seeded(*(mean + shared + rng.normal(0, 1, count))) for label, mean in means.items()}


def test_replicates_pair_by_all_three_seeds():
    first = {(0, 0, 0): 1.0, (0, 0, 1): 2.0, (1, 0, 0): 3.0}
    second = {(1, 0, 0): 30.0, (0, 0, 1): 20.0, (0, 1, 0): 40.0}
    assert sorted(paired(first, second)) == [(2.0, 20.0), (3.0, 30.0)]
    assert sorted(paired(second, first)) == [(20.0, 2.0), (30.0, 3.0)]
    assert paired(first, {}) == []


def test_models_without_an_unlearning_seed_pair_with_each_replicate_of_their_split_and_training():
    method = {(0, 0, 0): 1.0, (0, 0, 1): 2.0, (0, 1, 0): 3.0, (1, 0, 0): 4.0}
    reference = {(0, 0, None): 10.0, (0, 1, None): 20.0, (5, 5, None): 50.0}
    assert sorted(paired(method, reference)) == [(1.0, 10.0), (2.0, 10.0), (3.0, 20.0)]
    assert sorted(paired(reference, method)) == [(10.0, 1.0), (10.0, 2.0), (20.0, 3.0)]
    assert paired(reference, reference) == [(10.0, 10.0), (20.0, 20.0), (50.0, 50.0)]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_differences_agree_with_scipy(rng, count):
    methods = drawn(rng, count, a=0.0, b=1.5)
    (found,) = differences(methods)
    best, other = (list(methods[label].values()) for label in (found.best, found.method))
    expected = stats.ttest_rel(best, other)
    interval = expected.confidence_interval(0.95)
    assert found.n == count
    assert found.mean == pytest.approx(statistics.fmean(best) - statistics.fmean(other))
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.within_noise == (expected.pvalue >= 0.05)


def test_the_best_is_compared_with_all_others_in_order(rng):
    methods = drawn(rng, 8, c=9.0, a=0.0, b=3.0) | {"nothing": {}}
    assert [(one.best, one.method) for one in differences(methods)] == [("a", "b"), ("a", "c")]
    every = differences(methods, every_pair=True)
    assert [(one.best, one.method) for one in every] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert every[:2] == differences(methods)
    assert all(one.mean < 0 for one in every)
    assert differences({}) == differences({"a": seeded(1.0)}) == []


def apart_by(p_value):
    """Differences of five seeds from 0 that Student's test gives this p-value."""
    noise = np.array([0.3, -0.2, 0.5, -0.4, -0.2])
    return stats.t.isf(p_value / 2, 4) * noise.std(ddof=1) / math.sqrt(5) + noise


def test_the_best_is_distinguishable_only_after_a_correction_for_the_number_of_its_rivals():
    best = [1.0, 4.0, 2.0, 8.0, 5.0]

    def verdicts(*p_values):
        rivals = {str(one): seeded(*(best + apart_by(one))) for one in p_values}
        found = differences({"best": seeded(*best), **rivals})
        assert sorted(one.p_value for one in found) == pytest.approx(sorted(p_values))
        return {float(one.method): one.within_noise for one in found}

    assert verdicts(0.03) == {0.03: False}
    assert verdicts(0.03, 0.3, 0.5) == {0.03: True, 0.3: True, 0.5: True}
    assert verdicts(0.03, 0.001, 0.002) == {0.03: False, 0.001: False, 0.002: False}


def test_each_method_is_corrected_for_those_that_it_beats():
    """The worst two are one comparison of p = 0.03, whatever the best is compared with."""
    worse = np.array([11.0, 14.0, 12.0, 18.0, 15.0])
    methods = {"worse": seeded(*worse), "worst": seeded(*(worse + apart_by(0.03)))}
    methods |= {"best": seeded(1.0, 4.0, 2.0, 8.0, 5.0), "second": seeded(1.1, 4.0, 2.2, 8.3, 4.8)}
    found = {(one.best, one.method): one for one in differences(methods, every_pair=True)}
    assert found["worse", "worst"].p_value == pytest.approx(0.03)
    assert not found["worse", "worst"].within_noise
    assert found["best", "second"].within_noise


def test_one_common_replicate_gives_a_difference_without_interval_or_verdict():
    (one,) = differences({"a": seeded(1.0, 2.0), "b": {(0, 1, 1): 5.0, (7, 7, 7): 6.0}})
    assert (one.mean, one.interval, one.n, one.p_value, one.within_noise) == (-3.0, None, 1, None, None)
    (none,) = differences({"a": seeded(1.0), "b": {(7, 7, 7): 6.0}})
    assert (none.mean, none.interval, none.n, none.within_noise) == (None, None, 0, None)


def test_equal_methods_are_within_noise_and_a_constant_difference_says_nothing():
    (equal,) = differences({"a": seeded(0.1, 0.2, 0.3), "b": seeded(0.1, 0.2, 0.3)})
    assert (equal.mean, equal.interval, equal.within_noise) == (0.0, (0.0, 0.0), True)
    values = (93.1, 0.2, 7.3)
    (constant,) = differences({"a": seeded(*values), "b": seeded(*(value + 0.7 for value in values))})
    assert len({value + 0.7 - value for value in values}) > 1, "apart by the order of additions alone"
    assert constant.mean == pytest.approx(-0.7)
    assert (constant.interval, constant.p_value, constant.within_noise) == (None, None, None)


def test_equal_methods_are_distinguishable_from_the_best_of_them_in_about_a_tenth_of_studies(rng):
    """What the documentation promises of the choice of the correction, for ten methods and three seeds."""
    wrong = uncorrected = 0
    for _ in range(400):
        found = differences({str(label): seeded(*rng.normal(size=3)) for label in range(10)})
        wrong += any(not one.within_noise for one in found)
        uncorrected += any(one.p_value < 0.05 for one in found)
    assert 0.03 < wrong / 400 < 0.15
    assert uncorrected / 400 > 0.4


@pytest.mark.parametrize(
    ("p_values", "rejected"),
    [
        ([], []),
        ([0.04], [True]),
        ([0.051], [False]),
        ([0.04, 0.001], [True, True]),
        ([0.03, 0.03], [False, False]),
        ([0.02, 0.2, 0.01], [True, False, True]),
        ([0.017, 0.001, 0.03], [True, True, True]),
        ([0.026, 0.001, 0.03], [False, True, False]),
    ],
)
def test_holm_steps_down_until_one_is_not_rejected(p_values, rejected):
    assert holm(p_values, 0.95) == rejected


def slow_ranks(values):
    return [sum(other < one for other in values) + (1 + sum(other == one for other in values)) / 2 for one in values]


def tables(fewest):
    """Values of so many methods or more, one row for each replicate."""
    return st.integers(fewest, 5).flatmap(
        lambda methods: st.lists(
            st.lists(st.integers(0, 4), min_size=methods, max_size=methods), min_size=1, max_size=6
        )
    )


@given(tables(1))
def test_ranks_are_those_of_a_slow_loop(values):
    labels = [f"m{index}" for index in range(len(values[0]))]
    found = stability({label: seeded(*column) for label, column in zip(labels, zip(*values, strict=True), strict=True)})
    ranks = [slow_ranks(row) for row in values]
    assert found.n == len(values)
    for index, label in enumerate(labels):
        of_method, place = [row[index] for row in ranks], found.places[label]
        assert place.mean == pytest.approx(statistics.fmean(of_method))
        assert (place.best, place.worst) == (min(of_method), max(of_method))
        assert place.first == pytest.approx(statistics.fmean(row[index] == min(row) for row in values))
    assert sum(place.mean for place in found.places.values()) == pytest.approx(len(labels) * (len(labels) + 1) / 2)


@given(tables(3))
def test_agreement_is_that_of_friedmans_test(values):
    count, methods = len(values), len(values[0])
    found = concordance([slow_ranks(row) for row in values])
    if count < 2 or all(len(set(row)) == 1 for row in values):
        assert found is None
    else:
        chi2 = stats.friedmanchisquare(*np.transpose(values)).statistic
        assert found == pytest.approx(chi2 / (count * (methods - 1)), abs=1e-9)
        assert 0 <= found <= 1 + 1e-12


def test_agreement_in_closed_form():
    assert concordance([[1, 2, 3]] * 4) == pytest.approx(1)
    assert concordance([[1, 2], [2, 1]]) == 0
    assert concordance([[1, 2, 3], [3, 2, 1]]) == 0
    assert concordance([[1.5, 1.5, 3]] * 2) == pytest.approx(1)
    assert concordance([[1, 2, 3]]) is None
    assert concordance([[1], [1]]) is None
    assert concordance([[1.5, 1.5], [1.5, 1.5]]) is None


def test_ranked_are_the_replicates_of_the_fullest_method_and_those_that_have_them_all():
    methods = {"a": seeded(1.0, 2.0, 3.0), "short": seeded(0.0, 0.0), "b": seeded(2.0, 1.0, 4.0) | {(9, 9, 9): 0.0}}
    assert stability(methods).places.keys() == {"b"}
    del methods["b"][9, 9, 9]
    found = stability(methods)
    assert found.places.keys() == {"a", "b"}
    assert (found.places["a"].mean, found.places["a"].first) == (pytest.approx(4 / 3), pytest.approx(2 / 3))
    assert math.isclose(found.agreement, 1 / 9)


def test_ties_share_their_rank_and_are_both_first():
    found = stability({"a": seeded(1.0), "b": seeded(1.0), "c": seeded(2.0)})
    assert (found.places["a"].mean, found.places["b"].first, found.places["c"].first) == (1.5, 1.0, 0.0)
    assert found.agreement is None


def test_nothing_is_ranked_where_there_is_nothing():
    assert stability({}) is None
    assert stability({"a": {}}) is None
