from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from natmu.errors import UsageError
from natmu.scores.rmia import log_ratio, rmia, share_reached


def log_p(logit):
    """Log probability of a binary softmax with this margin."""
    return -np.logaddexp(0, -logit)


def slow_rmia(target_x, references_x, target_z, references_z, gamma, a):
    """The paper's formulas on probabilities, one pair of samples at a time."""

    def ratio(target, references):
        out = math.fsum(math.exp(value) for value in references) / len(references)
        return math.exp(target) / (((1 + a) * out + (1 - a)) / 2)

    of_z = [ratio(*pair) for pair in zip(target_z, references_z.T, strict=True)]
    of_x = [ratio(*pair) for pair in zip(target_x, references_x.T, strict=True)]
    return [sum(x / z >= gamma for z in of_z) / len(of_z) for x in of_x]


def margins(rng, samples, models, difficulty_spread=2.0, member_lift=0.0):
    """Log probabilities of a target and of references; samples differ in difficulty, and members are lifted."""
    base = rng.normal(1, difficulty_spread, samples)
    target = base + member_lift + rng.normal(0, 1, samples)
    return log_p(target), log_p(base + rng.normal(0, 1, (models, samples)))


@pytest.mark.parametrize(("gamma", "a"), [(1.0, 0.3), (2.0, 0.3), (0.5, 0.0), (1.5, 1.0)])
@pytest.mark.parametrize("models", [1, 4])
def test_rmia_agrees_with_the_formulas_in_a_slow_loop(rng, gamma, a, models):
    values = (*margins(rng, 30, models), *margins(rng, 50, models))
    assert rmia(*values, gamma, a) == pytest.approx(slow_rmia(*values, gamma, a), abs=1e-12)


def test_a_sample_as_the_population_is_scored_by_the_share_of_smaller_ratios(rng):
    target, references = margins(rng, 40, 3)
    scores = rmia(target, references, target, references)
    assert sorted(scores) == pytest.approx(np.arange(1, 41) / 40)


def test_the_share_that_is_reached_counts_equal_ratios():
    assert share_reached([0.0, 1.0, 2.5, 9.0], [1.0, 3.0, 2.0, 1.0]).tolist() == [0, 0.5, 0.75, 1]


def test_rmia_rises_with_the_ratio_that_ranks_samples(rng):
    samples, population = margins(rng, 200, 3), margins(rng, 50, 3)
    scores = rmia(*samples, *population)[np.argsort(log_ratio(*samples))]
    assert (np.diff(scores) >= 0).all()
    assert len(np.unique(scores)) > 25


def test_rmia_catches_a_model_that_memorised(rng):
    population = margins(rng, 2000, 4)
    members, non_members = margins(rng, 1000, 4, member_lift=6.0), margins(rng, 1000, 4)
    scores = np.concatenate([rmia(*members, *population), rmia(*non_members, *population)])
    assert roc_auc_score(np.repeat([1, 0], 1000), scores) > 0.9


def test_rmia_does_not_tell_exchangeable_samples_apart(rng):
    population = margins(rng, 2000, 4)
    scores = np.concatenate([rmia(*margins(rng, 2000, 4), *population) for _ in range(2)])
    # The standard deviation of the AUC of 2000 against 2000 like samples is 0.0091.
    assert roc_auc_score(np.repeat([1, 0], 2000), scores) == pytest.approx(0.5, abs=4 * 0.0091)
    assert scores.mean() == pytest.approx(0.5, abs=0.03)


def test_rmia_lies_between_the_probabilities_of_zero_and_one(rng):
    target_z, references_z = margins(rng, 100, 2)
    target_x = np.array([-np.inf, 0.0, -np.inf, 0.0])
    references_x = np.array([[0.0, 0.0, -np.inf, -np.inf], [0.0, 0.0, -np.inf, -np.inf]])
    scores = rmia(target_x, references_x, target_z, references_z)
    assert scores[[0, 2]] == pytest.approx([0, 0])
    assert scores[3] == 1
    assert 0 < scores[1] < 1


