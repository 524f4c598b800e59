from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from natmu.errors import UsageError
from natmu.scores import references
from natmu.scores.lira import SIGMA_FLOOR, lira_offline, lira_online

from .shadows import shadow_models, slow_fit, slow_online

ATTACKS = [lira_online, lira_offline]


@pytest.mark.parametrize("models", [4, 16, 63, 64, 70])
def test_lira_agrees_with_scipy_on_gaussians_fitted_sample_by_sample(rng, models):
    values, member, difficulty = shadow_models(rng, models, 50, spread_in=0.5)
    target = difficulty + rng.normal(1, 2, 50)
    assert lira_online(target, values, member) == pytest.approx(slow_online(target, values, member), rel=1e-9)
    outside = norm(*slow_fit(values, ~member))
    assert norm.logcdf(lira_offline(target, values, member)) == pytest.approx(outside.logcdf(target), rel=1e-9)


@pytest.mark.parametrize("models", [63, 64])
def test_lira_agrees_with_scipy_where_samples_have_unlike_numbers_of_shadows(rng, models):
    values, _, difficulty = shadow_models(rng, models, 40)
    member = rng.random((models, 40)) < rng.uniform(0.3, 0.7, 40)
    target = difficulty + rng.normal(1, 2, 40)
    assert lira_online(target, values, member) == pytest.approx(slow_online(target, values, member), rel=1e-9)


def test_variances_become_each_samples_own_from_64_shadows_on(rng):
    values, member, difficulty = shadow_models(rng, 64, 30)
    values[:, 0] = difficulty[0] + 100 * (values[:, 0] - difficulty[0])
    target = difficulty + 1.5
    few, many = (lira_offline(target, values[:count], member[:count]) for count in (63, 64))
    assert np.median(np.abs(few[1:])) < 0.2
    assert np.median(np.abs(many[1:])) > 1


def test_the_likelihood_ratio_of_many_shadows_is_the_analytic_one(rng):
    models, samples, lift, spread_in, spread_out = 4000, 200, 2.0, 0.7, 1.3
    values, member, difficulty = shadow_models(rng, models, samples, lift, spread_in, spread_out)
    target = difficulty + rng.uniform(-1, 3, samples)
    exact = norm.logpdf(target, difficulty + lift, spread_in) - norm.logpdf(target, difficulty, spread_out)
    # Each mean is known to spread / sqrt(2000), so that ratios this far out are known to about 0.1.
    error = lira_online(target, values, member) - exact
    assert np.abs(error).max() < 0.5
    assert error.mean() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_auc_on_two_gaussians_is_the_analytic_one(rng, attack):
    lift, samples = 1.5, 8000
    values, member, difficulty = shadow_models(rng, 64, samples, lift)
    is_member = rng.random(samples) < 0.5
    target = difficulty + lift * is_member + rng.normal(size=samples)
    expected = norm.cdf(lift / math.sqrt(2))
    assert roc_auc_score(is_member, attack(target, values, member)) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_that_memorised_is_caught_and_an_exchangeable_one_is_not(rng, attack):
    values, member, difficulty = shadow_models(rng, 16, 4000, lift=4.0)
    is_member = np.arange(4000) % 2 == 0
    memorised = attack(difficulty + 4.0 * is_member + rng.normal(size=4000), values, member)
    never_saw = attack(difficulty + rng.normal(size=4000), values, member)
    assert roc_auc_score(is_member, memorised) > 0.9
    # The standard deviation of the AUC of 2000 against 2000 like samples is 0.0091.
    assert roc_auc_score(is_member, never_saw) == pytest.approx(0.5, abs=4 * 0.0091)


