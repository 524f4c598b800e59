"""A class is forgotten together with its output: the run, its audit, its export, and what cannot follow."""

import json

import pytest
import torch

from natmu.engine.store import Run
from natmu.models import build_model
from natmu.types import NO_OUTPUT

DATA = ["--data", "digits", "--train-size", 200, "--precision", "fp32"]
TRAIN = ["train", *DATA, "--model", "small_cnn", "--batch-size", 32, "--lr", 0.05, "--epochs", 3, "--augment", "none"]
DROP = ["--method", "finetune", "--set", "epochs=1", "--set", "lr=0.001", "--precision", "fp32"]
KEPT = [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.fixture
def trained(natmu):
    assert natmu(*TRAIN, "--out", "runs/original").status == 0


def test_a_class_goes_with_its_output(natmu, refused, trained, tmp_path):
    done = natmu("unlearn", "--from", "runs/original", "--drop-class", 3, *DROP, "--out", "runs/less")
    assert done.status == 0, done.err
    sentence = "The model has no output for 3 any more; its outputs are now, in this order: 0, 1, 2, 4, 5, 6, 7, 8, 9."
    assert sentence in done.err
    whole = natmu("unlearn", "--from", "runs/original", "--forget", "class:3", *DROP, "--out", "runs/whole")
    assert whole.status == 0, whole.err
    less, same = Run(tmp_path / "runs/less"), Run(tmp_path / "runs/whole")
    assert sentence in less.record.decisions
    rows = [name for name, value in same.weights().items() if value.shape != less.weights()[name].shape]
    assert all(torch.equal(less.weights()[name], same.weights()[name][KEPT]) for name in rows)
    assert len(rows) == 2
    found, expected = less.outputs().test.logits, same.outputs().test.logits
    assert (found[:, 3] == NO_OUTPUT).all()
    torch.testing.assert_close(torch.tensor(found[:, KEPT]), torch.tensor(expected[:, KEPT]), rtol=1e-4, atol=1e-4)
    assert less.record.scores["forget_acc"] == 0

    audited = natmu("audit", "runs/less", "--references", 2, "--level", "standard")
    assert audited.status == 0, audited.err
    audit = json.loads((tmp_path / "runs/less/audit/audit.json").read_text())
    assert any("compared as if they had none either" in one for one in audit["decisions"])
    alike = audit["scores"]["forget_loss"] if "forget_loss" in audit["scores"] else audit["scores"]["forget_acc"]
    assert alike["value"] == alike["original"] == alike["retrained"][0]
    assert "needs an output for what was forgotten" in audit["missing"]["relearn_time"]
    assert audit["scores"]["weight_distance"]["value"] > 0
    assert natmu("report", "runs/less").status == 0
    assert "--drop-class 3" in (tmp_path / "runs/less/report.html").read_text()

    assert "drop the class with the last request" in refused(
        "unlearn", "--from", "runs/less", "--forget", "class:4", *DROP
    )
    names = Run(tmp_path / "runs/original").weights()
    torch.save({"state_dict": names, "epoch": 3}, "original.pt")
    out = natmu("export", "runs/less", "--like", "original.pt", "--out", "less.pt")
    assert out.status == 0, out.err
    assert sentence in out.err
    content = torch.load("less.pt", weights_only=True)
    assert content["epoch"] == 3
    served = build_model("small_cnn", num_classes=9, image_shape=(1, 8, 8), mean=[0.5], std=[0.5], seed=0)
    served.load_state_dict(content["state_dict"])
    assert all(torch.equal(value, less.weights()[name]) for name, value in served.state_dict().items())


def test_what_cannot_be_dropped_is_refused_before_anything_is_trained(refused, trained, tmp_path):
    start = ["unlearn", "--from", "runs/original"]
    assert "Say what to forget, in one way" in refused(*start, *DROP)
    assert "Say what to forget, in one way" in refused(*start, *DROP, "--forget", "class:3", "--drop-class", "3")
    assert "retrain without --drop-class" in refused(*start, "--method", "retrain", "--drop-class", 3)
    nine = ",".join(map(str, range(9)))
    assert "would have fewer than two classes" in refused(*start, *DROP, "--drop-class", nine)
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 1
