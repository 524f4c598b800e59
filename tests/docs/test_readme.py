"""The README's example runs as it stands, and its commands and methods exist."""

import re
from pathlib import Path

import torch

import natmu
from natmu.data import load
from natmu.engine.compute import Compute
from natmu.engine.training import train_classifier
from natmu.methods import METHODS
from natmu.models import build_model
from natmu.records.settings import TrainSettings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line]) <= 5
    splits = load("digits", Path())
    shape = {"num_classes": 10, "image_shape": (1, 8, 8), "mean": splits.mean, "std": splits.std}
    names = {
        "model": build_model("small_cnn", **shape, seed=0),
        "forget": [3, 141, 592],
        "recipe": {"epochs": 2, "warmup_epochs": 0},
        "train_data": (splits.train.images, splits.train.labels),
        "test_data": (splits.test.images, splits.test.labels),
    }
    enough = TrainSettings(epochs=2, batch_size=64, lr=0.05, warmup_epochs=0, augment=False)
    cpu = Compute.choose("cpu", "fp32")
    train_classifier(names["model"], splits.train, torch.arange(len(splits.train)), enough, cpu, seed=0)
    before = {name: tensor.clone() for name, tensor in names["model"].state_dict().items()}
    exec(example, names)
    assert natmu.__name__ in example
    result = names["result"]
    assert result.seconds > 0
    assert result.settings["method"] == "natmu"
    assert result.forget.indices.tolist() == [3, 141, 592]
    assert len(names["retrained"]) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in names["model"].state_dict().items())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in result.model.state_dict().items())
    assert "istinguishable from retrained models" in capsys.readouterr().out


def test_every_method_is_in_the_table():
    rows = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert rows == [method.name for method in METHODS]