def test_exchangeable_shadows_give_no_evidence(rng):
    values, member, difficulty = shadow_models(rng, 128, 3000, lift=0.0)
    scores = lira_online(difficulty + rng.normal(size=3000), values, member)
    assert np.median(scores) == pytest.approx(0, abs=0.02)
    assert np.abs(scores).mean() < 0.3


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("models", [16, 64])
def test_a_constant_added_to_all_margins_changes_nothing(rng, attack, models):
    values, member, difficulty = shadow_models(rng, models, 60)
    target = difficulty + rng.normal(1, 2, 60)
    moved = attack(target + 1e4, values + 1e4, member)
    assert moved == pytest.approx(attack(target, values, member), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("models", [16, 64])
def test_samples_are_scored_alike_in_one_block_and_in_many(rng, monkeypatch, models):
    values, member, difficulty = shadow_models(rng, models, 61)
    target = difficulty + 1
    whole = [attack(target, values, member) for attack in ATTACKS]
    monkeypatch.setattr(references.blocks, "__defaults__", (7 * models,))
    assert [attack(target, values, member) for attack in ATTACKS] == pytest.approx(np.array(whole), rel=1e-12)


@pytest.mark.parametrize("models", [4, 64])
@pytest.mark.parametrize("height", [0.0, -1e4, 1e4, 0.1])
def test_shadows_that_all_say_the_same_have_a_standard_deviation_of_the_floor(models, height):
    values, member = np.full((models, 3), height), np.tile(np.arange(models) % 2 == 0, (3, 1)).T
    target = height + np.array([0.0, SIGMA_FLOOR, -1.0])
    assert lira_online(target, values, member) == pytest.approx([0, 0, 0], abs=1e-6)
    expected = [0, 1, -1 / SIGMA_FLOOR]
    assert lira_offline(target, values, member) == pytest.approx(expected, rel=1e-5, abs=1e-5)


margin = st.floats(-1e4, 1e4)


@given(data=st.data(), models=st.sampled_from([4, 66]), samples=st.integers(1, 3))
def test_scores_are_finite_and_off_line_ones_rise_with_the_margin(data, models, samples):
    few = st.lists(margin, min_size=4 * samples, max_size=4 * samples)
    values = np.resize(np.array(data.draw(few)), (models, samples))
    member = np.tile(np.arange(models) % 2 == 0, (samples, 1)).T
    lower, upper = np.sort(np.array([data.draw(margin), data.draw(margin)]))
    low, high = np.full(samples, lower), np.full(samples, upper)
    assert np.isfinite(lira_online(low, values, member)).all()
    assert (lira_offline(high, values, member) >= lira_offline(low, values, member)).all()


def test_lira_reads_float32_and_lists(rng):
    values, member, difficulty = shadow_models(rng, 8, 20)
    single = values.astype(np.float32)
    assert lira_online(list(difficulty), single, member.tolist()) == pytest.approx(
        lira_online(difficulty, single.astype(np.float64), member), rel=1e-12
    )


@pytest.mark.parametrize(("models", "needed"), [(6, 1), (64, 2)])
def test_a_sample_with_too_few_shadows_is_named(rng, models, needed):
    values, member, difficulty = shadow_models(rng, models, 5)
    member[:, 3] = np.arange(models) < needed - 1
    with pytest.raises(UsageError, match=rf"lira_online needs at least {needed} shadow models trained on .* sample 3 "):
        lira_online(difficulty, values, member)
    assert np.isfinite(lira_offline(difficulty, values, member)).all()
    with pytest.raises(UsageError, match=rf"lira_offline needs at least {needed} shadow models not trained on"):
        lira_offline(difficulty, values, ~member)


def test_shadows_without_any_spread_to_learn_from_are_refused(rng):
    member = np.array([[True] * 3, [False] * 3])
    with pytest.raises(UsageError, match="lira_online needs at least 2 shadow models"):
        lira_online(np.zeros(3), rng.normal(size=(2, 3)), member)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_margins_that_are_not_finite_are_refused(rng, attack, wrong):
    values, member, difficulty = shadow_models(rng, 8, 5)
    values[2, 3] = wrong
    with pytest.raises(UsageError, match="finite numbers"):
        attack(difficulty, values, member)
    with pytest.raises(UsageError, match="finite numbers"):
        attack(np.full(5, wrong), np.zeros((8, 5)), member)


@pytest.mark.parametrize("attack", ATTACKS)
def test_shapes_that_do_not_fit_are_refused(rng, attack):
    values, member, difficulty = shadow_models(rng, 8, 5)
    for target, shadows, known in (
        (difficulty[:4], values, member),
        (difficulty, values[0], member),
        (difficulty, values, member[:7]),
        (difficulty, values, member.astype(int)),
        (difficulty, values[:0], member[:0]),
    ):
        with pytest.raises(UsageError, match=attack.__name__):
            attack(target, shadows, known)
