"""``natmu plan``: retraining beside every method."""

import json

import numpy as np
import pytest
from safetensors.torch import save_file

from natmu.cli.output import print_plan
from natmu.engine.store import Run
from natmu.lineage.costs import advice
from natmu.methods import METHODS
from natmu.models import build_model
from natmu.planning import MethodPlan


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


def test_a_plan_of_shards_and_heads_says_what_exact_unlearning_takes_and_why_it_cannot_serve(natmu, tmp_path):
    tiny = ("--data", "digits", "--model", "small_cnn", "--epochs", "2", "--train-size", "200")
    assert natmu("train", *tiny, "--shards", "4", "--out", "runs/shards").status == 0
    outcome = natmu("plan", "--from", "runs/shards", "--forget", "random:1", "--json")
    assert outcome.status == 0, outcome
    rows = {row["method"]: row for row in json.loads(outcome.out)["methods"]}
    run = Run(tmp_path / "runs/shards")
    largest = max(np.bincount(run.division()[:, 0])) / len(run.division())
    assert 0 < rows["sisa"]["fraction"] < largest * 200 / 199
    assert "natmu train --head" in rows["downdate"]["reason"]
    network = build_model("small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=(0.0,), std=(1.0,), seed=5)
    save_file(network.state_dict(), "backbone.safetensors")
    head = ("--head", "ridge", "--features-from", "backbone.safetensors")
    assert natmu("train", *tiny[:4], *tiny[6:], *head, "--out", "runs/head").status == 0
    outcome = natmu("plan", "--from", "runs/head", "--forget", "random:1", "--json")
    assert outcome.status == 0, outcome
    plan = json.loads(outcome.out)
    rows = {row["method"]: row for row in plan["methods"]}
    assert plan["methods"][0]["method"] == "downdate"
    assert rows["downdate"]["seconds"] == 0
    assert "natmu train --shards 5" in rows["sisa"]["reason"]
    assert plan["retraining"] == pytest.approx(Run(tmp_path / "runs/head").record.seconds * 199 / 200)


@pytest.mark.parametrize(("count", "said"), [(1, "1 sample to forget, 9 to retain;"), (2, "2 samples to forget, 9 to")])
def test_a_sample_is_one(capsys, count, said):
    print_plan(MethodPlan(count, 9, {}, None, None, (), None))
    assert said in capsys.readouterr().out


def test_retraining_is_advised_where_it_is_as_cheap_and_only_there():
    assert advice(unlearning=1, retraining=59)
    assert advice(unlearning=100, retraining=199)
    assert advice(unlearning=1, retraining=61) is None
    assert advice(unlearning=100, retraining=201) is None
