"""The audits of a study, and the models that they train together."""

from __future__ import annotations

import pytest

import warm
from natmu.engine import together
from natmu.engine.store import Run
from natmu.errors import TrainingError
from natmu.lineage.executors import side_by_side
from natmu.methods import method_named
from natmu.records.audit import AuditFolder
from natmu.records.study import StudyFolder
from natmu.studies import run_recipe

from . import fakes

AMNESIAC = {"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}}


def folder_of(recipe, out):
    return StudyFolder(run_recipe(recipe, data_dir=out, out=out, device="cpu", progress=False))


def test_a_study_writes_the_audit_of_each_method(tmp_path):
    recipe = fakes.recipe(forget=["random:10%"], methods=[AMNESIAC], audit="quick", references=2)
    study = folder_of(recipe, tmp_path)
    assert [(one.scenario, one.label) for one in study.audits] == [
        ("random:10%", "retrained"),
        ("random:10%", "amnesiac"),
    ]
    rows = {row.method: row for row in study.table.rows}
    for one in study.audits:
        assert one.audit.scores["avg_gap"].value >= 0
        first = rows[one.label].replicates[0]
        assert one.audit.run == first.digest
        assert AuditFolder(Run(tmp_path / first.run)).audit == one.audit


def test_a_study_without_audits_has_none(tmp_path):
    study = folder_of(fakes.recipe(forget=["class:3"], methods=[AMNESIAC], seeds={"training": [0]}), tmp_path)
    assert study.audits == ()
    assert not (study.path / "audit.json").exists()


def test_a_study_audits_the_first_replicate_that_succeeded(tmp_path, monkeypatch):
    amnesiac = method_named("amnesiac")
    run = amnesiac.run

    def failing(self, problem):
        if problem.seed == 5:
            raise TrainingError("The loss is not finite; lower lr.")
        return run(self, problem)

    monkeypatch.setattr(amnesiac, "run", failing)
    seeds = {"training": [0, 7], "unlearning": [5, 6]}
    recipe = fakes.recipe(forget=["random:10%"], methods=[AMNESIAC], seeds=seeds, audit="quick", references=2)
    audits = {one.label: one.audit for one in folder_of(recipe, tmp_path).audits}
    assert len(audits["amnesiac"].models.retrained) == 2
    assert Run(tmp_path / audits["amnesiac"].run).record.lineage.seed == 6


def study(out):
    recipe = fakes.recipe(forget=["hardest:5%"], methods=[AMNESIAC], seeds={"training": [0, 1, 2]})
    return folder_of(recipe, out).table.rows


def without_costs(rows):
    clocks = ("seconds", "retrain_fraction")
    return [
        (row.model_dump(exclude={"scores"}), {name: row.scores[name] for name in row.scores if name not in clocks})
        for row in rows
    ]


def weights(out):
    return {path.parent.name: path.read_bytes() for path in out.glob("*/model.safetensors")}


@pytest.fixture
def asked(monkeypatch):
    """Train together all that can be; what was asked for: number of models, processes."""
    found = []

    def run(function, arguments, processes, label):
        found.append((len(arguments), processes))
        together.run_together(function, arguments, processes, label)

    monkeypatch.setattr(side_by_side, "processes_for", lambda *_, count: min(2, count))
    monkeypatch.setattr(side_by_side, "run_together", run)
    warm.start_workers(monkeypatch)
    return found


def test_a_study_trained_together_is_the_study_trained_in_turn(tmp_path, asked, monkeypatch):
    """To the bit, because workers have one thread here, as this process has."""
    rows = study(tmp_path / "together")
    assert asked == [(2, 2), (4, 2)]
    assert study(tmp_path / "together") == rows
    monkeypatch.undo()
    assert without_costs(study(tmp_path / "in turn")) == without_costs(rows)
    assert weights(tmp_path / "in turn") == weights(tmp_path / "together")
    assert len(asked) == 2
