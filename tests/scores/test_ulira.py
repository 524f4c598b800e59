from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score

from natmu.errors import UsageError
from natmu.scores import references
from natmu.scores.ulira import ulira, ulira_accuracy, ulira_held_out

from .shadows import shadow_models, slow_online


def held_out_by_refitting(shadows, member):
    """Attack each shadow with SciPy and Gaussians refitted without it."""
    rows = []
    for at in range(len(shadows)):
        others = np.arange(len(shadows)) != at
        rows.append(slow_online(shadows[at], shadows[others], member[others]))
    return np.array(rows)


def test_ulira_is_the_likelihood_ratio_of_unlearned_members_to_unlearned_strangers(rng):
    values, member, difficulty = shadow_models(rng, 66, 30, lift=1.0, spread_in=0.5)
    target = difficulty + rng.normal(size=30)
    assert ulira(target, values, member) == pytest.approx(slow_online(target, values, member), rel=1e-9)


@pytest.mark.parametrize("models", [6, 20, 63, 64, 65, 70])
def test_shadows_held_out_score_as_if_everything_were_fitted_again_without_them(rng, models):
    values, member, _ = shadow_models(rng, models, 25, lift=1.0, spread_in=0.4)
    slow = held_out_by_refitting(values, member)
    assert ulira_held_out(values, member) == pytest.approx(slow, rel=1e-8, abs=1e-9)


def test_shadows_held_out_may_have_unlike_numbers_of_companions(rng):
    values, _, _ = shadow_models(rng, 30, 25)
    member = rng.random((30, 25)) < rng.uniform(0.3, 0.7, 25)
    slow = held_out_by_refitting(values, member)
    assert ulira_held_out(values, member) == pytest.approx(slow, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("models", [8, 70])
def test_a_target_never_takes_part_in_its_own_fit(rng, models):
    values, member, _ = shadow_models(rng, models, 9)
    others = np.arange(models) != 5
    alone = ulira(values[5], values[others], member[others])
    assert ulira_held_out(values, member)[5] == pytest.approx(alone, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("models", [8, 70])
def test_held_out_scores_are_alike_in_one_block_and_in_many(rng, monkeypatch, models):
    values, member, _ = shadow_models(rng, models, 61)
    whole = ulira_held_out(values, member)
    monkeypatch.setattr(references.blocks, "__defaults__", (7 * models,))
    assert ulira_held_out(values, member) == pytest.approx(whole, rel=1e-12)


def test_a_trace_left_by_unlearning_is_found_and_no_trace_is_not(rng):
    samples, models = 300, 40
    left, member, _ = shadow_models(rng, models, samples, lift=3.0)
    found = ulira_held_out(left, member)
    assert roc_auc_score(member.ravel(), found.ravel()) > 0.9
    # With equal spreads and exact fits, half the distance between the means in standard deviations decides.
    assert ulira_accuracy(found, member) == pytest.approx(100 * norm.cdf(1.5), abs=2)
    gone, member, _ = shadow_models(rng, models, samples, lift=0.0)
    # Shadows of one sample share their fits, so that 12000 guesses spread as about 2000 independent ones: 1.1 points.
    assert ulira_accuracy(ulira_held_out(gone, member), member) == pytest.approx(50, abs=4 * 1.1)
    fresh = ulira(rng.normal(size=samples), gone - gone.mean(axis=0), member)
    assert roc_auc_score(rng.random(samples) < 0.5, fresh) == pytest.approx(0.5, abs=4 * 0.0334)


@pytest.mark.parametrize("models", [8, 70])
def test_a_constant_added_to_all_margins_changes_no_held_out_score(rng, models):
    values, member, _ = shadow_models(rng, models, 20)
    moved = ulira_held_out(values + 1e4, member)
    assert moved == pytest.approx(ulira_held_out(values, member), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("models", [6, 70])
@pytest.mark.parametrize("height", [0.0, -1e4, 0.1])
def test_shadows_that_all_say_the_same_give_no_evidence(models, height):
    member = np.tile(np.arange(models) % 2 == 0, (3, 1)).T
    assert ulira_held_out(np.full((models, 3), height), member) == pytest.approx(np.zeros((models, 3)), abs=1e-6)


@pytest.mark.parametrize("models", [6, 70])
def test_the_only_shadow_that_differs_leaves_equal_ones_behind(rng, models):
    member = np.tile(np.arange(models) % 2 == 0, (500, 1)).T
    values = np.tile(rng.normal(0, 10, 500), (models, 1))
    values[0] += rng.normal(0, 10, 500)
    scores = ulira_held_out(values, member)
    assert np.isfinite(scores).all()
    # Without it, those trained on the sample say what the others say: two terms of up to 1e13 cancel.
    assert scores[0] == pytest.approx(np.zeros(500), abs=0.1)


@given(data=st.data(), models=st.sampled_from([6, 66]), samples=st.integers(1, 3))
def test_held_out_scores_are_finite(data, models, samples):
    few = st.lists(st.floats(-1e4, 1e4), min_size=5 * samples, max_size=5 * samples)
    values = np.resize(np.array(data.draw(few)), (models, samples))
    member = np.tile(np.arange(models) % 2 == 0, (samples, 1)).T
    assert np.isfinite(ulira_held_out(values, member)).all()


def test_accuracy_agrees_with_scikit_learn(rng):
    scores, member = rng.normal(size=(7, 30)), rng.random((7, 30)) < 0.5
    assert ulira_accuracy(scores, member) == pytest.approx(100 * accuracy_score(member.ravel(), scores.ravel() > 0))


def test_no_evidence_is_a_toss_of_a_coin():
    assert ulira_accuracy([0.0, 0.0, 0.0], [True, True, True]) == 50
    assert ulira_accuracy([1.0, -2.0, 0.0, 3.0], [True, False, True, False]) == pytest.approx(62.5)


@pytest.mark.parametrize(("models", "needed"), [(6, 2), (65, 3)])
def test_a_sample_with_too_few_shadows_to_hold_one_out_is_named(rng, models, needed):
    values, member, _ = shadow_models(rng, models, 5)
    member[:, 3] = np.arange(models) < needed - 1
    with pytest.raises(UsageError, match=rf"ulira_held_out needs at least {needed} shadow models trained on .* 3 has"):
        ulira_held_out(values, member)


def test_shadows_too_few_for_a_spread_without_one_of_them_are_refused(rng):
    member = np.array([[True], [True], [False], [False]])
    with pytest.raises(UsageError, match="ulira_held_out needs at least 3 shadow models"):
        ulira_held_out(rng.normal(size=(4, 1)), member)


def test_errors_name_the_score(rng):
    values, member, difficulty = shadow_models(rng, 8, 5)
    with pytest.raises(UsageError, match=r"^ulira needs at least 1 shadow models trained on"):
        ulira(difficulty, values, np.zeros_like(member))
    for scores, truth in (([], []), ([1.0], [True, False])):
        with pytest.raises(UsageError, match="ulira_accuracy needs"):
            ulira_accuracy(scores, truth)
