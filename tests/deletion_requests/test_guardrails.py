import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact

from natmu.records.audit import Answer
from natmu.records.measurement import Measurement, Remeasured
from natmu.records.policy import Guardrails
from natmu.requests.batch_norms import BatchNorm, batch_norms_of, mean_drift, variance_ratio
from natmu.requests.exact_test import SIGNIFICANCE, came_back, chance_of, which_came_back
from natmu.requests.guardrails import (
    Facts,
    batch_norm_drift,
    earlier_forgotten,
    forgotten,
    holdout_loss,
    judge_candidate,
    no_op,
    over_forgetting,
    retain_loss,
)

UNKNOWN = np.zeros(0, bool), np.zeros((1, 0), bool)
"""Nothing is known of single samples."""


def slow_chance(correct, retrained, side):
    """The p-value by its definition: on each sample, every model is equally likely to be ours."""
    models = np.vstack([correct, retrained])
    as_far, total = 0, 0
    for chosen in itertools.product(range(len(models)), repeat=len(correct)):
        count = sum(models[model, sample] for sample, model in enumerate(chosen))
        total += 1
        as_far += count >= correct.sum() if side == "more" else count <= correct.sum()
    return as_far / total


@pytest.mark.parametrize("side", ["more", "less"])
@pytest.mark.parametrize(("references", "samples"), [(1, 1), (1, 8), (2, 6), (3, 5), (4, 4)])
def test_the_exact_test_is_what_its_definition_says(references, samples, side):
    rng = np.random.default_rng(references)
    for _ in range(4):
        correct, retrained = rng.random(samples) < 0.6, rng.random((references, samples)) < 0.5
        assert chance_of(correct, retrained, side) == pytest.approx(slow_chance(correct, retrained, side), rel=1e-12)


def test_with_one_retrained_model_it_is_mcnemars_exact_test():
    rng = np.random.default_rng(0)
    for _ in range(10):
        correct, retrained = rng.random(300) < 0.7, rng.random(300) < 0.6
        alone, other = int((correct & ~retrained).sum()), int((~correct & retrained).sum())
        expected = binomtest(alone, alone + other, 0.5, alternative="greater").pvalue
        assert chance_of(correct, retrained[None], "more") == pytest.approx(expected, rel=1e-9)
        expected = binomtest(alone, alone + other, 0.5, alternative="less").pvalue
        assert chance_of(correct, retrained[None], "less") == pytest.approx(expected, rel=1e-9)


def test_with_many_samples_it_is_what_draws_of_our_model_say():
    rng = np.random.default_rng(3)
    correct, retrained = rng.random(400) < 0.81, rng.random((3, 400)) < np.linspace(0.6, 1, 400)
    models = np.vstack([correct, retrained])
    draws = rng.integers(0, 4, (20_000, 400))
    counts = models[draws, np.arange(400)].sum(axis=1)
    share = np.mean(counts >= correct.sum())
    chance = chance_of(correct, retrained, "more")
    assert 0.01 < chance < 0.99
    assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / len(draws))


def test_the_pairing_by_sample_sees_more_than_fishers_test():
    """Of 80 samples 70 are easy: only who is right on hard ones tells, which pooled counts do not know."""
    easy = np.arange(80) < 70
    retrained = easy[None]
    correct = easy | (np.arange(80) < 77)
    pooled = fisher_exact([[correct.sum(), (~correct).sum()], [retrained.sum(), (~retrained).sum()]], "greater").pvalue
    assert chance_of(correct, retrained, "more") == 0.5**7 < SIGNIFICANCE < pooled


def test_no_more_than_one_in_a_hundred_equal_models_came_back():
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(1000):
        hard = rng.random(60)
        models = rng.random((3, 60)) < hard
        answers.append(came_back(models[0], models[1:]))
    assert None not in answers
    assert sum(answers) <= 22  # of a binomial with 1000 and 1 %, 22 is exceeded once in 4000 times


def test_a_model_that_knows_the_samples_again_came_back():
    rng = np.random.default_rng(2)
    retrained = rng.random((1, 80)) < 0.75
    assert came_back(np.ones(80, bool), retrained) is True
    assert came_back(retrained[0], retrained) is False
    assert came_back(np.zeros(80, bool), retrained) is False