def test_rmia_without_a_prior_takes_nothing_over_nothing_for_no_evidence():
    target_x, references_x = np.array([-np.inf, -1e4]), np.full((2, 2), -np.inf)
    target_z = np.log([0.5, 0.5, 0.1])
    references_z = np.log([[0.25, 1.0, 0.1], [0.25, 1.0, 0.1]])
    assert rmia(target_x, references_x, target_z, references_z, a=1.0) == pytest.approx([2 / 3, 1])


def test_probabilities_too_small_for_a_float_still_have_an_order():
    scores = rmia([-9000.0, -8000.0], [[-8500.0] * 2], np.linspace(-1e4, -7e3, 31), np.full((1, 31), -8500.0))
    assert scores == pytest.approx([11 / 31, 21 / 31])


def test_float32_is_not_rounded_any_further(rng):
    values = [value.astype(np.float32) for value in (*margins(rng, 30, 4), *margins(rng, 50, 4))]
    assert np.array_equal(rmia(*values), rmia(*(value.astype(np.float64) for value in values)))


log_probabilities = st.one_of(st.just(0.0), st.just(-math.inf), st.floats(-1e4, 0))


@given(
    target=st.lists(log_probabilities, min_size=2, max_size=8),
    reference=log_probabilities,
    population=st.lists(st.tuples(log_probabilities, log_probabilities), min_size=1, max_size=8),
    gamma=st.floats(0.1, 10),
    a=st.floats(0, 1),
)
def test_a_larger_probability_never_scores_lower_and_every_score_is_a_share(target, reference, population, gamma, a):
    target_z, references_z = np.array(population).T
    target_x = np.sort(target)
    scores = rmia(target_x, np.full((1, len(target)), reference), target_z, references_z[None], gamma, a)
    assert ((scores >= 0) & (scores <= 1)).all()
    if np.isfinite(np.logaddexp(np.log1p(a) + reference, np.log1p(-a) if a < 1 else -math.inf)):
        assert (np.diff(scores) >= 0).all()


GOOD = (np.array([-1.0]), np.array([[-1.0]]), np.array([-1.0, -2.0]), np.array([[-1.0, -2.0]]))


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (0, np.array([0.5]), "logarithm of the softmax"),
        (0, np.array([np.nan]), "logarithm of the softmax"),
        (1, np.array([[0.9]]), "logarithm of the softmax"),
        (1, np.empty((0, 1)), "at least 1 reference model"),
        (1, np.array([-1.0]), "align them"),
        (1, np.array([[-1.0, -1.0]]), "align them"),
        (3, np.array([[-1.0, -2.0]] * 2), "same reference models"),
        (0, np.array([[-1.0]]), "align them"),
    ],
)
def test_what_rmia_cannot_score_is_refused(place, value, says):
    values = [value if at == place else good for at, good in enumerate(GOOD)]
    with pytest.raises(UsageError, match=says):
        rmia(*values)


def test_rmia_without_a_population_is_refused():
    with pytest.raises(UsageError, match="at least 1 population sample"):
        rmia(GOOD[0], GOOD[1], np.empty(0), np.empty((1, 0)))


@pytest.mark.parametrize("gamma", [0.0, -1.0, math.inf])
def test_a_gamma_out_of_range_is_refused(gamma):
    with pytest.raises(UsageError, match="gamma above 0"):
        rmia(*GOOD, gamma)


@pytest.mark.parametrize("a", [-0.1, 1.1, math.nan])
def test_an_a_out_of_range_is_refused(a):
    with pytest.raises(UsageError, match="a from 0 to 1"):
        rmia(*GOOD, a=a)
    with pytest.raises(UsageError, match="a from 0 to 1"):
        log_ratio(*GOOD[:2], a)
