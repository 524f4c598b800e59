from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score

from natmu.errors import UsageError
from natmu.scores.ulira import ulira, ulira_accuracy

from .shadows import shadow_models, slow_online


def each_by_the_others(shadows, member):
    """Attack each shadow with all the others."""
    rows = []
    for at in range(len(shadows)):
        others = np.arange(len(shadows)) != at
        rows.append(ulira(shadows[at], shadows[others], member[others]))
    return np.array(rows)


def test_ulira_is_the_likelihood_ratio_of_unlearned_members_to_unlearned_strangers(rng):
    values, member, difficulty = shadow_models(rng, 66, 30, lift=1.0, spread_in=0.5)
    target = difficulty + rng.normal(size=30)
    assert ulira(target, values, member) == pytest.approx(slow_online(target, values, member), rel=1e-9)


def test_a_trace_left_by_unlearning_is_found_and_no_trace_is_not(rng):
    samples, models = 300, 40
    left, member, _ = shadow_models(rng, models, samples, lift=3.0)
    found = each_by_the_others(left, member)
    assert roc_auc_score(member.ravel(), found.ravel()) > 0.9
    # With equal spreads and exact fits, half the distance between the means in standard deviations decides.
    assert ulira_accuracy(found, member) == pytest.approx(100 * norm.cdf(1.5), abs=2)
    gone, member, _ = shadow_models(rng, models, samples, lift=0.0)
    # Shadows of one sample share their fits, so that 12000 guesses spread as about 2000 independent ones: 1.1 points.
    assert ulira_accuracy(each_by_the_others(gone, member), member) == pytest.approx(50, abs=4 * 1.1)
    fresh = ulira(rng.normal(size=samples), gone - gone.mean(axis=0), member)
    assert roc_auc_score(rng.random(samples) < 0.5, fresh) == pytest.approx(0.5, abs=4 * 0.0334)


@pytest.mark.parametrize("models", [8, 70])
def test_a_constant_added_to_all_margins_changes_no_score(rng, models):
    values, member, _ = shadow_models(rng, models, 20)
    moved = each_by_the_others(values + 1e4, member)
    assert moved == pytest.approx(each_by_the_others(values, member), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("models", [6, 70])
@pytest.mark.parametrize("height", [0.0, -1e4, 0.1])
def test_shadows_that_all_say_the_same_give_no_evidence(models, height):
    member = np.tile(np.arange(models) % 2 == 0, (3, 1)).T
    assert each_by_the_others(np.full((models, 3), height), member) == pytest.approx(np.zeros((models, 3)), abs=1e-6)


@pytest.mark.parametrize("models", [6, 70])
def test_the_only_shadow_that_differs_leaves_equal_ones_behind(rng, models):
    member = np.tile(np.arange(models) % 2 == 0, (500, 1)).T
    values = np.tile(rng.normal(0, 10, 500), (models, 1))
    values[0] += rng.normal(0, 10, 500)
    scores = each_by_the_others(values, member)
    assert np.isfinite(scores).all()
    # Without it, those trained on the sample say what the others say: two terms of up to 1e13 cancel.
    assert scores[0] == pytest.approx(np.zeros(500), abs=0.1)


@given(data=st.data(), models=st.sampled_from([6, 66]), samples=st.integers(1, 3))
def test_scores_are_finite(data, models, samples):
    few = st.lists(st.floats(-1e4, 1e4), min_size=5 * samples, max_size=5 * samples)
    values = np.resize(np.array(data.draw(few)), (models, samples))
    member = np.tile(np.arange(models) % 2 == 0, (samples, 1)).T
    assert np.isfinite(each_by_the_others(values, member)).all()


def test_accuracy_agrees_with_scikit_learn(rng):
    scores, member = rng.normal(size=(7, 30)), rng.random((7, 30)) < 0.5
    assert ulira_accuracy(scores, member) == pytest.approx(100 * accuracy_score(member.ravel(), scores.ravel() > 0))


def test_no_evidence_is_a_toss_of_a_coin():
    assert ulira_accuracy([0.0, 0.0, 0.0], [True, True, True]) == 50
    assert ulira_accuracy([1.0, -2.0, 0.0, 3.0], [True, False, True, False]) == pytest.approx(62.5)


def test_errors_name_the_score(rng):
    values, member, difficulty = shadow_models(rng, 8, 5)
    with pytest.raises(UsageError, match=r"^ulira needs at least 1 shadow models trained on"):
        ulira(difficulty, values, np.zeros_like(member))
    for scores, truth in (([], []), ([1.0], [True, False])):
        with pytest.raises(UsageError, match="ulira_accuracy needs"):
            ulira_accuracy(scores, truth)
