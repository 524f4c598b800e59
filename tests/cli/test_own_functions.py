"""Data sets and augmentation by functions of the user's own, found by their names."""

from __future__ import annotations

import pickle
import sys
import textwrap

import pytest
import torch

from natmu.data import load
from natmu.engine.store import Run
from natmu.errors import DataError, SettingError
from natmu.records.lineage import Trained
from natmu.records.run import open_run
from natmu.records.settings import TrainSettings


def test_training_settings_read_every_form_of_augment(tmp_path, monkeypatch):
    own = written(tmp_path, monkeypatch)
    assert [TrainSettings(augment=value).augment for value in (True, "default", False, "none")] == [
        True,
        True,
        False,
        False,
    ]
    named = TrainSettings(augment="mine_here:brighter")
    again = TrainSettings.model_validate_json(named.model_dump_json())
    assert again == TrainSettings.parse(named.model_dump())
    assert again.augment_name == "mine_here:brighter"
    assert again.augment.found() is sys.modules["mine_here"].brighter
    own.write_text(own.read_text() + "\n")
    with pytest.raises(SettingError, match=r"defines mine_here:brighter has changed"):
        again.augment.found()
    for wrong, reason in (
        ("crop", "write true"),
        ("mine_here:darker", "cannot be imported"),
        ("mine_here:LABELS", "is a list"),
    ):
        with pytest.raises(SettingError, match=f"augment: .*{reason}"):
            TrainSettings.parse({"augment": wrong})


MINE = """
import torch
from torch.utils.data import Dataset

LABELS = [0, 1]


class Waves(Dataset):
    classes = ["slow", "quick"]

    def __init__(self, count, first):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        label = index % 2
        wave = torch.sin(torch.arange(128.0) * (1 + label) / 4 + self.first + index).view(1, 8, 16)
        return 5 * wave.repeat(3, 1, 1) - 40, label


def waves():
    return {"train": Waves(40, 0.0), "test": Waves(20, 0.5), "holdout": Waves(10, 0.25)}


def pair():
    return Waves(40, 0.0), Waves(20, 0.5)


def three():
    return [Waves(4, 0.0)] * 3


def leaves():
    raise SystemExit(0)


def stranger():
    return Waves(4, 0.0), [(image, 2) for image, _ in (Waves(4, 0.5)[row] for row in range(4))]


def broken():
    raise FileNotFoundError("waves.zip")


def brighter(images):
    return images + 0.1 * torch.rand(len(images), 1, 1, 1, device=images.device)
"""


def written(folder, monkeypatch):
    """A module of the user's in the current directory."""
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "mine_here", raising=False)
    file = folder / "mine_here.py"
    file.write_text(textwrap.dedent(MINE))
    return file


@pytest.fixture(autouse=True)
def _forgets_the_users_module():
    yield
    sys.modules.pop("mine_here", None)


def test_a_data_set_by_the_users_function(tmp_path, monkeypatch):
    written(tmp_path, monkeypatch)
    splits = load("mine_here:waves", tmp_path, train_size=10)
    assert splits.name == "mine_here:waves"
    assert splits.train.class_names == ("slow", "quick")
    assert splits.holdout is not None
    assert (len(splits.train), len(splits.test), len(splits.holdout)) == (10, 20, 10)
    assert splits.own is not None
    for part, own in ((splits.train, splits.own.train), (splits.test, splits.own.test)):
        for index in (0, len(part) - 1):
            image, label = own[index]
            assert torch.equal(part.take(torch.tensor([index]))[0], image)
            assert part.labels[index] == label
    sent = pickle.dumps((splits.own, TrainSettings(augment="mine_here:brighter")))
    sys.modules.pop("mine_here")  # as in another process, whose path lacks the current directory
    own, settings = pickle.loads(sent)
    assert [len(part) for part in (own.train, own.test)] == [10, 20]
    assert torch.equal(own.train[7][0], splits.own.train[7][0])
    assert settings.augment.found() is sys.modules["mine_here"].brighter
    divided = load("mine_here:pair", tmp_path, holdout=True)
    assert divided.own is not None
    assert (len(divided.test), len(divided.own.test)) == (16, 16)
    for name, reason in (("leaves", "SystemExit: 0"), ("stranger", "label 2, and the training data has 2 classes")):
        with pytest.raises(DataError, match=reason):
            load(f"mine_here:{name}", tmp_path)
    for name, reason in (("three", "returned a list"), ("broken", "waves.zip"), ("none", "cannot be imported")):
        with pytest.raises(DataError, match=f"^mine_here:{name} .*{reason}"):
            load(f"mine_here:{name}", tmp_path)


def test_own_data_and_augmentation_on_the_command_line(natmu, tmp_path, monkeypatch):
    written(tmp_path, monkeypatch)
    words = ["--model", "small_cnn", "--epochs", "2", "--batch-size", "20", "--device", "cpu", "--precision", "fp32"]
    digests = []
    for name, augment in (("one", "mine_here:brighter"), ("two", "mine_here:brighter"), ("three", "none")):
        out = ["--out", f"runs{name}/{name}", "--augment", augment]
        done = natmu("train", "--data", "mine_here:waves", *words, *out)
        assert done.status == 0, done.err
        run = Run(open_run(tmp_path / f"runs{name}/{name}").path)
        assert isinstance(run.record.lineage, Trained)
        assert run.record.lineage.data.source == "mine_here:waves"
        digests.append((run.record.lineage.digest, run.weights()))
    assert digests[0][0] == digests[1][0] != digests[2][0]
    same = [all(torch.equal(value, digests[0][1][key]) for key, value in one.items()) for _, one in digests]
    assert same == [True, True, False]
    asked = ["unlearn", "--from", "runsone/one", "--forget", "random:10%", "--method", "finetune", "--set", "epochs=1"]
    done = natmu(*asked, "--set", "augment_retain=true", "--device", "cpu")
    assert done.status == 0, done.err
