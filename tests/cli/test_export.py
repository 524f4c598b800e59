"""What comes out loads where the original was loaded, and a plain script that serves it gives natmu's logits."""

import importlib
import sys

import pytest
import torch
from tests.vision import operators

from natmu.data import load
from natmu.engine.store import Run

NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU())
        self.head = nn.Linear(32, num_classes)

    def forward(self, images):
        features = self.features(images)
        return {"features": features, "logits": self.head(features)}
"""
TRAIN = ["train", "--data", "digits", "--precision", "fp32", "--batch-size", 32, "--lr", 0.05, "--augment", "none"]
UNLEARN = ["unlearn", "--data", "digits", "--precision", "fp32", "--forget", "random:5%", "--method", "finetune"]


@pytest.fixture
def images(tmp_path):
    test = load("digits", tmp_path).test
    return test.take(torch.arange(len(test))).float() / 255


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "nets_to_export.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("nets_to_export")
    del sys.modules["nets_to_export"]


def logits_of(folder):
    return torch.from_numpy(Run(folder).outputs().test.logits)


def close(logits, run):
    torch.testing.assert_close(logits.detach(), logits_of(run), rtol=1e-4, atol=1e-4)
    return True


def test_a_lightning_checkpoint_goes_in_and_comes_out(natmu, refused, nets, images, tmp_path):
    model = ["--model", "nets_to_export:Net"]
    assert natmu(*TRAIN, *model, "--epochs", 4, "--mean", "0.25", "--std", "0.5", "--out", "runs/a").status == 0
    assert natmu("export", "runs/a", "--out", "bare.pt").status == 0
    state = torch.load("bare.pt", weights_only=True)
    assert state.keys() == nets.Net().state_dict().keys()
    torch.save({"state_dict": {f"net.{name}": value for name, value in state.items()}, "epoch": 4}, "last.ckpt")
    done = natmu(*UNLEARN, *model, "--from", "last.ckpt", "--mean", "0.25", "--std", "0.5", "--set", "epochs=1")
    assert done.status == 0, done.err
    run = next(path.parent for path in (tmp_path / "runs").glob("*/forget.npy"))
    assert natmu("export", run, "--like", "last.ckpt", "--out", "unlearned.ckpt").out == "wrote unlearned.ckpt\n"

    served = nets.Net().eval()
    content = torch.load("unlearned.ckpt", weights_only=True)
    served.load_state_dict({name.removeprefix("net."): value for name, value in content["state_dict"].items()})
    assert content["epoch"] == 4
    assert close(served((images - 0.25) / 0.5)["logits"], run)
    assert "is there already" in refused("export", run, "--like", "last.ckpt", "--out", "unlearned.ckpt")
    assert "let --out end in .ckpt" in refused("export", run, "--like", "last.ckpt", "--out", "un.safetensors")
    assert "--mean, --std out" in refused(*UNLEARN, "--from", run, "--mean", "0", "--std", "1")


def test_a_huggingface_folder_goes_in_and_comes_out(natmu, images, tmp_path):
    operators()
    import transformers

    shape = {"embedding_size": 16, "hidden_sizes": [16], "depths": [1], "layer_type": "basic", "num_channels": 1}
    config = transformers.AutoConfig.for_model("resnet", **shape, num_labels=10)
    with torch.random.fork_rng(devices=[]):
        transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "optimizer.pt").touch()

    def served(folder):
        model = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / folder, local_files_only=True)
        return model.eval()(images).logits

    assert natmu(*TRAIN, "--model", "hf:saved", "--epochs", 2, "--out", "runs/a").status == 0
    done = natmu("export", "runs/a", "--like", "saved", "--out", "trained")
    assert done.status == 0, done.err
    assert "optimizer.pt of saved are left out" in " ".join(done.err.split())
    assert close(served("trained"), tmp_path / "runs/a")
    done = natmu(*UNLEARN, "--from", "trained", "--set", "epochs=1", "--out", "runs/b")
    assert done.status == 0, done.err
    assert natmu("export", "runs/b", "--like", "trained", "--out", "saved", "--force").status == 0
    assert close(served("saved"), tmp_path / "runs/b")
    assert not torch.allclose(served("trained"), served("saved"))
