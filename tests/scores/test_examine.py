from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from natmu.errors import UsageError
from natmu.scores import LEVELS, Measured, Panel, Shadows, auc, confidence, examine, margin, names_of
from natmu.scores.exposed import exposed_by_rmia, exposed_by_shadows
from natmu.scores.quick import DISTANCES
from natmu.types import Part, Predictions

from .made_up import random_part

COUNTS = {"retain": 400, "forget": 120, "test": 300}
CLASSES = 5


class World:
    """Samples of their own difficulty, and models that were trained on some parts of them."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.labels = {name: self.rng.integers(0, CLASSES, count) for name, count in COUNTS.items()}
        self.difficulty = {name: self.rng.normal(2, 1.5, count) for name, count in COUNTS.items()}

    def model(self, *members, lift=6.0):
        """Margins are the sample's own, some noise of the model's, and a lift where it was trained on the sample."""
        return Predictions(**{name: self._part(name, lift * (name in members)) for name in COUNTS})

    def _part(self, name, lift):
        labels = self.labels[name]
        logits = self.rng.normal(0, 0.3, (len(labels), CLASSES))
        logits[np.arange(len(labels)), labels] += self.difficulty[name] + lift + self.rng.normal(0, 0.5, len(labels))
        return Part(logits.astype(np.float32), labels)

    def retrained(self, count=8):
        return [self.model("retain") for _ in range(count)]


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def eight(world):
    return world.retrained()


@pytest.fixture(scope="module")
def references(eight):
    return eight[:4]


def test_a_model_that_kept_its_forget_set_is_caught_at_standard(world, references):
    original = world.model("retain", "forget")
    found = examine(Panel(original, references, original), "standard")
    assert found.scores["rmia_auc"] > 0.9
    assert found.verdicts["rmia_auc"].distinguishable
    assert found.verdicts["auc_forget_test_margin"].distinguishable
    assert (found.forgotten.outcome, found.kept.outcome) == ("no", "yes")
    assert "the original has" in found.forgotten.sentence


def test_a_model_that_never_saw_the_forget_set_is_not_distinguishable(world, references):
    """Of three, one at most: for each the correction for many scores holds with a probability of 95 %."""
    original = world.model("retain", "forget")
    found = [examine(Panel(world.model("retain"), references, original), "standard").forgotten for _ in range(3)]
    assert sum(one.outcome != "not distinguishable" for one in found) <= 1


def test_a_model_that_avoids_its_forget_set_is_distinguishable_too(world, references):
    found = examine(Panel(world.model("retain", "forget", lift=-4.0), references), "quick")
    assert found.scores["auc_forget_test_margin"] < 0.5
    assert found.verdicts["auc_forget_test_margin"].distinguishable
    assert (found.forgotten.outcome, found.kept.outcome) == ("too much", "no")
    assert found.forgotten.sentence.startswith("Over-forgotten: forget_acc ")
    assert "retain_acc" in found.kept.sentence


def test_a_holdout_is_among_what_should_be_kept(world, references):
    def held(one):
        return replace(one, holdout=one.test.take(np.arange(200)))

    original = held(world.model("retain", "forget"))
    judged = held(world.model("retain"))
    wrong = -judged.holdout.logits
    judged = replace(judged, holdout=replace(judged.holdout, logits=wrong))
    found = examine(Panel(judged, list(map(held, references)), original), "quick")
    assert found.kept.outcome == "no"
    assert found.kept.sentence.startswith("Not kept: holdout_acc ")
    assert found.scores["holdout_acc"] < 50 < found.original["holdout_acc"]
    assert "holdout" in examine(Panel(world.model("retain"), references), "quick").missing["holdout_acc"]


@pytest.mark.parametrize("level", LEVELS)
def test_every_score_of_a_level_is_there_or_has_a_reason(world, references, level):
    found = examine(Panel(world.model("retain"), references[:2]), level)
    assert found.scores.keys() | found.missing.keys() == set(names_of(level))
    assert not found.scores.keys() & found.missing.keys()
    assert all(reason.endswith(".") for reason in found.missing.values())
    assert list(found.scores) == [name for name in names_of(level) if name in found.scores]
    assert not found.verdicts.keys() & {"avg_gap", "tow"}


def test_one_retrained_model_gives_scores_and_no_verdict(world, references):
    found = examine(Panel(world.model("retain"), references[:1]), "quick")
    assert "avg_gap" in found.scores
    assert all(verdict.p_value is None for verdict in found.verdicts.values())
    assert "that takes 2 retrained models, and there is 1" in found.forgotten.sentence
    assert found.kept.outcome == "cannot be said"


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_model_with_the_predictions_of_a_retrained_one_is_said_to_have_them(world, references, count):
    """As exact unlearning has, whether there are enough retrained models for a comparison or not."""
    again = replace(references[0], forget=replace(references[0].forget, logits=references[0].forget.logits.copy()))
    found = examine(Panel(again, references[:count], world.model("retain", "forget")), "quick")
    assert found.forgotten.outcome == "not distinguishable"
    assert "its predictions are those of a retrained model, bit for bit: forget_acc" in found.forgotten.sentence
    again.forget.logits[0, 0] = np.nextafter(again.forget.logits[0, 0], np.inf)
    found = examine(Panel(again, references[:count], world.model("retain", "forget")), "quick")
    assert "bit for bit" not in found.forgotten.sentence


def test_each_retrained_model_is_scored_against_the_others(world, references):
    found = examine(Panel(world.model("retain"), references[:3]), "standard")
    for number, one in enumerate(references[:3]):
        others = [other for other in references[:3] if other is not one]
        assert found.retrained["rmia_auc"][number] == pytest.approx(auc(*exposed_by_rmia(one, others)))
    assert len(found.retrained["kl_forget"]) == 3


def test_the_same_audit_gives_the_same_numbers(world, references):
    panel = Panel(world.model("retain"), references[:3])
    assert examine(panel, "standard", seed=1) == examine(panel, "standard", seed=1)


def test_too_few_models_are_named_with_the_number_that_is_needed(world, references):
    found = examine(Panel(world.model("retain"), references[:2]), "full")
    assert "8" in found.missing["klom_forget_mean"]
    assert "klom" in found.missing["klom_forget_mean"]
    assert "shadow models" in found.missing["lira_auc"]
    assert "1000" in found.missing["tpr_at_fpr_0.1"]


def test_two_retrained_models_give_no_floor_to_distances(world, references):
    verdicts = examine(Panel(world.model("retain"), references[:2]), "quick").verdicts
    assert all(verdicts[name].p_value is None for name in DISTANCES)
    assert verdicts["forget_acc"].p_value is not None


def test_groups_of_models_are_compared_with_random_divisions():
    world = World(1)
    eight = world.retrained()
    alike = [world.model("retain") for _ in range(7)]
    apart = [world.model("retain", "forget") for _ in range(7)]
    model = Panel(world.model("retain"), eight, unlearned=alike)
    kept = Panel(world.model("retain", "forget"), eight, unlearned=apart)
    assert not examine(model, "standard").verdicts["klom_forget_mean"].distinguishable
    found = examine(kept, "standard")
    assert found.verdicts["klom_forget_mean"].distinguishable
    assert not found.verdicts["klom_retain_mean"].distinguishable
    assert "random divisions" in found.verdicts["klom_forget_mean"].sentence


def test_the_forgetting_quality_needs_models_from_the_same_original(world, eight):
    again = [world.model("retain") for _ in range(7)]
    found = examine(Panel(world.model("retain"), eight, again=again), "full")
    assert 0 < found.scores["forgetting_quality"] <= 1
    assert found.scores["final_score"] == pytest.approx(found.scores["forgetting_quality"], rel=0.1)
    assert not found.verdicts["forgetting_quality"].distinguishable


def shadows_of(world, count=40, unlearns=True):
    """Shadows on the forget set and the first 120 test samples; perfect unlearning takes the lift away."""
    size = COUNTS["forget"]
    member = np.stack([world.rng.permutation(np.arange(2 * size) < size) for _ in range(count)])
    base = np.concatenate([world.difficulty["forget"], world.difficulty["test"][:size]])
    noise = [world.rng.normal(0, 0.6, member.shape) for _ in range(2)]
    before, after = base + 6 * member + noise[0], base + (0 if unlearns else 6) * member + noise[1]
    return Shadows(before, after, member, np.arange(size))


def test_shadow_attacks_catch_what_was_kept_and_nothing_else(world, references):
    kept = examine(
        Panel(world.model("retain", "forget"), references, shadows=shadows_of(world, unlearns=False)), "full"
    )
    gone = examine(Panel(world.model("retain"), references, shadows=shadows_of(world)), "full")
    for name in ("lira_auc", "lira_offline_auc", "ulira_auc"):
        assert kept.scores[name] > 0.9
        assert abs(gone.scores[name] - 0.5) < 0.15
    assert kept.scores["ulira_acc"] > 85
    assert 35 < gone.scores["ulira_acc"] < 65
    assert kept.scores["lira_tpr_at_fpr_1"] > 50


def test_shadows_that_did_not_unlearn_serve_lira_alone(world, references):
    whole = shadows_of(world)
    some = np.array([0, 1, 4, 7, 9])
    part = replace(whole, after=whole.after[some], unlearned=some)
    assert np.array_equal(part.forgot, whole.member[some])
    none = replace(whole, after=whole.after[:0], unlearned=some[:0])
    found = examine(Panel(world.model("retain"), references, shadows=none), "full")
    assert "lira_auc" in found.scores
    assert "after unlearning" in found.missing["ulira_auc"]


def test_shadow_attacks_read_the_columns_of_the_pool(world):
    shadows = shadows_of(world)
    target = world.model("retain", "forget")
    inside, outside = exposed_by_shadows("lira_offline", target, shadows)
    without = np.where(shadows.member, np.nan, shadows.before)
    centre = np.nanmean(without, axis=0)
    values = np.concatenate([margin(target.forget), margin(target.test)[shadows.non_members]])
    assert np.corrcoef(np.concatenate([inside, outside]), values - centre)[0, 1] > 0.999


def test_what_was_measured_elsewhere_is_judged_like_the_rest(world, references):
    measured = {
        "relearn_time": Measured(3.0, [10.0, 11.0, 9.0, 10.0], 0.0),
        "weight_distance": Measured(None, reason="weight_distance was not measured here."),
    }
    found = examine(Panel(world.model("retain"), references[:2], measured=measured), "standard")
    assert found.verdicts["relearn_time"].distinguishable
    assert found.missing["weight_distance"] == "weight_distance was not measured here."


@pytest.mark.parametrize("change", ["other labels", "fewer samples", "more classes"])
def test_answers_of_other_data_are_refused(world, references, change):
    forget = references[1].forget
    wrong = {
        "other labels": Part(forget.logits, (forget.labels + 1) % CLASSES),
        "fewer samples": forget.take(np.arange(5)),
        "more classes": Part(np.pad(forget.logits, ((0, 0), (0, 1))), forget.labels),
    }[change]
    with pytest.raises(UsageError):
        examine(Panel(world.model("retain"), [references[0], replace(references[1], forget=wrong)]), "quick")


def test_rmia_ranks_each_sample_by_its_own_ratio(world):
    model, references = world.model("retain"), world.retrained(2)
    for side, part in zip(exposed_by_rmia(model, references), ("forget", "test"), strict=True):
        of_model, *of_references = (confidence(getattr(one, part)) for one in (model, *references))
        ratios = [2 * p / (1.3 * (q + r) / 2 + 0.7) for p, q, r in zip(of_model, *of_references, strict=True)]
        assert np.exp(side) == pytest.approx(ratios)


def test_rmia_without_a_reference_is_refused(world):
    with pytest.raises(UsageError, match="rmia needs at least 1"):
        exposed_by_rmia(world.model("retain"), [])


def test_forgotten_classes_are_compared_with_unseen_samples_of_those_classes(rng):
    def predictions():
        parts = {name: random_part(rng, 60, 2, CLASSES) for name in ("retain", "forget", "test", "forget_test")}
        return Predictions(**parts)

    one = predictions()
    model = replace(one, forget=one.forget_test)
    inside, outside = exposed_by_rmia(model, [model])
    assert auc(inside, outside) == 0.5


def test_one_model_under_two_names_is_refused(world, references):
    """A trainer that ignores its seed gives references without spread, from which everything is distinguishable."""
    original = world.model("retain", "forget")
    with pytest.raises(UsageError, match="models 1 and 3 have the same predictions on every sample"):
        examine(Panel(world.model("retain"), [*references[:2], references[0]], original), "quick")
    with pytest.raises(UsageError, match="model 2 has the predictions of the original"):
        examine(Panel(world.model("retain"), [references[0], original], original), "quick")
