"""Heads on the command line: from a backbone of other classes to an export, and what is refused on the way."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.datasets import load_digits

from natmu.engine.store import Run
from natmu.records.settings import LogisticTraining, RidgeTraining

QUICK = ["--schedule", "cosine", "--precision", "fp32"]


@pytest.fixture
def digits(tmp_path):
    """The digits up to 4 in one file and the others in another one."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    for name, of in (("low", labels < 5), ("high", labels >= 5)):
        np.savez(
            tmp_path / f"{name}.npz",
            x_train=images[of][:300],
            y_train=labels[of][:300] % 5,
            x_test=images[of][300:450],
            y_test=labels[of][300:450] % 5,
        )


@pytest.fixture
def backbone(natmu, digits):
    """A run on digits up to 4."""
    trained = natmu("train", "--data", "low.npz", "--model", "small_cnn", "--epochs", 2, *QUICK, "--out", "runs/low")
    assert trained.status == 0, trained.err


RIDGE = ["train", "--data", "high.npz", "--head", "ridge", "--features-from", "runs/low"]


def test_a_head_on_a_backbone_of_other_classes_from_training_to_export(natmu, refused, backbone, tmp_path):
    trained = natmu(*RIDGE, "--out", "runs/head", "--json")
    assert trained.status == 0, trained.err
    low = Run(tmp_path / "runs/low").record.digest
    assert trained.json["lineage"]["start"]["origin"] == f"run {low} (original, seed 0 on low.npz)"
    assert trained.json["scores"]["test_acc"] > 60
    assert "The backbone normalises images itself" in trained.err

    down = ["unlearn", "--from", "runs/head", "--method", "downdate"]
    first = natmu(*down, "--forget", "random:10%", "--out", "runs/first", "--json")
    assert first.status == 0, first.err
    assert first.json["seconds"] < 1
    again = natmu("unlearn", "--from", "runs/head", "--forget", "random:10%", "--method", "retrain", "--out", "runs/re")
    assert again.status == 0, again.err
    for name in ("model.safetensors", "head.safetensors", "predictions.safetensors"):
        ours, theirs = (load_file(tmp_path / "runs" / run / name) for run in ("first", "re"))
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    second = natmu("unlearn", "--from", "runs/first", "--method", "downdate", "--forget", "class:2", "--out", "runs/b")
    assert second.status == 0, second.err

    audited = natmu("audit", "runs/first", "--level", "full", "--references", 2, "--json")
    assert audited.status == 0, audited.err
    rows = {row["method"]: row for row in audited.json["rows"]}
    assert rows["retrained"]["n"] == 1
    assert rows["retrained"]["scores"]["forget_acc"] == rows["downdate"]["scores"]["forget_acc"]
    record = json.loads((tmp_path / "runs/first/audit/audit.json").read_text())
    assert "its predictions are those of a retrained model, bit for bit" in record["forgotten"]["sentence"]
    assert any("draws nothing at random" in sentence for sentence in record["decisions"])

    exported = natmu("export", "runs/first", "--out", "first.pt")
    assert "features of length 1" in exported.err
    weights = torch.load(tmp_path / "first.pt", weights_only=True)
    assert all(torch.equal(weights[key], value) for key, value in Run(tmp_path / "runs/first").weights().items())
    assert "xport without --like" in refused("export", "runs/first", "--out", "b.pt", "--like", "first.pt")
    assert "was trained on low.npz, which is this data" in refused(*words("low.npz"), "--out", "runs/no")
    assert "holds a head on a backbone from run" in refused(*words("low.npz", "runs/head"))


def words(data, features_from="runs/low", kind="ridge"):
    return ["train", "--data", data, "--head", kind, "--features-from", features_from]


def test_the_help_tells_the_defaults(natmu):
    told = " ".join(natmu("train", "--help").out.split())
    ridge, logistic = RidgeTraining(), LogisticTraining()
    assert f"norm of its weights. [default: {ridge.l2:g} of ridge, {logistic.l2:g} of logistic]" in told
    for name in ("epsilon", "delta", "noise"):
        assert re.search(rf" --{name} <float> With --head logistic: [^\[]+\[default: (\S+)\]", told)[1] == (
            f"{getattr(logistic, name):g}"
        )


def test_the_seed_of_a_logistic_head_is_secret(natmu, backbone, tmp_path):
    command = [*words("high.npz", kind="logistic"), "--epsilon", 2, "--l2", 5, "--out"]
    first, other = (natmu(*command, f"runs/{name}", "--json") for name in ("a", "b"))
    assert first.status == other.status == 0, first.err
    seeds = [Run(tmp_path / "runs" / name).record.lineage.seed for name in ("a", "b")]
    assert seeds[0] != seeds[1]
    assert not any(str(seeds[0]) in text for text in (first.out, first.err))
    assert first.json["lineage"]["recipe"] | {"epsilon": 2.0, "l2": 5.0} == first.json["lineage"]["recipe"]
    assert "drawn from the operating system" in first.err
    again = natmu(*command, "runs/a", "--json")
    assert again.json == first.json
    given = natmu(*command, "runs/c", "--seed", 7, "--json")
    assert Run(tmp_path / "runs/c").record.lineage.seed == 7
    assert "Anyone who guesses it can subtract the noise" in given.err
    down = natmu("unlearn", "--from", "runs/a", "--forget", "random:1", "--method", "downdate", "--json")
    assert down.status == 0, down.err
    assert str(seeds[0]) not in down.out + down.err


FACTORY = """
import torch
from torch import nn

def make(num_classes):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, num_classes))
    trained = torch.Generator().manual_seed(3)
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(16, 64, generator=trained))
        network[1].bias.zero_()
    return network
"""


def test_a_factory_may_bring_its_weights_and_a_file_needs_an_architecture(natmu, refused, digits, tmp_path):
    (tmp_path / "zoo_of_heads.py").write_text(FACTORY)
    made = natmu(*words("high.npz", "zoo_of_heads:make"), "--json")
    assert made.status == 0, made.err
    assert made.json["lineage"]["start"]["origin"] == "zoo_of_heads:make"
    assert "Nobody said what the backbone from zoo_of_heads:make was trained on" in made.err
    assert made.json["scores"]["test_acc"] > 60
    torch.save({}, tmp_path / "some.pt")
    assert "name its architecture with --model" in refused(*words("high.npz", "some.pt"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--epochs", 3], "--epochs is a setting of natmu's own training; leave it out with"),
        (["--epsilon", 2], "epsilon"),
        (["--outputs", "probabilities"], "leave --outputs out"),
        (["--precision", "bf16"], "leave --precision bf16 out"),
        (["--training", "{epochs: 3}"], "give one of them"),
        (["--model", "vgg11"], "says its own architecture, small_cnn"),
    ],
)
def test_what_does_not_go_with_a_head_is_refused(refused, backbone, options, sentence, tmp_path):
    before = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert sentence in refused(*RIDGE, *options)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == before


def test_incomplete_commands_are_refused(refused, digits):
    train = ["train", "--data", "high.npz"]
    assert "name that model with --features-from" in refused(*train, "--head", "ridge")
    assert "There is no nowhere" in refused(*train, "--head", "ridge", "--features-from", "nowhere")
    assert "name its kind with --head" in refused(*train, "--model", "small_cnn", "--l2", 3)
    assert "name its kind with --head" in refused(*train, "--model", "small_cnn", "--features-from", "runs/low")
    assert "with --model" in refused(*train)
