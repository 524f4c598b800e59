"""Inputs that are half right, on the command line: one sentence, status 2, and nothing is left behind."""

from __future__ import annotations

import json

import pytest

from natmu.data.datasets import from_dataset
from natmu.errors import UsageError
from natmu.studies.recipe import Recipe

LONG = "x" * 10_000
TINY = ("--model", "small_cnn", "--epochs", 1, "--precision", "fp32")


@pytest.mark.parametrize("pair", ["lr=", "lr= ", "lr=#1e-3", "label=---", "lr=&a"])
def test_a_setting_without_a_value(refused, pair):
    told = refused("unlearn", "--from", "x", "--forget", "random:1", "--method", "finetune", "--set", pair)
    assert "gives no value; write one" in told


def test_null_is_a_value(refused):
    told = refused("unlearn", "--from", "x", "--forget", "random:1", "--method", "finetune", "--set", "lr=null")
    assert "lr: write a number" in told


@pytest.mark.parametrize("out", [(), ("--out", "a/b/c")])
def test_refused_training_leaves_no_folder(refused, tmp_path, out):
    assert "32 x 32" in refused("train", "--data", "digits", "--model", "vgg16", *out)
    assert not [*tmp_path.iterdir()]


def test_refused_training_leaves_other_runs(refused, tmp_path):
    (tmp_path / "runs/mine").mkdir(parents=True)
    refused("train", "--data", "digits", "--model", "vgg16")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["runs", "runs/mine"]


@pytest.mark.parametrize(
    "words",
    [
        ("requests", "init", "--from", LONG, "--data", "digits", "--model", "small_cnn", "--out", "service"),
        ("requests", "init", "--from", "x", "--data", "digits", "--model", "small_cnn", "--out", LONG),
        ("train", "--data", LONG, *TINY),
        ("train", "--data", "digits", *TINY, "--out", LONG),
        ("unlearn", "--from", LONG, "--forget", "random:1"),
        ("audit", LONG),
        ("bench", LONG),
        ("report", LONG),
    ],
    ids=lambda words: " ".join(str(word) for word in words[:2] if word != LONG),
)
def test_a_name_too_long_for_a_file(natmu, tmp_path, words):
    outcome = natmu(*words)
    assert outcome.status == 2, outcome
    told = outcome.err.splitlines()[-1]
    assert "too long" in told.lower() or "There is no" in told
    assert "Cannot write service" not in told
    assert len(told) < 700
    assert not [*tmp_path.iterdir()]


def test_many_unknown_keys_are_told_of_in_short(refused, tmp_path):
    (tmp_path / "r.yaml").write_text("".join(f"key{number}: 1\n" for number in range(300)) + f"{LONG[:1_000]}: 1\n")
    told = refused("bench", "r.yaml")
    assert "key0 is not a setting" in told
    assert "more such faults" in told
    assert told.count("known here: ") == 1
    assert all(name in told for name in Recipe.model_fields)
    assert len(told) < 700


@pytest.mark.parametrize("text", [json.dumps({"name": "\ud800"}), 'name: "\\ud800"', 'label: "\\udce9"'])
def test_escapes_that_write_no_text(refused, tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    assert "r.yaml" in refused("bench", "r.yaml")


def test_names_of_classes_that_are_no_text(natmu, tmp_path, monkeypatch):
    """From a loader of one's own, and in memory."""
    (tmp_path / "half_right_data.py").write_text(
        "import numpy as np\nfrom torch.utils.data import TensorDataset\nimport torch\n"
        "class Own(TensorDataset):\n    classes = ('a', 'b\\udce9')\n"
        "def load():\n"
        "    data = Own(torch.rand(8, 1, 8, 8), torch.tensor([0, 1] * 4))\n"
        "    return data, data\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    outcome = natmu("train", "--data", "half_right_data:load", *TINY)
    assert outcome.status == 2, outcome
    assert "The class 'b\\udce9' is not text in UTF-8; rename it." in outcome.err
    assert not (tmp_path / "runs").exists()
    from half_right_data import load

    with pytest.raises(UsageError, match="is not text in UTF-8"):
        from_dataset(load()[0])
