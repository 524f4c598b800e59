"""Rows whose original is not that of the others: sisa beside methods on a plain original."""

from __future__ import annotations

import pytest

from natmu.errors import UsageError
from natmu.records.derived import root_of
from natmu.records.settings import sharding_of
from natmu.studies.bench import unserved_by, workspace_of
from natmu.studies.plan import audit_models, plan_of
from natmu.types import RETRAINED

from . import fakes

SISA = {"method": "sisa", "settings": {"shards": 3, "slices": 2}}


def recipe(**changed):
    return fakes.recipe(**{"methods": [SISA, fakes.FAST[0]], "forget": ["random:10%", "hardest:5%"]} | changed)


@pytest.fixture
def place(tmp_path):
    """Where models of the recipes here would be made."""
    return workspace_of(recipe(), tmp_path, tmp_path / "none", "cpu")


def divided(training):
    sharding = sharding_of(training)
    return None if sharding is None else (sharding.shards, sharding.slices, sharding.combine)


def by_label(plan):
    return {label: [run for run in plan.runs if run.label == label] for label in ("sisa", "natmu", RETRAINED)}


def test_sisa_has_a_divided_original_of_the_same_seed_and_all_others_a_plain_one(place):
    plan = plan_of(recipe(), place)
    runs = by_label(plan)
    assert {divided(run.source.recipe) for run in runs["sisa"]} == {(3, 2, "probabilities")}
    assert {divided(run.source.recipe) for label in ("natmu", RETRAINED) for run in runs[label]} == {None}
    assert {divided(run.model.recipe) for run in runs[RETRAINED]} == {None}
    plain = {run.seeds: run.source for run in runs["natmu"]}
    for run in runs["sisa"]:
        other = plain[run.seeds]
        assert run.source.seed == other.seed
        assert run.source.start == other.start
        assert run.source.recipe.model_copy(update={"sharding": None}) == other.recipe
        assert root_of(run.model) == run.source
    assert {run.own for run in runs["sisa"]} == {True}
    assert {run.own for label in ("natmu", RETRAINED) for run in runs[label]} == {False}
    assert {run.source for run in plan.runs} == {*plan.originals}
    assert len(plan.originals) == 4


def test_all_rows_forget_the_same_samples_the_hardest_too(place):
    runs = by_label(plan_of(recipe(), place))
    assert {(run.seeds, run.request.text): run.forget for run in runs["sisa"]} == {
        (run.seeds, run.request.text): run.forget for run in runs["natmu"]
    }


def test_a_model_of_a_row_is_that_of_a_study_whose_originals_are_all_divided(place):
    plain = by_label(plan_of(recipe(methods=[SISA]), place))
    training = recipe().training.model_dump(exclude={"sharding"}) | {"sharding": SISA["settings"]}
    for settings in ({}, SISA["settings"]):
        asked = recipe(training=training, methods=[{"method": "sisa", "settings": settings}, fakes.FAST[0]])
        shared = by_label(plan_of(asked, place))
        assert not any(run.own for runs in shared.values() for run in runs)
        assert {divided(run.model.recipe) for run in shared[RETRAINED]} == {(3, 2, "probabilities")}
        random = [[run.model for run in runs["sisa"] if run.request.kind == "random"] for runs in (plain, shared)]
        assert random[0] == random[1]


def test_an_audit_of_the_row_compares_with_models_that_are_divided_alike(place):
    asked = recipe(audit="standard", references=2)
    plan = plan_of(asked, place)
    for run in by_label(plan)["sisa"]:
        trained = [model for model in audit_models(asked, run) if model.kind == "trained"]
        assert trained
        assert {divided(model.recipe) for model in trained} == {(3, 2, "probabilities")}


def test_sisa_on_a_plain_original_is_refused_and_with_a_division_it_is_not(place):
    with pytest.raises(UsageError, match=r"not trained in shards.*setting shards in a recipe"):
        unserved_by(recipe(methods=[{"method": "sisa"}]), place, None)
    assert unserved_by(recipe(), place, None) == {}


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"methods": [{"method": "sisa", "settings": {"shards": 1}}]}, "no division"),
        ({"methods": [{"method": "sisa", "search": {"shards": [2, 5]}}]}, "give sisa a grid"),
        ({"training": {"head": "ridge"}}, "features_from"),
        ({"features_from": "runs/other"}, "features_from is for heads"),
    ],
)
def test_what_cannot_be_is_said_when_the_recipe_is_read(changed, hint):
    with pytest.raises(UsageError, match=hint):
        recipe(**changed)


def test_a_grid_of_divisions_has_an_original_for_each(place):
    plan = plan_of(recipe(methods=[{"method": "sisa", "grid": {"shards": [2, 5]}}]), place)
    found = {(run.label, divided(run.source.recipe)) for run in plan.runs if run.own}
    assert found == {("sisa shards=2", (2, 1, "probabilities")), ("sisa shards=5", (5, 1, "probabilities"))}