@pytest.mark.parametrize(("references", "fewest"), [(1, 7), (2, 5), (3, 4), (8, 3), (64, 2)])
def test_with_too_few_samples_nothing_can_be_said(references, fewest):
    """The least p-value is ``(R + 1) ** -S``: a model that alone is right, and on all samples."""
    for samples in range(fewest):
        for correct in (np.zeros(samples, bool), np.ones(samples, bool)):
            assert came_back(correct, np.zeros((references, samples), bool)) is None
    assert came_back(np.ones(fewest, bool), np.zeros((references, fewest), bool)) is True
    assert came_back(np.zeros(fewest, bool), np.zeros((references, fewest), bool)) is False


def test_nothing_can_be_said_without_retrained_models_or_where_these_know_everything():
    assert came_back(np.ones(100, bool), np.zeros((0, 100), bool)) is None
    assert came_back(np.ones(100, bool), np.ones((2, 100), bool)) is None
    six_open = (np.arange(100) >= 6)[None]
    assert came_back(np.ones(100, bool), six_open) is None
    seven_open = (np.arange(100) >= 7)[None]
    assert came_back(np.ones(100, bool), seven_open) is True


def test_a_model_must_also_lie_beyond_every_retrained_one():
    """Two trainings of which one is better as a whole: the middle one of three is not a model that remembers."""
    samples = np.arange(1000)
    worse, own, better = samples < 500, samples < 600, samples < 601
    assert chance_of(own, np.stack([worse, worse, better]), "more") < SIGNIFICANCE
    assert came_back(own, np.stack([worse, worse, better])) is False
    assert came_back(own, np.stack([worse, worse, worse])) is True


def test_many_requests_are_corrected_for():
    """Seven samples give 1 in 128: enough for one request, not for the best of three."""
    seven = (np.ones(7, bool), np.zeros((1, 7), bool))
    nine = (np.ones(9, bool), np.zeros((1, 9), bool))
    none = (np.zeros(9, bool), np.zeros((1, 9), bool))
    unsaid = (np.ones(2, bool), np.zeros((1, 2), bool))
    assert which_came_back([seven]) == [True]
    assert which_came_back([seven, unsaid]) == [True, None]
    assert which_came_back([none, seven, none]) == [False, False, False]
    assert which_came_back([none, nine, none]) == [False, True, False]
    assert which_came_back([nine, nine, seven]) == [True, True, True]
    assert which_came_back([]) == []


def test_retain_loss_counts_from_the_original():
    kept = retain_loss(99.5, 97.5, 2.0)
    assert (kept.passed, kept.value, kept.limit) == (True, 2.0, 2.0)
    assert kept.sentence == "Retain accuracy fell by 2.00 points (from 99.50 to 97.50 %); a loss of 2 is allowed."
    assert 64.66666666666667 - 62.666666666666664 > 2.0
    assert retain_loss(64.66666666666667, 62.666666666666664, 2.0).passed  # by two points, but for rounding
    assert not retain_loss(99.5, 97.4, 2.0).passed
    gained = retain_loss(90.0, 91.0, 0.0)
    assert gained.passed
    assert gained.value == -1.0
    assert "rose by 1.00 points" in gained.sentence
    assert "stayed" in retain_loss(90.0, 90.0, 0.0).sentence


def test_holdout_loss_says_when_the_test_set_stands_in():
    assert holdout_loss(90.0, 80.0, 2.0, "holdout").sentence.startswith("Holdout accuracy fell by 10.00 points")
    result = holdout_loss(90.0, 80.0, 2.0, "test")
    assert not result.passed
    assert result.sentence.startswith("Test accuracy (there is no holdout) fell by 10.00 points")


def right(count, of):
    return np.arange(of) < count


