from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scores.made_up import any_part, predictions

from natmu.errors import TrainingError, UsageError
from natmu.scores import (
    QUICK_NAMES,
    SIGNALS,
    Softmax,
    activation_distance,
    agreement,
    auc_forget_test,
    avg_gap,
    calibration_error,
    js,
    kl,
    mia_efficacy,
    quick_scores,
    scores,
    tow,
    tpr_forget_test,
    zrf,
    zrf_code,
)
from natmu.types import Part, Predictions

COUNTS = (900, 100, 1200)
PARTS = ("retain", "forget", "test")


def like(rng, model):
    """Another model's predictions on the same samples."""
    return Predictions(
        *(
            Part((one.logits + rng.normal(size=one.logits.shape)).astype(np.float32), one.labels)
            for one in (model.retain, model.forget, model.test)
        )
    )


@pytest.fixture
def model(rng):
    return predictions(rng, retain=6, forget=5, test=3, counts=COUNTS)


@pytest.fixture
def references(rng, model):
    return [like(rng, model) for _ in range(2)]


def test_every_score_of_the_table_is_there(rng, model, references):
    found = quick_scores(model, references, like(rng, model).forget)
    absent = ["holdout_acc", "forget_test_acc", "before_acc", "corrected_acc"]
    assert list(found.scores) == [name for name in QUICK_NAMES if name not in absent]
    assert list(found.missing) == absent
    assert all(type(value) is float for value in found.scores.values())


def test_scores_of_one_model_are_those_of_their_functions(model, references):
    found = quick_scores(model, references, seed=3).scores
    assert scores(model).items() <= found.items()
    for name in PARTS:
        assert found[f"calibration_{name}"] == calibration_error(getattr(model, name))
    for feature in ("correctness", "confidence", "entropy", "mentropy", "prob"):
        assert found[f"mia_efficacy_{feature}"] == mia_efficacy(model, feature, seed=3)
    for signal in SIGNALS:
        assert found[f"auc_forget_test_{signal}"] == auc_forget_test(model, signal)
    assert found["tpr_at_fpr_1"] == tpr_forget_test(model, 0.01)
    assert found["tpr_at_fpr_0.1"] == tpr_forget_test(model, 0.001)


def test_distances_are_means_over_the_references_and_gaps_are_from_the_mean(model, references):
    found = quick_scores(model, references).scores
    for name, distance in (("kl", kl), ("js", js), ("agreement", agreement)):
        for part in PARTS:
            each = [distance(getattr(model, part), getattr(one, part)) for one in references]
            assert found[f"{name}_{part}"] == pytest.approx(np.mean(each), rel=1e-12)
    assert found["kl_avg"] == pytest.approx(np.mean([found[f"kl_{part}"] for part in PARTS]), rel=1e-12)
    each = [activation_distance(model.forget, one.forget) for one in references]
    assert found["activation_distance"] == pytest.approx(np.mean(each), rel=1e-12)
    one, other = (scores(reference) for reference in references)
    mean = {name: (one[name] + other[name]) / 2 for name in one}
    assert found["avg_gap"] == pytest.approx(avg_gap(scores(model), mean), rel=1e-12)
    assert found["tow"] == pytest.approx(tow(scores(model), mean), rel=1e-12)


def test_zrf_needs_the_initial_models_answers(rng, model, references):
    initial = like(rng, model).forget
    scored = quick_scores(model, references, initial).scores
    assert scored["zrf"] == zrf(model.forget, initial)
    assert scored["zrf_code"] == zrf_code(model.forget, initial)
    found = quick_scores(model, references)
    for name in ("zrf", "zrf_code"):
        assert name not in found.scores
        assert found.missing[name].startswith(f"{name} needs a randomly initialised")


def test_a_model_is_at_no_distance_from_itself(model):
    found = quick_scores(model, [model, model], model.forget).scores
    for name in (
        "avg_gap",
        "kl_retain",
        "kl_forget",
        "kl_test",
        "kl_avg",
        "js_forget",
        "js_test",
        "activation_distance",
    ):
        assert found[name] == 0, name
    assert found["tow"] == found["zrf"] == 1
    assert [found[f"agreement_{part}"] for part in PARTS] == [100, 100, 100]


