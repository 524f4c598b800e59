"""The suite of scores bites: broken copies of sound scores fail at the very test that is meant for the defect."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import pytest

from natmu.errors import SettingError
from natmu.scores import QUICK_NAMES, Score, score
from natmu.scores.builtin import OURS
from natmu.scores.catalogue import SCORES
from natmu.testing import SCORE_CHECKS, ScoreRow, score_conformance, score_failures
from natmu.testing.panels import panel_of

from .broken_scores import BROKEN, FACTS, SOUND, sureness

pytest_plugins = ["pytester"]

MANY = partial(panel_of, forget=1000)
"""Panels with as many forget samples as 1 false alarm in 1,000 takes."""


def row_of(score):
    """A row for one of our scores."""
    if score.name == "forget_test_acc":
        return ScoreRow(score, panel=partial(panel_of, forget_test=200))
    return ScoreRow(
        score, panel=MANY if "_at_fpr_" in score.name else panel_of, draws_samples=score.name.startswith("mia_efficacy")
    )


TestOurs = score_conformance(*map(row_of, OURS.values()))


def test_every_quick_score_of_ours_goes_through_the_suite_and_those_that_do_not_are_known():
    assert set(QUICK_NAMES) <= OURS.keys()
    left = {row.name for row in SCORES} - OURS.keys()
    groups = {"epsilon", "forgetting_quality", "final_score"} | {name for name in left if name.startswith("klom_")}
    assert left == groups | {"swap_advantage", "relearn_time", "weight_distance", "idi", "residual_knowledge"}


@pytest.mark.parametrize("row", SOUND, ids=lambda row: row.name)
def test_a_sound_score_passes_all_of_it(row):
    assert score_failures(row) == {}


@pytest.mark.parametrize(("row", "name", "reason"), BROKEN, ids=[row.name for row, *_ in BROKEN])
def test_a_broken_copy_fails_at_the_test_that_is_meant_for_it(row, name, reason):
    messages = score_failures(row, name).values()
    assert messages
    assert all(re.search(reason, message) for message in messages), messages


def test_every_check_has_a_broken_copy_that_fails_it():
    assert {name for _, name, _ in BROKEN} == {check.name for check in SCORE_CHECKS}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"name": "My Score"}, "its name cannot be typed"),
        ({"formula": " "}, "it says nothing of its formula"),
        ({"level": "slow"}, "its level is not one of quick, standard, full"),
        ({"side": "left"}, "its side is not one of both, above, below"),
        ({"needs": ("luck",)}, "it needs luck, and what a score can need is predictions"),
        ({"low": float("nan")}, "finite numbers or None"),
        ({"low": 2}, "low lies below high"),
        ({"identical": 7}, "identical lies in its range"),
        ({"kind": "secret"}, "its kind is not one of panel, distance, gap"),
    ],
)
def test_an_incomplete_row_is_one_sentence(facts, said):
    with pytest.raises(SettingError) as error:
        score(**FACTS | facts)(sureness)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_function_without_a_docstring_is_no_score():
    with pytest.raises(SettingError, match="docstring"):
        score(**FACTS)(lambda panel: 0.5)
    with pytest.raises(SettingError, match="cannot be called"):
        Score(replace(SOUND[0].score.row, name="nothing"), None)


ONE_ROW = '''
from natmu.scores import score, confidence
from natmu.testing import ScoreRow, score_conformance

@score(unit="0-1", low=0, high=1, formula="E[p_y]", baseline="that of retraining", original="near 1")
def tiny(panel):
    """How sure the model is of the retain set.

    Damage shows in it.
    """
    return float(confidence(panel.model.retain).mean()) if len(panel.model.retain) else 0.0

TestConformance = score_conformance(ScoreRow(tiny))
'''


def test_one_import_and_one_row_are_enough(pytester):
    pytester.makepyfile(ONE_ROW)
    outcomes = pytester.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes()
    assert outcomes.keys() == {"passed"}
    assert outcomes["passed"] > 20