def test_over_forgetting_refuses_what_chance_does_not_explain():
    refused = over_forgetting(right(50, 100), right(80, 100)[None], 10.0)
    assert not refused.passed
    assert refused.value == pytest.approx(30)
    assert "30.00 points below that of 1 retrained model (80.0 %)" in refused.sentence
    assert "does not explain" in refused.sentence
    few = over_forgetting(right(2, 5), right(5, 5)[None], 10.0)  # three samples: 1 in 8
    assert few.passed
    assert few.value == pytest.approx(60)
    assert "p = 0.12" in few.sentence
    near = over_forgetting(right(700, 1000), right(800, 1000)[None], 10.0)
    assert near.passed
    assert "at most 10 below are allowed" in near.sentence
    above = over_forgetting(right(9, 10), right(8, 10)[None], 10.0)
    assert above.passed
    assert "10.00 points above" in above.sentence


def test_over_forgetting_compares_with_the_mean_of_retrained_models():
    retrained = np.stack([right(60, 100), right(100, 100)])
    assert over_forgetting(right(60, 100), retrained, 25.0).value == pytest.approx(20)


def test_over_forgetting_without_references_passes_and_says_so():
    none = over_forgetting(right(0, 5), np.zeros((0, 5), bool), 10.0)
    assert none.passed
    assert none.value is None
    assert "no retrained model" in none.sentence
    gone = over_forgetting(np.zeros(0, bool), np.zeros((1, 0), bool), 10.0)
    assert gone.passed
    assert gone.value is None
    assert "no forget sample" in gone.sentence


def slow_drift(before, after):
    total = 0.0
    for channel in range(len(before.mean)):
        total += abs(after.mean[channel] - before.mean[channel]) / (before.variance[channel] + before.eps) ** 0.5
    return total / len(before.mean)


def test_batch_norm_drift_is_the_mean_shift_in_standard_deviations():
    rng = np.random.default_rng(0)
    layers = [{name: BatchNorm(rng.normal(size=7), rng.random(7), 0.1) for name in "abc"} for _ in range(2)]
    slow = {name: slow_drift(layers[0][name], layers[1][name]) for name in "abc"}
    assert {name: mean_drift(layers[0][name], layers[1][name]) for name in "abc"} == pytest.approx(slow)
    result = batch_norm_drift(*layers, limit=max(slow.values()))
    assert result.value == pytest.approx(max(slow.values()))
    assert result.passed
    assert f"(in {max(slow, key=slow.get)})" in result.sentence
    assert not batch_norm_drift(*layers, limit=max(slow.values()) - 1e-3).passed


def test_batch_norm_drift_in_closed_form():
    before = {"bn": BatchNorm(np.zeros(2), np.array([4.0, 9.0]), 0.0)}
    after = {"bn": BatchNorm(np.array([1.0, -6.0]), np.array([16.0, 9.0]), 0.0)}
    assert mean_drift(before["bn"], after["bn"]) == pytest.approx((1 / 2 + 6 / 3) / 2)
    assert variance_ratio(before["bn"], after["bn"]) == pytest.approx(2.0)  # the geometric mean of 4 and 1
    result = batch_norm_drift(before, after, 1.0)
    assert not result.passed
    assert result.value == pytest.approx(1.25)
    assert "factor 2.00 (in bn)" in result.sentence


def test_the_variance_ratio_that_is_farthest_from_one_is_told():
    still = BatchNorm(np.zeros(1), np.ones(1), 0.0)
    after = {name: BatchNorm(np.zeros(1), np.full(1, ratio), 0.0) for name, ratio in {"a": 3.0, "b": 0.2}.items()}
    assert "factor 0.20 (in b)" in batch_norm_drift(dict.fromkeys("ab", still), after, 1.0).sentence


def test_a_model_without_batch_norm_passes_and_nan_does_not():
    anew = batch_norm_drift(
        {"bn": BatchNorm(np.zeros(1), np.ones(1))}, {"bn": BatchNorm(np.ones(1), np.ones(1))}, 0.5, "retrain"
    )
    assert (anew.passed, anew.value) == (True, None)
    assert "trained anew" in anew.sentence
    none = batch_norm_drift({}, {}, 1.0)
    assert none.passed
    assert none.value is None
    assert "no batch normalisation" in none.sentence
    broken = BatchNorm(np.array([np.nan]), np.ones(1))
    result = batch_norm_drift({"bn": BatchNorm(np.zeros(1), np.ones(1))}, {"bn": broken}, 1.0)
    assert not result.passed
    assert result.value is None
    assert "not finite" in result.sentence


