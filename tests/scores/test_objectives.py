"""What a search minimises, against closed forms and plain counting."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from tests.scores.made_up import gaussian, part, predictions

from natmu.errors import SettingError, TrainingError, UsageError
from natmu.scores import mia_entropy
from natmu.scores.objectives import (
    LEAST_NOISE,
    NO_RETRAIN_TERMS,
    RETRAINED_TERMS,
    Judgement,
    against_retrained,
    largest_distance,
    noise_without_retrained,
    on_holdout,
    ranked,
    without_retrained,
)
from natmu.types import ForgetSet, Outputs, Predictions

VALUES = st.lists(st.integers(-5, 5), min_size=1, max_size=20)


def answered(right, wrong):
    """Predictions of three classes, all equally sure, so many right and so many wrong."""
    labels = np.zeros(right + wrong, np.int64)
    logits = np.tile([2.0, 0.0, 0.0], (right + wrong, 1))
    logits[right:] = [0.0, 2.0, 0.0]
    return part(logits, labels)


def half(right, wrong):
    """A model that remembers nothing of the forget set beyond what it knows of the holdout."""
    return Predictions(answered(10, 0), answered(right, wrong), answered(right, wrong))


@given(VALUES, VALUES)
def test_the_largest_distance_is_that_of_kolmogorov_and_smirnov(first, second):
    slow = max(abs(np.mean(np.array(first) <= at) - np.mean(np.array(second) <= at)) for at in range(-5, 6))
    assert largest_distance(first, second) == pytest.approx(slow)


@pytest.mark.parametrize("distance", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_gaussian_margins_have_the_distance_and_the_attack_of_the_closed_form(distance, sign):
    """All margins are far above 0, so the entropy falls with the margin: both attacks see Gaussians so far apart."""
    unseen, forgotten = gaussian(8.0, 20_001), gaussian(8.0 + sign * distance, 20_001)
    model = Predictions(unseen, forgotten, unseen)
    terms = without_retrained(model, model, whole_classes=False).terms
    assert terms["forget_loss"] == pytest.approx(100 * (2 * norm.cdf(distance / 2) - 1), abs=0.05)
    assert terms["forget_attack"] == pytest.approx(200 * (norm.cdf(distance / 2**0.5) - 0.5), abs=0.05)
    assert terms["forget_acc"] == terms["retain_acc"] == terms["holdout_acc"] == 0


def test_a_model_to_which_forget_and_unseen_samples_are_alike_and_that_lost_nothing_has_0():
    found = without_retrained(half(6, 4), half(6, 4), whole_classes=False)
    assert found.value == 0
    assert found.terms == dict.fromkeys(NO_RETRAIN_TERMS, 0)


def test_each_term_counts_what_it_says_and_the_halves_weigh_the_same():
    original = Predictions(answered(10, 0), answered(10, 0), answered(8, 2))
    model = Predictions(answered(9, 1), answered(3, 7), answered(5, 5))
    found = without_retrained(model, original, whole_classes=False)
    terms = {"forget_acc": 50, "forget_loss": 50, "forget_attack": 0, "retain_acc": 10, "holdout_acc": 30}
    assert found.terms == pytest.approx(terms)
    assert tuple(found.terms) == NO_RETRAIN_TERMS
    assert found.value == pytest.approx(((50 + 50 + 0) / 3 + (10 + 30) / 2) / 2)


@pytest.mark.parametrize("shift", [0.5, -0.5, 2.0])
def test_a_model_that_is_less_certain_of_everything_is_as_far_as_its_certainty_moved(shift):
    """To the model itself forget and unseen samples are alike; those that the original never saw looked otherwise."""
    before, after = gaussian(8.0, 20_001), gaussian(8.0 - shift, 20_001)
    model, original = Predictions(after, after, after), Predictions(before, before, before)
    found = without_retrained(model, original, whole_classes=False)
    apart = 100 * (2 * norm.cdf(abs(shift) / 2) - 1)
    assert found.terms == pytest.approx({**dict.fromkeys(NO_RETRAIN_TERMS, 0), "forget_loss": apart}, abs=0.05)
    assert found.value == pytest.approx(apart / 6, abs=0.02)


def test_an_attacker_has_the_model_alone():
    """Forget samples are what the original's unseen ones were, but the model's own unseen ones are not."""
    before, after = gaussian(8.0, 20_001), gaussian(7.0, 20_001)
    model, original = Predictions(before, before, after), Predictions(before, before, before)
    found = without_retrained(model, original, whole_classes=False)
    attack = 200 * (norm.cdf(1 / 2**0.5) - 0.5)
    assert found.terms == pytest.approx({**dict.fromkeys(NO_RETRAIN_TERMS, 0), "forget_attack": attack}, abs=0.05)


def test_a_forget_set_that_is_avoided_is_as_bad_as_one_that_is_remembered():
    above = Predictions(answered(10, 0), answered(9, 1), answered(6, 4))
    below = Predictions(answered(10, 0), answered(3, 7), answered(6, 4))
    one, other = (without_retrained(model, half(6, 4), whole_classes=False) for model in (above, below))
    assert one.value == pytest.approx(other.value)
    assert one.terms["forget_acc"] == pytest.approx(30)


def test_what_is_kept_may_gain_over_the_original():
    original = Predictions(answered(5, 5), answered(5, 5), answered(5, 5))
    better = Predictions(answered(10, 0), answered(5, 5), answered(9, 1))
    assert without_retrained(better, original, whole_classes=False).value == 0


def test_of_whole_classes_the_accuracy_must_be_gone_and_unseen_samples_are_of_the_same_class():
    gone, known = answered(0, 10), answered(6, 4)
    rest = answered(8, 2)
    without = Predictions(answered(10, 0), gone, rest, forget_test=gone)
    generalises = Predictions(answered(10, 0), known, rest, forget_test=known)
    assert without_retrained(without, without, whole_classes=True).value == 0
    found = without_retrained(generalises, without, whole_classes=True)
    assert found.terms == {**dict.fromkeys(NO_RETRAIN_TERMS, 0), "forget_acc": 60}
    of_sub_classes = without_retrained(generalises, without, whole_classes=False)
    assert of_sub_classes.value == 0


def test_the_kept_accuracy_is_without_the_forgotten_classes():
    gone = answered(0, 10)
    original = Predictions(answered(10, 0), answered(10, 0), answered(8, 2), forget_test=answered(10, 0))
    model = Predictions(answered(10, 0), gone, answered(8, 2), forget_test=gone)
    assert without_retrained(model, original, whole_classes=True).value == 0


def test_the_objective_retrained_is_the_mean_distance_of_its_terms(rng):
    model, first, second = (predictions(rng, 6, confidence, 2) for confidence in (5, 1, 3))
    found = against_retrained(model, [first, second])

    def four(one):
        parts = (one.test, one.retain, one.forget)
        return [*(100 * np.mean(p.logits.argmax(1) == p.labels) for p in parts), mia_entropy(one)]

    gaps = np.abs(np.array(four(model)) - np.mean([four(first), four(second)], axis=0))
    assert tuple(found.terms) == RETRAINED_TERMS
    assert [*found.terms.values()] == pytest.approx(gaps)
    assert found.value == pytest.approx(gaps.mean())
    assert against_retrained(model, [model]).value == 0


def outputs(rng):
    def labelled(count):
        return part(rng.normal(size=(count, 3)), np.arange(count) % 3)

    return Outputs(labelled(30), labelled(21), labelled(12))


def test_the_holdout_stands_for_the_test_data_and_nothing_of_the_latter_is_read(rng):
    seen = outputs(rng)
    poisoned = replace(seen, test=part(np.full((21, 3), np.nan), np.full(21, 99)))
    forget = ForgetSet(np.arange(5), "random:5", "random")
    one, other = (on_holdout(each, forget) for each in (seen, poisoned))
    assert one.test is not None
    assert np.array_equal(one.test.logits, seen.holdout.logits)
    assert one.forget_test is None
    assert without_retrained(one, one, whole_classes=False) == without_retrained(other, other, whole_classes=False)
    assert against_retrained(one, [other]).value == 0


def test_of_a_forgotten_class_the_holdout_is_divided(rng):
    seen = outputs(rng)
    forget = ForgetSet(np.flatnonzero(seen.train.labels == 2), "class:2", "class", (2,))
    found = on_holdout(seen, forget)
    assert found.test.labels.tolist() == [0, 1] * 4
    assert found.forget_test.labels.tolist() == [2] * 4
    assert np.array_equal(found.forget_test.logits, seen.holdout.logits[2::3])


def test_without_a_holdout_nothing_is_searched(rng):
    forget = ForgetSet(np.arange(5), "random:5", "random")
    with pytest.raises(SettingError, match=r"data\.holdout: true"):
        on_holdout(replace(outputs(rng), holdout=None), forget)


def test_what_cannot_be_judged_is_refused():
    model = half(6, 4)
    with pytest.raises(UsageError, match="forgotten classes"):
        without_retrained(replace(model, forget_test=answered(0, 0)), model, whole_classes=True)
    with pytest.raises(UsageError, match="at least one model"):
        against_retrained(model, [])
    broken = replace(model, forget=part([[np.nan, 0.0, 0.0]], [0]))
    with pytest.raises(TrainingError, match="diverged"):
        without_retrained(broken, model, whole_classes=False)
    with pytest.raises(TrainingError, match="diverged"):
        against_retrained(broken, [model])


def test_the_noise_is_that_of_two_samples_of_one_distribution(rng):
    """Quantiles of the two-sample Kolmogorov-Smirnov distance, of a Mann-Whitney AUC and of two binomials' distance."""
    forgotten, unseen, retain, holdout = 400, 1600, 900, 1600
    original = Predictions(
        answered(retain * 4 // 5, retain // 5),
        part(rng.normal(size=(forgotten, 3)), np.zeros(forgotten, np.int64)),
        part(rng.normal(size=(holdout, 3)), np.zeros(holdout, np.int64)),
    )
    found = noise_without_retrained(original, whole_classes=False, seed=0)
    shares = 1 / forgotten + 1 / unseen
    expected = {
        "forget_acc": 100 * norm.ppf(0.975) * (2 / 9 * shares) ** 0.5,
        "forget_loss": 100 * 1.358 * shares**0.5,
        "forget_attack": 200 * norm.ppf(0.975) * (shares / 12) ** 0.5,
        "retain_acc": 100 * norm.ppf(0.95) * (2 * 0.16 / retain) ** 0.5,
        "holdout_acc": 100 * norm.ppf(0.95) * (2 * 2 / 9 / holdout) ** 0.5,
    }
    assert found.terms == pytest.approx(expected, rel=0.25)  # of a quantile of 200 draws
    assert found.value < sum(expected.values()) / 2
    assert noise_without_retrained(original, whole_classes=True, seed=0).terms["forget_acc"] == 0


def test_what_is_lost_beyond_the_noise_is_told_and_comes_last():
    original = Predictions(answered(100, 0), answered(6, 4), answered(6, 4))
    noise = Judgement(5.0, {"retain_acc": 4.0})
    lost = {}
    for right in (100, 97, 96, 88):
        model = Predictions(answered(right, 100 - right), answered(6, 4), answered(6, 4))
        lost[right] = without_retrained(model, original, whole_classes=False, noise=noise).lost
        assert against_retrained(model, [original], noise).lost == pytest.approx(lost[right])
    assert lost == pytest.approx({100: 0, 97: 0, 96: 0, 88: 8})
    little = Judgement(0.0, {"retain_acc": 0.0})
    assert against_retrained(model, [original], little).lost == pytest.approx(12 - LEAST_NOISE)
    assert ranked([Judgement(90.0, {})]) < ranked([Judgement(0.0, {}, 0.1)]) < ranked([Judgement(0.0, {}, 8.0)])


@pytest.fixture(scope="module")
def networks():
    """Small networks on digits: an original, and two that never saw 60 of its samples; all remember what they saw."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    train, unseen = np.split(rng.permutation(len(labels))[:900], [300])
    noisy = np.where(rng.random(len(labels)) < 0.25, rng.integers(0, 10, len(labels)), labels)

    def predictions_of(rows, seed):
        network = MLPClassifier((128,), max_iter=150, tol=0, n_iter_no_change=200, random_state=seed)
        network.fit(images[rows] / 16, noisy[rows])

        def of(where):
            return part(np.log(network.predict_proba(images[where] / 16) + 1e-9), noisy[where])

        return Predictions(of(train[60:]), of(train[:60]), of(unseen))

    return predictions_of(train, 0), [predictions_of(train[60:], seed) for seed in (1, 2)]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_retrained_networks_win_over_the_original_and_over_damage(networks, rng):
    """Noise on the logits hides what was remembered, and costs what should be kept."""
    original, references = networks
    noise = noise_without_retrained(original, whole_classes=False, seed=0)

    def damaged(model, scale):
        def blurred(one):
            return part(one.logits + scale * rng.normal(size=one.logits.shape), one.labels)

        return Predictions(*(blurred(one) for one in (model.retain, model.forget, model.test)))

    def judged(model):
        return without_retrained(model, original, whole_classes=False, noise=noise)

    retrained = [judged(one) for one in references]
    rivals = [judged(damaged(original, scale)) for scale in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24)]
    assert {one.lost for one in retrained} == {0}
    worst = max(map(ranked, ([one] for one in retrained)))
    assert all(ranked([one]) > worst - noise.value for one in rivals)
    assert all(ranked([one]) > worst for one in rivals if one.lost)
    assert any(one.lost for one in rivals)
    apart = against_retrained(references[1], references[:1])
    own = [against_retrained(one, references, apart) for one in references]
    others = [against_retrained(damaged(original, scale), references, apart) for scale in (0, 2, 8, 16)]
    assert max(ranked([one]) for one in own) < min(ranked([one]) for one in others)


def test_damage_that_has_the_lower_value_by_chance_does_not_win():
    """Of 20 forgotten photographs and 60 unseen ones, chance alone is worth more than 12 points of retain accuracy."""
    rng = np.random.default_rng(0)

    def world(kept):
        def unsure(count):
            wrong = np.zeros((count, 3))
            wrong[np.arange(count), 0] = rng.normal(1.5, 2, count)
            return part(wrong, np.zeros(count, np.int64))

        return Predictions(answered(kept, 250 - kept), unsure(20), unsure(60))

    before = world(250)
    original = replace(before, forget=answered(20, 0))
    noise = noise_without_retrained(original, whole_classes=False, seed=0)

    def judged(kept):
        return without_retrained(world(kept), original, whole_classes=False, noise=noise)

    pairs = [(judged(250), judged(220)) for _ in range(100)]
    taken_in = sum(damaged.value < retrained.value for retrained, damaged in pairs)
    assert taken_in > 10, "the mean alone would fall for it"
    assert all(ranked([retrained]) < ranked([damaged]) for retrained, damaged in pairs)
    assert np.mean([retrained.value > noise.value for retrained, _ in pairs]) < 0.2
