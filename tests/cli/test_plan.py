"""``natmu plan``: retraining beside every method."""

import json

import pytest

from natmu.engine.store import Run
from natmu.lineage.costs import advice
from natmu.methods import METHODS


def test_a_plan_names_every_method_and_what_retraining_takes(natmu, tmp_path):
    tiny = ("--data", "digits", "--model", "small_cnn", "--epochs", "1", "--train-size", "300")
    assert natmu("train", *tiny, "--out", "runs/original").status == 0
    outcome = natmu("plan", "--from", "runs/original", "--forget", "random:10%", "--json")
    assert outcome.status == 0, outcome
    plan = json.loads(outcome.out)
    record = Run(tmp_path / "runs/original").record
    whole = plan["forget"] + plan["retain"]
    assert plan["retraining"] == pytest.approx(record.seconds * plan["retain"] / whole)
    rows = {row["method"]: row for row in plan["methods"]}
    assert rows.keys() == {method.name for method in METHODS} - {"retrain"}
    epochs = record.lineage.recipe.epochs
    assert rows["finetune"]["fraction"] == pytest.approx(10 / epochs)
    assert "not random" in rows["unsir"]["reason"]
    assert rows["rum"]["seconds"] is None
    assert plan["advice"].startswith("Retraining ")
    assert plan["original"]["train_acc"] == pytest.approx(record.scores["train_acc"])
    assert " ".join(outcome.err.split()).startswith("original: right on ")


def test_retraining_is_advised_where_it_is_as_cheap_and_only_there():
    assert advice(unlearning=1, retraining=59)
    assert advice(unlearning=100, retraining=199)
    assert advice(unlearning=1, retraining=61) is None
    assert advice(unlearning=100, retraining=201) is None
