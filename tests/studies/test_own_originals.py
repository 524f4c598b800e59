"""Rows whose original is not that of the others: sisa beside methods on a plain original."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from natmu.engine.store import Run
from natmu.errors import UsageError
from natmu.lineage import shards
from natmu.records.derived import root_of
from natmu.records.settings import sharding_of
from natmu.records.study import StudyFolder
from natmu.report import tables
from natmu.studies.bench import run_recipe, unserved_by, workspace_of
from natmu.studies.originals import with_resolved_training
from natmu.studies.plan import audit_models, plan_of
from natmu.types import RETRAINED, positions_digest

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
        asked = with_resolved_training(asked)
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


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    asked = recipe(forget=["hardest:4"], seeds={"training": [0, 1]})
    return asked, out, run_study(asked, out)


def run_study(asked, out):
    return StudyFolder(run_recipe(asked, data_dir=out, out=out, device="cpu", progress=False)).table


def row(table, method, scenario="hardest:4"):
    return next(row for row in table.rows if (row.method, row.scenario) == (method, scenario))


def runs_of(replicates, out):
    return [Run(out / replicate.run) for replicate in replicates]


def test_one_table_compares_sisa_with_the_others_and_says_how_good_its_original_is(study):
    _, out, table = study
    assert [row.failed for row in table.rows] == [None] * 4
    sisa, plain = row(table, "sisa"), row(table, "original")
    assert sisa.original is not None
    assert [one.original for one in table.rows if one.method != "sisa"] == [None] * 3
    own, shared = runs_of(sisa.original.replicates, out), runs_of(plain.replicates, out)
    assert [divided(run.record.lineage.recipe) for run in own + shared] == [(3, 2, "probabilities")] * 2 + [None] * 2
    accuracies = [run.record.scores["test_acc"] for run in own]
    assert list(sisa.original.scores["test_acc"].values) == accuracies
    assert list(plain.scores["test_acc"].values) == [run.record.scores["test_acc"] for run in shared]
    (said,) = [said for said in tables(table)[0].remarks if "original of its own" in said]
    assert f"test accuracy {np.mean(accuracies):.0f}" in said


def test_its_gap_and_cost_are_against_the_retrained_models_of_all_rows(study):
    _, out, table = study
    sisa, retrained = row(table, "sisa"), row(table, "retrained")
    references = runs_of(retrained.replicates, out)
    assert {divided(run.record.lineage.recipe) for run in references} == {None}
    for place, run in enumerate(runs_of(sisa.replicates, out)):
        names = ("test_acc", "retain_acc", "forget_acc", "mia_entropy")
        alike = [other for other in references if other.record.forgotten.digest == run.record.forgotten.digest]
        mean = {name: np.mean([other.record.scores[name] for other in alike]) for name in names}
        gap = np.mean([abs(run.record.scores[name] - mean[name]) for name in names])
        assert sisa.scores["avg_gap"].values[place] == pytest.approx(gap)
        assert sisa.scores["seconds"].values[place] in (None, run.record.seconds)


def test_its_cost_is_what_its_stages_took(study):
    _, out, table = study
    every = [Run(path.parent) for path in out.glob("*/record.json")]
    stages = [run for run in every if run.record.lineage.kind == "stage"]
    for run in runs_of(row(table, "sisa").replicates, out):
        forgotten = run.forget().indices
        counts = range(1, len(forgotten) + 1)
        parts = [np.array(part) for count in counts for part in combinations(forgotten, count)]
        digests = {positions_digest(part) for part in parts}
        seed = run.record.lineage.source.seed
        told = [stage.record for stage in stages if stage.record.lineage.left_out in digests]
        trained = [record for record in told if record.lineage.seed == seed]
        assert trained
        assert run.record.seconds == pytest.approx(sum(record.seconds for record in trained), abs=1e-3)
        assert run.record.seconds < Run(out / run.record.lineage.source.digest).record.seconds * 1.5


def test_interrupted_and_resumed_it_gives_the_table_of_one_that_was_not(tmp_path, monkeypatch):
    out, whole, make = tmp_path / "interrupted", tmp_path / "never interrupted", shards.make_stage
    asked = recipe(forget=["random:2"], methods=[SISA], seeds={})
    stages = []

    def interrupting(stage, *of):
        stages.append(stage.digest)
        if len(stages) in (3, 8):  # of the original, and of what sisa trains again
            raise KeyboardInterrupt
        return make(stage, *of)

    monkeypatch.setattr(shards, "make_stage", interrupting)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_study(asked, out)
        assert not (out / "tiny").exists()
    tables = [without_clocks(run_study(asked, root)) for root in (out, whole)]
    assert tables[0] == tables[1]
    made = stages[: stages.index(stages[0], 1)]
    assert sorted(set(made)) == sorted(made[:2] + made[3:7] + made[8:])  # none was made twice but those interrupted
    for path in whole.glob("*/model.safetensors"):
        assert path.read_bytes() == (out / path.parent.name / path.name).read_bytes()


def without_clocks(table):
    """The rows of a table without what hangs on a clock."""
    clocks = {"seconds": True, "retrain_fraction": True}
    return [row.model_dump(mode="json", exclude={"scores": clocks}) for row in table.rows]