def test_running_statistics_are_found_by_name():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.Linear(2, 2))
    found = batch_norms_of({name: tensor.numpy() for name, tensor in model.state_dict().items()})
    assert list(found) == ["1"]
    assert found["1"].eps == model[1].eps
    assert (found["1"].variance == 1).all()
    assert (found["1"].mean == 0).all()


def test_no_op_looks_at_the_sample_that_changed_most():
    before = np.array([0.5, 0.9, 0.1])
    moved = no_op(before, np.array([0.5, 0.8, 0.1]), 1e-4, "approximate")
    assert moved.passed
    assert moved.value == pytest.approx(0.1)
    assert not no_op(before, before + 1e-5, 1e-4, "approximate").passed
    assert not no_op(before, before, 0.0, "approximate").passed
    assert no_op(before, before, 1e-4, "exact").passed
    assert not no_op(before, before * np.nan, 1e-4, "approximate").passed
    gone = no_op(np.zeros(0), np.zeros(0), 1e-4, "approximate")
    assert gone.passed
    assert "no forget sample" in gone.sentence


def measurement(outcome):
    answer = Answer(outcome=outcome, sentence=f"It is {outcome}.")
    return Measurement(
        samples=9,
        level="quick",
        references=2,
        scores={},
        forgotten=answer,
        kept=Answer(outcome="yes", sentence="Kept."),
    )


@pytest.mark.parametrize(
    ("outcome", "passed"),
    [
        ("no", False),
        ("too much", True),
        ("unlike retraining", True),
        ("not distinguishable", True),
        ("cannot be said", True),
    ],
)
def test_only_what_is_not_forgotten_is_refused_as_such(outcome, passed):
    result = forgotten(measurement(outcome), *UNKNOWN, given="approximate")
    assert result.passed is passed
    assert result.sentence == f"It is {outcome}."
    exact = forgotten(measurement(outcome), *UNKNOWN, given="exact")
    assert exact.passed
    assert ("trained without" in exact.sentence) is not passed
    off = forgotten(measurement(outcome), *UNKNOWN, given="approximate", on=False)
    assert off.passed
    assert ("does not refuse" in off.sentence) is not passed


def test_a_batch_that_is_known_better_than_chance_explains_is_refused():
    """Of 20 samples all right, of which the retrained model has 7 wrong: one of two equal models is the one that is
    right on all 7 with probability 2**-7, which is below 1 %; on 6 of them it is above."""
    correct = np.ones(20, bool)
    seven, six = np.ones((1, 20), bool), np.ones((1, 20), bool)
    seven[0, :7] = six[0, :6] = False
    result = forgotten(measurement("cannot be said"), correct, seven, given="approximate")
    assert not result.passed
    assert result.sentence.startswith(
        "The model is right on 20 of 20 samples and 1 retrained model on 13, which is more"
    )
    assert forgotten(measurement("cannot be said"), correct, six, given="approximate").passed
    assert forgotten(measurement("cannot be said"), correct, seven, given="exact").passed
    assert forgotten(measurement("cannot be said"), correct, seven, given="approximate", on=False).passed
    none = np.zeros((0, 20), bool)
    assert forgotten(measurement("cannot be said"), correct, none, given="approximate").passed


def test_what_was_not_measured_passes():
    assert "not measured" in forgotten(None, *UNKNOWN, given="approximate").sentence
    assert forgotten(None, *UNKNOWN, given="approximate").passed
    assert earlier_forgotten(None, (), given="approximate").passed


def remeasured(*answers):
    return tuple(Remeasured(request=number, samples=5, came_back=one) for number, one in enumerate(answers, 1))


def test_a_candidate_that_brings_an_earlier_request_back_is_refused_by_name():
    result = earlier_forgotten(None, remeasured(False, True, None, True), given="approximate")
    assert not result.passed
    assert "right on samples of requests 2, 4" in result.sentence
    assert "Whether request 3 came back cannot be said" in result.sentence
    assert earlier_forgotten(None, remeasured(True), given="exact").passed
    assert earlier_forgotten(None, remeasured(True), given="approximate", on=False).passed


