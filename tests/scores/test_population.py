from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import entropy as scipy_entropy
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC
from tests.scores.made_up import gaussian, moved, part, predictions, random_part

from natmu.errors import UsageError
from natmu.scores import (
    FEATURES,
    LIMIT,
    SIGNALS,
    auc_forget_test,
    efficacy_samples,
    leak,
    mia_efficacy,
    mia_entropy,
    tpr_forget_test,
)
from natmu.scores.population import _drawn
from natmu.types import Part, Predictions


def slow_mia_entropy(predicted, rows=2):
    """Minimise the objective of the code of SSD and JiT (src/metrics.py, lines 56-85) with a general optimiser.

    It asks for a multinomial regression with C = 1, which has a slope and an offset for each class; with one row it is
    the regression of a single slope.
    """
    member, nonmember, forgotten = (
        scipy_entropy(softmax(part.logits.astype(np.float64), axis=1), axis=1)
        for part in (predicted.retain, predicted.test, predicted.forget)
    )
    count = len(member) + len(nonmember)

    def objective(lines):
        slope, offset = lines[:2] - lines[2:] if rows == 2 else lines[:2]
        of_member = np.logaddexp(0, -(slope * member + offset)).mean()
        of_nonmember = np.logaddexp(0, slope * nonmember + offset).mean()
        return count / 2 * (of_member + of_nonmember) + (lines[::2] ** 2).sum() / 2

    found = minimize(objective, np.zeros(2 * rows), method="BFGS", options={"gtol": 1e-7}).x
    slope, offset = found[:2] - found[2:] if rows == 2 else found
    return 100 * np.mean(slope * forgotten + offset > 0)


def plain_feature(one, feature):
    shares = softmax(one.logits.astype(np.float64), axis=1)
    of_label = shares[np.arange(len(one)), one.labels]
    if feature == "mentropy":
        terms = -shares * np.log1p(-shares)
        terms[np.arange(len(one)), one.labels] = -(1 - of_label) * np.log(of_label)
        return terms.sum(axis=1, keepdims=True)
    return {
        "correctness": (shares.argmax(axis=1) == one.labels)[:, None].astype(float),
        "confidence": of_label[:, None],
        "entropy": scipy_entropy(shares, axis=1)[:, None],
        "prob": shares,
    }[feature]


def published_efficacy(predicted, feature):
    """Fit on all samples of two equally large sides, judge the forget set.

    Unlearn-Sparse and Unlearn-Saliency, evaluation/SVC_MIA.py, lines 54-83, which main_forget.py, lines 177-195, gives
    as many retain as test samples and no other target than the forget set.
    """
    member, nonmember, forgotten = (
        plain_feature(one, feature) for one in (predicted.retain, predicted.test, predicted.forget)
    )
    machine = SVC(C=3, kernel="rbf", gamma="auto").fit(
        np.concatenate([member, nonmember]), np.repeat([1, 0], [len(member), len(nonmember)])
    )
    return 100 * (1 - machine.predict(forgotten).mean())


def moved_predictions(predicted, offset):
    return Predictions(*(moved(one, offset) for one in (predicted.retain, predicted.forget, predicted.test)))


@pytest.mark.parametrize("forget", [2.0, 4.0, 6.0])
def test_mia_entropy_agrees_with_a_general_optimiser(rng, forget):
    predicted = predictions(rng, retain=6, forget=forget, test=3)
    assert mia_entropy(predicted) == pytest.approx(slow_mia_entropy(predicted), abs=1.0)


def test_mia_entropy_penalises_a_slope_for_each_class_as_the_published_code_does(rng):
    predicted = predictions(rng, retain=6, forget=4, test=3, counts=(5, 4000, 5))
    found = mia_entropy(predicted)
    assert found == pytest.approx(slow_mia_entropy(predicted), abs=0.2)
    assert abs(found - slow_mia_entropy(predicted, rows=1)) > 1


