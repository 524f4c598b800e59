"""The check of an original: what is an error, what is a warning, and what honest models are spared."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from natmu.errors import ModelError
from natmu.scores.original_check import FormTrial, better_forms, chance, check_original, near_chance, wrong_order
from natmu.types import ForgetSet, Outputs, Part

TWELVE = sorted(map(str, range(12)))  # 0, 1, 10, 11, 2, …: the order of folders


def answered(labels, predicted, classes):
    """Predictions without doubt on one part of the data."""
    return Part(np.eye(classes, dtype=np.float32)[predicted], np.asarray(labels))


def outputs(labels, predicted, classes, test=None):
    """Predictions without doubt."""
    part = answered(labels, predicted, classes)
    return Outputs(part, part.take(np.zeros(0, np.int64)) if test is None else test)


def honest(rng, classes, count, right, shares=None):
    """Labels, and predictions that are right so often and else by chance, each class by its share."""
    labels = rng.choice(classes, count, p=shares)
    return labels, np.where(rng.random(count) < right, labels, rng.choice(classes, count, p=shares))


def test_chance_is_the_mean_over_all_shuffles():
    labels, predicted = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    shuffles = [np.mean(labels == predicted[list(order)]) for order in itertools.permutations(range(4))]
    assert chance(labels, predicted, 3) == pytest.approx(np.mean(shuffles))


def test_the_order_is_the_best_of_all_orders():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    order = np.array([2, 0, 1, 3])
    predicted = np.where(rng.random(400) < 0.9, order[labels], rng.integers(0, 4, 400))
    best = max(np.mean(np.array(one)[labels] == predicted) for one in itertools.permutations(range(4)))
    ((sentence, _),) = wrong_order(labels, predicted, ["a", "b", "c", "d"])
    assert f"in another order of the classes it would be right on {100 * best:.1f} %" in sentence
    assert "images of 'a' are most often taken for 'c'" in sentence


def test_weights_in_natural_order_on_folders_in_alphabetical_order():
    """The case of torchvision issue 714: right on 2 of 12 classes, and a forgotten class looks perfect."""
    labels = np.repeat(np.arange(12), 20)
    predicted = np.array([int(TWELVE[label]) for label in labels])
    predicted[:4] = 5
    forget = ForgetSet(np.flatnonzero(labels == 3), "class:11", "class", (3,))
    found = check_original(outputs(labels, predicted, 12), forget, TWELVE)
    assert found.accuracies["forget_acc"] == 0
    with pytest.raises(ModelError, match=r"'10' are most often taken for '8'.* in natural order .* right on 98.3 %"):
        found.require()
    assert "in natural order (--class-order natural, without --classes) it would" in found.causes[0]
    assert not check_original(outputs(labels, labels, 12), forget, TWELVE).causes


@pytest.mark.parametrize("given", [[*map(str, range(12))], ["sea", "cat", "dog", "ape"]])
def test_weights_in_alphabetical_order_on_classes_in_an_order_of_their_own(given):
    labels = np.repeat(np.arange(len(given)), 20)
    predicted = np.array([sorted(given).index(given[label]) for label in labels])
    (cause,) = check_original(outputs(labels, predicted, len(given)), None, given).causes
    assert "in alphabetical order (leave out --classes and --class-order) it would be right on 100.0 %" in cause


def test_test_data_in_another_order_of_the_classes():
    """Training data may be right, and test data read with other numbers: its accuracy would mean nothing."""
    labels, names = np.repeat(np.arange(4), 30), ["a", "b", "c", "d"]
    swapped = np.array([1, 0, 2, 3])[labels]
    found = check_original(outputs(labels, labels, 4, test=answered(labels, swapped, 4)), None, names)
    with pytest.raises(ModelError, match=r"'a' are most often taken for 'b'.* would be right on 100.0 % of test"):
        found.require()
    few = np.repeat(np.arange(4), 3)
    found = check_original(outputs(labels, labels, 4, test=answered(few, 3 - few, 4)), None, names)
    assert not found.causes
    assert "images of 'a' are most often taken for 'd'" in found.warnings[0]


def test_two_small_classes_in_another_order_are_warned_of():
    labels = np.repeat(np.arange(20), 6)
    predicted = np.where(labels == 3, 7, np.where(labels == 7, 3, labels))
    found = check_original(outputs(labels, predicted, 20), None, [*map(str, range(20))])
    assert not found.causes
    assert "images of '3' are most often taken for '7'" in found.warnings[0]


def test_no_honest_model_is_refused():
    rng = np.random.default_rng(1)
    skewed = np.array([0.9, 0.06, 0.03, 0.01])
    for number in range(100):
        classes, count = int(rng.integers(2, 30)), int(rng.integers(100, 2000))
        right = rng.uniform(0.3, 1)
        found = check_original(outputs(*honest(rng, classes, count, right), classes), None, [*map(str, range(classes))])
        assert not found.causes, (number, classes, count, right, found.causes)
        labels = rng.integers(0, classes, int(rng.integers(1, 6)) * classes)
        poor = answered(labels, rng.integers(0, classes, len(labels)), classes)
        found = check_original(outputs(labels, labels, classes, test=poor), None, [*map(str, range(classes))])
        assert (found.causes, found.warnings) == ((), ()), (number, classes, len(labels), found)
        labels, predicted = honest(rng, 4, 1000, right, skewed)
        predicted[labels == 3] = 0  # rare, and neglected
        assert not check_original(outputs(labels, predicted, 4), None, ["a", "b", "c", "d"]).causes
    weak = check_original(outputs(*honest(rng, 10, 500, 0.35), 10), None, [*map(str, range(10))])
    assert weak.warnings
    assert "normalisation" in weak.warnings[0]
    perfect = np.zeros(5, np.int64)
    assert not check_original(outputs(perfect, perfect, 2), None, ["a", "b"]).causes


def test_untrained_models_are_refused():
    rng = np.random.default_rng(2)
    for classes in (2, 3, 10, 100):
        labels = rng.integers(0, classes, 1000)
        for predicted in (rng.integers(0, classes, 1000), np.zeros(1000, np.int64)):
            with pytest.raises(ModelError, match="near chance; look at class order, normalisation, image size"):
                check_original(outputs(labels, predicted, classes), None, [*map(str, range(classes))]).require()


def test_the_rate_of_false_alarms_near_chance_is_as_stated():
    """Two equal classes, kappa 0.3, so 65 % right: how often is kappa at most 0.1, so at most 55 % right?"""
    assert binom.cdf(55, 100, 0.65) < 1 / 40
    assert binom.cdf(110, 200, 0.65) < 1 / 400
    assert near_chance(0.549, 0.5)
    assert not near_chance(0.56, 0.5)
    assert near_chance(0.019, 0.01)
    assert not near_chance(0.03, 0.01)


def test_a_common_class_that_is_never_predicted_is_refused_unless_it_was_forgotten():
    labels = np.repeat(np.arange(4), 50)
    predicted = np.where(labels == 2, 1, labels)
    names = ["a", "b", "c", "d"]
    with pytest.raises(ModelError, match=r"hardly ever predicted \(c\).* forgot those before, say so"):
        check_original(outputs(labels, predicted, 4), None, names).require()
    earlier = ForgetSet(np.flatnonzero(labels == 2), "class:c", "class", (2,))
    later = ForgetSet(np.array([0, 1]), "indices:x", "indices").after(earlier)
    found = check_original(outputs(labels, predicted, 4), later, names)
    assert found.accuracies == {"train_acc": 100, "forget_acc": 100}
    assert not found.causes


def test_the_form_that_halves_the_errors_comes_first():
    right = np.arange(256) < 136
    trials = {
        "colours": FormTrial(right, np.arange(256) < 210),
        "normalisation": FormTrial(right, np.arange(256) < 256),
        "pixels": FormTrial(right, np.arange(256) < 180),
    }
    first, second = better_forms(trials)
    assert first == "normalisation: right on 100.0 % instead of 53.1 % of 256 training samples"
    assert second.startswith("colours: right on 82.0 %")
    few = {"normalisation": FormTrial(right[126:146], np.ones(20, bool))}
    assert not better_forms(few)  # ten more right of twenty may be luck