def test_earlier_requests_together_may_be_what_came_back():
    result = earlier_forgotten(measurement("no"), remeasured(False, None), given="approximate")
    assert not result.passed
    assert "together (requests 1, 2)" in result.sentence
    assert "It is no." in result.sentence
    kept = earlier_forgotten(measurement("cannot be said"), remeasured(False, False), given="approximate")
    assert kept.passed
    assert kept.sentence == "None of 2 earlier requests came back."
    unsaid = earlier_forgotten(None, remeasured(None), given="approximate")
    assert unsaid.passed
    assert unsaid.sentence == "Whether request 1 came back cannot be said."


def facts(**changed):
    """A candidate that keeps every guardrail."""
    fields = {
        "method": "natmu",
        "guarantee": "approximate",
        "retain": (99.0, 98.5),
        "unseen": (90.0, 89.5),
        "unseen_part": "holdout",
        "correct": right(80, 100),
        "retrained_correct": right(80, 100)[None],
        "before": np.ones(100),
        "after": np.full(100, 0.8),
        "measured": measurement("not distinguishable"),
        "earlier": measurement("cannot be said"),
        "remeasured": remeasured(False),
    }
    return Facts(**fields | changed)


def test_each_guardrail_of_the_policy_is_judged_and_refuses_alone():
    assert [one.name for one in judge_candidate(Guardrails(), facts())] == list(Guardrails.model_fields)
    assert all(one.passed for one in judge_candidate(Guardrails(), facts()))
    still, moved = BatchNorm(np.zeros(1), np.ones(1)), BatchNorm(np.full(1, 2.0), np.ones(1))
    broken = {
        "retain_loss": {"retain": (99.0, 96.0)},
        "holdout_loss": {"unseen": (90.0, 87.0)},
        "over_forgetting": {"correct": right(50, 100)},
        "batch_norm_drift": {"batch_norms_before": {"bn": still}, "batch_norms_after": {"bn": moved}},
        "no_op": {"after": np.ones(100)},
        "forgotten": {"measured": measurement("no")},
        "earlier": {"remeasured": remeasured(True)},
    }
    assert broken.keys() == Guardrails.model_fields.keys()
    for name, changed in broken.items():
        assert [one.name for one in judge_candidate(Guardrails(), facts(**changed)) if not one.passed] == [name]


def test_limits_are_those_of_the_policy():
    loose = Guardrails(
        retain_loss=50,
        holdout_loss=50,
        over_forgetting=50,
        batch_norm_drift=50,
        no_op=0,
        forgotten=False,
        earlier=False,
    )
    ruined = facts(
        retain=(99.0, 60.0),
        unseen=(90.0, 60.0),
        correct=right(40, 100),
        after=np.full(100, 1 - 1e-6),
        measured=measurement("no"),
        remeasured=remeasured(True),
    )
    assert all(one.passed for one in judge_candidate(loose, ruined))
    assert sum(not one.passed for one in judge_candidate(Guardrails(), ruined)) == 6


@pytest.mark.parametrize("given", ["exact", "certified"])
def test_what_is_measured_of_forgotten_samples_refuses_nothing_that_is_promised_and_accuracy_does(given):
    known = {
        "correct": right(100, 100),
        "retrained_correct": right(10, 100)[None],
        "after": np.ones(100),
        "measured": measurement("no"),
        "earlier": measurement("no"),
        "remeasured": remeasured(True),
    }
    failed = [one.name for one in judge_candidate(Guardrails(), facts(**known)) if not one.passed]
    assert failed == ["no_op", "forgotten", "earlier"]
    promised = judge_candidate(Guardrails(), facts(**known, method="downdate", guarantee=given))
    assert all(one.passed for one in promised)
    ruined = {"correct": right(10, 100), "retrained_correct": right(100, 100)[None], "retain": (99.0, 90.0)}
    failed = [one.name for one in judge_candidate(Guardrails(), facts(**ruined)) if not one.passed]
    assert failed == ["retain_loss", "over_forgetting"]
    promised = judge_candidate(Guardrails(), facts(**ruined, method="downdate", guarantee=given))
    assert [one.name for one in promised if not one.passed] == ["retain_loss"]