def test_mia_entropy_agrees_with_a_general_optimiser_on_tiny_entropies(rng):
    predicted = predictions(rng, retain=40, forget=20, test=14)
    assert mia_entropy(predicted) == pytest.approx(slow_mia_entropy(predicted), abs=1.0)


def test_mia_entropy_catches_a_model_that_memorised_and_not_a_retrained_one(rng):
    memorised = mia_entropy(predictions(rng, retain=16, forget=16, test=3))
    retrained = mia_entropy(predictions(rng, retain=16, forget=3, test=3))
    assert memorised > 95
    assert retrained < 50


def test_mia_entropy_ignores_a_constant_added_to_the_logits(rng):
    predicted = predictions(rng, retain=6, forget=4, test=3)
    assert mia_entropy(moved_predictions(predicted, 8)) == mia_entropy(predicted)


def test_mia_entropy_weighs_members_and_nonmembers_equally(rng):
    few, many = (predictions(rng, 8, 5, 3, counts=(count, 2000, 500)) for count in (500, 20_000))
    assert mia_entropy(few) == pytest.approx(mia_entropy(many), abs=5)


@pytest.mark.parametrize(("sure", "unsure"), [(1e4, 1e4), (1e4, 0.0), (0.0, 0.0)])
def test_attacks_on_identical_or_separated_answers_are_percentages(sure, unsure):
    def constant(count, height):
        return Part(np.tile(np.array([height, -height], np.float32), (count, 1)), np.zeros(count, np.int64))

    predicted = Predictions(constant(400, sure), constant(50, sure), constant(200, unsure))
    assert mia_entropy(predicted) == (100 if sure != unsure else pytest.approx(50, abs=50))
    for feature in FEATURES:
        separable = sure != unsure and feature != "correctness"
        assert mia_efficacy(predicted, feature) == (0 if separable else pytest.approx(50, abs=50))


@pytest.mark.parametrize(("retain", "test"), [(3, 3), (50, 20), (7, 3), (1000, 999)])
def test_mia_entropy_knows_nothing_where_all_entropies_are_equal(retain, test):
    """A fit would leave it to the last digit of the intercept."""
    sides = (part(np.zeros((count, 2)), np.zeros(count)) for count in (retain, 5, test))
    assert mia_entropy(Predictions(*sides)) == 50


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("forget", [2.0, 4.0, 6.0])
def test_mia_efficacy_agrees_with_a_plain_support_vector_machine(rng, feature, forget):
    predicted = predictions(rng, retain=6, forget=forget, test=3, counts=(400, 500, 400))
    assert mia_efficacy(predicted, feature) == pytest.approx(published_efficacy(predicted, feature), abs=0.6)


@pytest.mark.parametrize("feature", FEATURES)
def test_mia_efficacy_is_low_for_a_model_that_memorised(rng, feature):
    memorised = mia_efficacy(predictions(rng, retain=16, forget=16, test=2), feature)
    retrained = mia_efficacy(predictions(rng, retain=16, forget=2, test=2), feature)
    assert memorised < 10
    assert retrained > memorised + 30


def test_mia_efficacy_of_correctness_is_the_share_of_wrong_answers(rng):
    predicted = predictions(rng, retain=9, forget=3, test=3, counts=(3000, 400, 3000))
    wrong = np.mean(predicted.forget.logits.argmax(axis=1) != predicted.forget.labels)
    assert mia_efficacy(predicted, "correctness") == pytest.approx(100 * wrong)


@pytest.mark.parametrize("feature", FEATURES)
def test_mia_efficacy_ignores_a_constant_added_to_the_logits(rng, feature):
    predicted = predictions(rng, retain=6, forget=4, test=3)
    assert mia_efficacy(moved_predictions(predicted, 8), feature) == pytest.approx(mia_efficacy(predicted, feature))