def test_a_model_that_memorised_is_caught_by_every_attack(rng):
    memorised = quick_scores(predictions(rng, retain=12, forget=12, test=3, counts=COUNTS), []).scores
    retrained = quick_scores(predictions(rng, retain=12, forget=3, test=3, counts=COUNTS), []).scores
    for signal in SIGNALS:
        assert memorised[f"auc_forget_test_{signal}"] > 0.9
        assert 0.4 < retrained[f"auc_forget_test_{signal}"] < 0.6
    assert memorised["tpr_at_fpr_1"] > 50 > 10 > retrained["tpr_at_fpr_1"]
    assert memorised["mia_entropy"] > 95 > retrained["mia_entropy"]


def test_without_references_what_needs_them_is_missing(model):
    found = quick_scores(model, [])
    assert "mia_efficacy_prob" in found.scores
    for name in ("avg_gap", "tow", "kl_retain", "kl_avg", "js_test", "agreement_forget", "activation_distance"):
        assert "retrained reference" in found.missing[name]


def test_a_forgotten_class_has_its_own_test_accuracy(rng, model, references):
    unseen = like(rng, model).forget
    found = quick_scores(replace(model, forget_test=unseen), references)
    assert found.scores["forget_test_acc"] == 100 * np.mean(unseen.logits.argmax(axis=1) == unseen.labels)
    assert "at least 1000 non-members" in found.missing["tpr_at_fpr_0.1"]


def test_rates_that_too_few_nonmembers_cannot_resolve_are_missing(rng):
    few = predictions(rng, 5, 4, 3, counts=(300, 50, 200))
    found = quick_scores(few, [])
    assert "tpr_at_fpr_1" in found.scores
    assert "at least 1000 non-members to be measured, and there are 200" in found.missing["tpr_at_fpr_0.1"]


@pytest.mark.parametrize("empty", PARTS)
def test_scores_of_an_empty_part_are_missing_with_their_reasons(rng, model, references, empty):
    def emptied(one):
        return replace(one, **{empty: getattr(one, empty).take(np.arange(0))})

    found = quick_scores(emptied(model), [emptied(one) for one in references], emptied(like(rng, model)).forget)
    assert not set(found.scores) & set(found.missing)
    assert set(found.scores) | set(found.missing) == set(QUICK_NAMES)
    expected = {"mia_entropy", "avg_gap", "tow", "kl_avg", f"{empty}_acc", f"kl_{empty}", f"calibration_{empty}"}
    assert expected <= set(found.missing)
    assert all(reason.endswith(".") for reason in found.missing.values())
    kept = [part for part in PARTS if part != empty]
    assert all(f"js_{part}" in found.scores for part in kept)


@pytest.mark.parametrize("part", PARTS)
def test_references_of_another_split_are_refused(model, references, part):
    one = getattr(references[1], part)
    order = np.argsort(one.labels)
    for other in (one.take(order), one.take(order[1:]), one.take(order[:0])):
        with pytest.raises(UsageError, match="same split"):
            quick_scores(model, [references[0], replace(references[1], **{part: other})])
    with pytest.raises(UsageError, match="same split"):
        quick_scores(model, references, model.retain)


@pytest.mark.parametrize("part", PARTS)
def test_a_model_or_a_reference_that_diverged_is_refused(model, references, part):
    getattr(references[0], part).logits[0, 0] = np.nan
    with pytest.raises(TrainingError):
        quick_scores(model, references)
    with pytest.raises(TrainingError):
        quick_scores(references[0], [])


def test_each_softmax_is_computed_once(rng, model, references, monkeypatch):
    """Of every part of the model and of each reference, and of the initial model's forget set."""
    computed = []
    compute = Softmax._softmax.func

    def counting(part):
        computed.append(part)
        return compute(part)

    counted = cached_property(counting)
    counted.__set_name__(Softmax, "_softmax")
    monkeypatch.setattr(Softmax, "_softmax", counted)
    quick_scores(model, references, like(rng, model).forget)
    assert len(computed) == 3 * 3 + 1


@settings(max_examples=25, deadline=None)
@given(any_part(), st.data())
def test_scores_of_whatever_logits_are_finite(first, data):
    shape = first.logits.shape
    order = data.draw(st.permutations(range(shape[1])))
    model = Predictions(first, Part(first.logits[::-1], first.labels), Part(first.logits[:, order], first.labels))
    other = Predictions(model.test, model.retain, model.forget)
    found = quick_scores(model, [other], first)
    assert np.isfinite(list(found.scores.values())).all()
    assert set(found.scores) | set(found.missing) == set(QUICK_NAMES)
