"""The two parts of the verdict: what each outcome takes, what its sentence shows, and how seldom it errs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from natmu.scores.accuracy_loss import Loss, loss_to_retrained
from natmu.scores.answers import Compared, forgotten, kept
from natmu.scores.catalogue import SCORES
from natmu.scores.verdict import judge

RETRAINED = [50.0, 50.6, 49.6, 50.2, 49.9, 50.3, 49.7, 50.1]


def compared(name, value, retrained=RETRAINED, original=None, remembers="above", side="both", unit="%"):
    """A score with its verdict."""
    retrained = list(retrained)
    verdict = judge(name, value, None, retrained, original, side=side)
    one_sided = side != "both"
    return Compared(name, unit, value, original, retrained, verdict, remembers, one_sided=one_sided)


def accuracy(name, value, original=None, retrained=(), error=0.2):
    """An accuracy with its losses; the error is that of the loss to the original."""
    before = None if original is None else Loss(original - value, error, math.inf)
    retrained = list(retrained)
    return Compared(
        name,
        "%",
        value,
        original,
        retrained,
        to_original=before,
        to_retrained=loss_to_retrained(value, retrained, None),
    )


def test_a_model_on_the_side_of_the_original_has_not_forgotten():
    quiet = [compared(f"quiet_{number}", 50.0, original=90.0) for number in range(3)]
    found = forgotten([*quiet, compared("rmia_auc", 70.0, original=90.0)], 8)
    assert found.outcome == "no"
    assert str(found) == (
        "Not forgotten: rmia_auc 70.0 % (the original has 90.0, retrained models 50.0 ± 0.3); distinguishable from "
        "retrained models by 1 of 4 scores of the forget set, after Holm's correction."
    )


def test_a_model_on_the_other_side_has_forgotten_too_much():
    found = forgotten([compared("forget_acc", 12.0, original=99.0)], 8)
    assert found.outcome == "too much"
    assert found.sentence.startswith(
        "Over-forgotten: forget_acc 12.0 % (the original has 99.0, retrained models 50.0 ± 0.3), so it knows less"
    )


@pytest.mark.parametrize(
    ("original", "remembers", "value", "outcome"),
    [
        (90.0, "below", 70.0, "no"),  # the original shows the side, whatever the catalogue says
        (10.0, "above", 70.0, "too much"),
        (50.2, "above", 70.0, "no"),  # it is like retrained models itself, so the catalogue says it
        (50.2, "below", 70.0, "too much"),
        (None, "above", 30.0, "too much"),
        (None, None, 30.0, "unlike retraining"),
    ],
)
def test_the_original_shows_the_side_and_else_the_catalogue(original, remembers, value, outcome):
    assert forgotten([compared("x", value, original=original, remembers=remembers)], 8).outcome == outcome


def test_a_distance_has_no_side_and_says_only_that_the_model_is_unlike():
    found = forgotten([compared("kl_forget", 70.0, original=90.0, side="above", unit="nats")], 8)
    assert found.outcome == "unlike retraining"
    assert "none of which says whether too much or too little" in found.sentence


def test_where_scores_lie_on_both_sides_the_accuracy_decides_and_else_the_clearest():
    broken = compared("mia_efficacy_entropy", 0.0, original=1.0, remembers="below")
    ruined = compared("forget_acc", 20.0, original=99.0)
    found = forgotten([broken, ruined], 8)
    assert found.outcome == "too much"
    assert (
        "mia_efficacy_entropy 0.0 % (the original has 1.0, retrained models 50.0 ± 0.3) lies on the" in found.sentence
    )
    weaker = compared("rmia_auc", 45.0, original=99.0)
    assert forgotten([weaker, broken], 8).outcome == "no"


def test_no_difference_is_said_with_the_number_that_shows_most_and_the_power():
    scores = [
        compared("js_forget", 50.0, original=99.0, side="above"),
        compared("forget_acc", 50.4, original=95.0),
        compared("blind", 50.0, original=50.1),
    ]
    found = forgotten(scores, 8)
    assert found.outcome == "not distinguishable"
    assert found.sentence == (
        "Not distinguishable from retrained models by any of 3 scores of the forget set, after Holm's correction: "
        "forget_acc 50.4 % (the original has 95.0, retrained models 50.0 ± 0.3); a difference of 1.2 would have been "
        "seen with 80 % probability; 1 of them does not distinguish the original either."
    )
    assert scores[1].verdict.detectable <= 1.2
    outlier = compared("rmia_auc", 51.0, original=95.0)
    assert outlier.verdict.distinguishable
    many = [*scores, outlier, *(compared(f"quiet_{number}", 50.0, original=95.0) for number in range(20))]
    assert f"rmia_auc alone would (p = {outlier.verdict.p_value:.2g})" in forgotten(many, 8).sentence


def test_what_cannot_be_said_is_said():
    shown = compared("forget_acc", 88.0, [], 99.8)
    assert forgotten([shown], 0).sentence == (
        "Whether it is forgotten cannot be said: that takes 2 retrained models, and there is none; forget_acc 88.0 % "
        "(the original has 99.8)."
    )
    assert (
        "and there is 1; forget_acc 88.0 % (the original has 99.8, a retrained model 87.0)"
        in forgotten([compared("forget_acc", 88.0, [87.0], 99.8)], 1).sentence
    )
    blind = forgotten([compared("mia_entropy", 50.0, original=50.1)], 8)
    assert blind.outcome == "cannot be said"
    assert "not even the original is distinguishable" in blind.sentence
    assert forgotten([], 8).outcome == "cannot be said"


def test_a_retrained_model_is_seldom_called_anything_else_by_any_of_many_scores(rng):
    trials, alarms = 400, 0
    for _ in range(trials):
        scores = [compared(f"x{k}", row[0], row[1:], 90.0) for k, row in enumerate(rng.normal(50, 1, (20, 9)))]
        alarms += forgotten(scores, 8).outcome != "not distinguishable"
    assert alarms <= stats.binom.ppf(0.999, trials, 0.05)


def test_the_loss_of_the_specification_is_not_kept():
    retrained = [92.4 + 0.5 * shift for shift in (-1.2, -0.9, 0.1, 0.4, 1.6, 0.8, -0.7, -0.1)]
    found = kept([accuracy("retain_acc", 79.1, 93.0, retrained), accuracy("test_acc", 80.0, 80.2)], [])
    assert found.outcome == "no"
    assert found.sentence == "Not kept: retain_acc 79.1 % (the original has 93.0, retrained models 92.4 ± 0.5)."


def test_what_retraining_loses_too_is_kept():
    retrained = [80.1, 79.8, 80.0, 80.2]
    found = kept([accuracy("test_acc", 80.0, 93.0, retrained)], [])
    assert found.outcome == "yes"
    assert "less than 1 point below the original or retrained models" in found.sentence
    assert kept([accuracy("test_acc", 80.0, 93.0, [80.1])], []).outcome == "not shown"


@pytest.mark.parametrize(
    ("value", "error", "outcome"),
    [(93.0, 0.2, "yes"), (92.2, 0.2, "not shown"), (90.0, 0.2, "no"), (90.0, 3, "not shown")],
)
def test_without_retrained_models_the_original_decides(value, error, outcome):
    found = kept([accuracy("retain_acc", value, 93.0, error=error)], [])
    assert found.outcome == outcome
    assert ("what retraining loses takes 2 retrained models to know" in found.sentence) == (outcome == "no")


def test_with_neither_nothing_is_said_but_the_accuracies():
    found = kept([accuracy("retain_acc", 90.0), accuracy("test_acc", 80.0, retrained=[81.0])], [])
    assert found.outcome == "cannot be said"
    assert found.sentence.endswith(": retain_acc 90.0 %, test_acc 80.0 % (a retrained model 81.0).")


def test_distances_are_told_of_and_decide_nothing():
    apart = compared("js_retain", 70.0, original=50.0, side="above")
    found = kept([accuracy("retain_acc", 93.0, 93.0)], [apart])
    assert found.outcome == "yes"
    assert "predictions there differ from those of retrained models, most clearly by js_retain 70.0 %" in found.sentence


def test_what_is_kept_is_told_where_something_else_is_open():
    found = kept([accuracy("retain_acc", 93.0, 93.0), accuracy("holdout_acc", 93.0, 93.0, error=4)], [])
    assert found.outcome == "not shown"
    assert found.sentence.startswith("Not shown to be kept: holdout_acc 93.0 %")
    assert found.sentence.endswith("while retain_acc 93.0 % (the original has 93.0) is kept.")


def test_a_retrained_model_is_seldom_called_not_kept(rng):
    trials, alarms = 500, 0
    for _ in range(trials):
        rows = rng.normal(80, 3, (3, 5))
        alarms += kept([accuracy(f"{k}_acc", row[0], None, row[1:]) for k, row in enumerate(rows)], []).outcome == "no"
    assert alarms <= stats.binom.ppf(0.999, trials, 0.05)


def test_a_sentence_is_one_and_never_says_that_a_sample_is_forgotten(rng):
    for value in (20.0, 50.0, 80.0):
        for retrained in ([], [50.0], RETRAINED):
            for original in (None, 50.0, 90.0):
                said = forgotten([compared("forget_acc", value, retrained, original)], len(retrained)).sentence
                said += kept([accuracy("test_acc", value, original, retrained)], []).sentence
                assert said.count(". ") == 0
                assert said.endswith(".")
                assert not said.startswith("Forgotten")


def test_every_score_of_ours_has_its_part_of_the_verdict():
    """The forget set asks the first question, all other parts the second; what mixes both asks neither."""
    asked = {row.name: row.question for row in SCORES}
    assert {name for name, question in asked.items() if question == "neither"} == {
        "avg_gap",
        "tow",
        "kl_avg",
        "weight_distance",
        "final_score",
    }
    parts = ("_retain", "_test", "retain_", "test_", "holdout_")
    for name, question in asked.items():
        if question == "kept":
            assert any(part in name for part in parts), name
            assert "forget" not in name
        if "_forget" in name or name.startswith(("forget_", "mia_", "rmia_", "lira_", "ulira_", "tpr_")):
            assert question == "forgotten", name
    for row in SCORES:
        assert row.remembers is None or (row.question, row.side) == ("forgotten", "both")
    assert np.mean([row.remembers is not None for row in SCORES if row.question == "forgotten"]) > 0.7