def test_mia_efficacy_learns_from_a_bounded_sample_that_the_seed_decides(rng):
    predicted = predictions(rng, retain=5, forget=4, test=3, counts=(3000, 500, 900))
    assert efficacy_samples(predicted) == 900
    assert efficacy_samples(predicted, 100) == 100
    assert efficacy_samples(predictions(rng, 5, 4, 3, counts=(LIMIT + 1, 1, LIMIT + 1))) == LIMIT
    drawn = [mia_efficacy(predicted, "entropy", seed, limit=100) for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1


def unsure(rng, count, confidence, wrong):
    """Predictions of 10 classes in turn, some of which do not know the true class at all."""
    logits = rng.normal(0, 1.5, (count, 10))
    rise = rng.normal(confidence, confidence / 3, count) * (rng.random(count) > wrong)
    logits[np.arange(count), np.arange(count) % 10] += rise
    return part(logits, np.arange(count) % 10)


@pytest.mark.parametrize("feature", FEATURES)
def test_mia_efficacy_of_some_samples_is_without_bias_that_of_all(rng, feature):
    """With the same price per sample for fewer of them, means were 3 to 11 points away, correctness apart."""
    predicted = Predictions(unsure(rng, 2000, 9, 0.01), unsure(rng, 1000, 5, 0.1), unsure(rng, 2000, 6, 0.1))
    drawn = [mia_efficacy(predicted, feature, seed, limit=300) for seed in range(12)]
    # Their standard deviation is 1.6 points at most, and that of their mean 0.5.
    assert np.mean(drawn) == pytest.approx(published_efficacy(predicted, feature), abs=1.5)
    assert drawn == pytest.approx([np.mean(drawn)] * 12, abs=6)


@pytest.mark.parametrize("classes", [[50, 30, 20], [1, 0, 99], [34, 33, 33]])
def test_samples_that_an_attack_learns_from_are_distinct_and_have_the_classes_in_proportion(rng, classes):
    labels = rng.permutation(np.repeat([0, 1, 2], classes))
    for count in (1, 7, 50, 99, 100):
        rows = _drawn(labels, count, rng)
        assert len(np.unique(rows)) == count
        drawn = np.bincount(labels[rows], minlength=3)
        assert (np.abs(drawn - np.array(classes) * count / 100) <= 1).all()


def test_every_sample_is_as_likely_to_be_learned_from(rng):
    labels = np.repeat([0, 1], [15, 25])
    counts = sum(np.bincount(_drawn(labels, 12, rng), minlength=40) for _ in range(4000))
    assert np.abs(counts - 1200).max() < 5 * np.sqrt(1200 * 0.7)


def test_mia_efficacy_judges_the_whole_forget_set(rng):
    predicted = predictions(rng, retain=9, forget=3, test=2, counts=(200, 5001, 200))
    assert (mia_efficacy(predicted, "confidence") * 5001 / 100) % 1 == pytest.approx(0, abs=1e-6)
    assert mia_efficacy(predicted, "confidence") == pytest.approx(published_efficacy(predicted, "confidence"), abs=0.6)


@pytest.mark.parametrize("empty", ["retain", "forget", "test"])
def test_attacks_without_samples_are_refused(rng, empty):
    counts = tuple(0 if name == empty else 30 for name in ("retain", "forget", "test"))
    predicted = predictions(rng, 4, 4, 4, counts)
    with pytest.raises(UsageError, match="mia_entropy needs"):
        mia_entropy(predicted)
    with pytest.raises(UsageError, match="mia_efficacy needs"):
        mia_efficacy(predicted, "prob")
    if empty != "retain":
        with pytest.raises(UsageError, match="needs forget samples"):
            auc_forget_test(predicted, "loss")
        with pytest.raises(UsageError, match="needs forget samples"):
            tpr_forget_test(predicted, 0.5)


def test_unknown_features_signals_and_limits_are_refused(rng):
    predicted = predictions(rng, 4, 4, 4)
    with pytest.raises(UsageError, match="correctness, confidence"):
        mia_efficacy(predicted, "logits")
    with pytest.raises(UsageError, match="mentropy, margin"):
        auc_forget_test(predicted, "prob")
    with pytest.raises(UsageError, match="at least 1"):
        mia_efficacy(predicted, "prob", limit=0)


@pytest.mark.parametrize("signal", ["loss", "confidence", "mentropy", "margin"])
@pytest.mark.parametrize("delta", [-2.0, 0.0, 1.0])
def test_auc_of_two_gaussians_has_a_closed_form(signal, delta):
    """The loss, the confidence and, for two classes, the modified entropy are monotone in the margin."""
    predicted = Predictions(gaussian(3), gaussian(delta), gaussian(0))
    expected = norm.cdf(delta / np.sqrt(2))
    assert auc_forget_test(predicted, signal) == pytest.approx(expected, abs=1e-4)
    assert leak(auc_forget_test(predicted, signal)) == pytest.approx(abs(expected - 0.5), abs=1e-4)


@pytest.mark.parametrize("delta", [0.0, 1.0, 4.0])
def test_tpr_of_two_gaussians_has_a_closed_form(delta):
    predicted = Predictions(gaussian(3), gaussian(delta), gaussian(0))
    for fpr in (0.01, 0.001):
        assert tpr_forget_test(predicted, fpr) == pytest.approx(100 * norm.cdf(delta - norm.isf(fpr)), abs=0.1)


@pytest.mark.parametrize("signal", SIGNALS)
def test_auc_agrees_with_scikit_learn_and_rises_when_a_model_memorised(rng, signal):
    predicted = predictions(rng, retain=9, forget=9, test=3)
    feature = {"loss": "confidence", "margin": "confidence"}.get(signal, signal)
    plain = np.concatenate([plain_feature(one, feature)[:, 0] for one in (predicted.forget, predicted.test)])
    turned = -plain if signal in ("entropy", "mentropy") else plain
    truth = np.repeat([1, 0], [len(predicted.forget), len(predicted.test)])
    assert auc_forget_test(predicted, signal) == pytest.approx(roc_auc_score(truth, turned), abs=1e-6)
    assert auc_forget_test(predicted, signal) > 0.9


@pytest.mark.parametrize("signal", SIGNALS)
def test_auc_is_a_half_within_its_interval_when_forget_samples_are_like_unseen_ones(signal):
    count, seeds = 500, 20
    spread = np.sqrt((2 * count + 1) / (12 * count**2))
    areas = [
        auc_forget_test(predictions(np.random.default_rng(seed), 9, 4, 4, counts=(1, count, count)), signal)
        for seed in range(seeds)
    ]
    assert np.abs(np.array(areas) - 0.5).max() < 4 * spread
    assert abs(np.mean(areas) - 0.5) < 4 * spread / np.sqrt(seeds)


def test_a_forgotten_class_is_compared_with_unseen_samples_of_that_class(rng):
    """A retrained model knows neither of them, so it must not look as if it leaked."""
    forget, same, others = random_part(rng, 300, 0.1), random_part(rng, 300, 0.1), random_part(rng, 300, 6)
    retrained = Predictions(random_part(rng, 900, 6), forget, others, forget_test=same)
    assert leak(auc_forget_test(retrained, "margin")) < 0.1
    assert leak(auc_forget_test(Predictions(retrained.retain, forget, others), "margin")) > 0.3
    assert tpr_forget_test(retrained, 0.01) < 10
    nothing = Predictions(retrained.retain, forget, others, forget_test=part(np.empty((0, 10)), []))
    with pytest.raises(UsageError, match="test samples of the forgotten classes"):
        auc_forget_test(nothing, "margin")


def test_a_rate_that_the_test_set_is_too_small_for_is_refused(rng):
    with pytest.raises(UsageError, match="at least 1000 non-members"):
        tpr_forget_test(predictions(rng, 4, 4, 4), 0.001)
