"""Models in shards on the command line: trained, asked to forget, judged and exported."""

from __future__ import annotations

import numpy as np
import torch

from natmu.engine.store import Run
from natmu.models import build_model, load_ensemble
from natmu.records.guarantees import PROMISES
from natmu.records.run import RunFolder

DATA = ["--data", "digits", "--train-size", 150, "--model", "small_cnn"]
TINY = ["train", *DATA, "--epochs", 2, "--batch-size", 16, "--precision", "fp32", "--shards", 3, "--slices", 2]


def test_train_unlearn_twice_audit_export(natmu, tmp_path):
    trained = natmu(*TINY, "--out", "runs/original", "--json")
    assert trained.status == 0, trained.err
    assert "positions decide the shards" in trained.json["decisions"][0]
    first = natmu("unlearn", "--from", "runs/original", "--forget", "random:2%", "--method", "sisa", "--out", "runs/a")
    assert first.status == 0, first.err
    second = natmu(*("unlearn", "--from", "runs/a", "--forget", "hardest:2%", "--method", "sisa"), "--out", "runs/b")
    assert second.status == 0, second.err
    third = natmu(
        *("unlearn", "--from", "runs/b", "--forget", "class:3", "--method", "sisa", "--with-copies"), "--out", "runs/c"
    )
    assert third.status == 0, third.err
    run = Run(tmp_path / "runs/c")
    again = natmu(
        "unlearn", "--from", "runs/b", "--forget", "class:3", "--method", "retrain", "--with-copies", "--out", "runs/d"
    )
    assert again.status == 0, again.err
    weights = Run(tmp_path / "runs/d").weights()
    assert all(torch.equal(value, weights[name]) for name, value in run.weights().items())
    assert np.array_equal(run.division(), RunFolder(tmp_path / "runs/original").division())

    audited = natmu("audit", "runs/b", "--references", 2)
    assert audited.status == 0, audited.err
    assert f"Promised, whatever tests see (exact): {PROMISES['sisa'].promise}" in " ".join(audited.out.split())

    exported = natmu("export", "runs/c", "--out", "c.safetensors")
    assert "load_ensemble(path, build, 'probabilities')" in exported.err
    facts = {"num_classes": 10, "image_shape": (1, 8, 8), "mean": [0.0], "std": [1.0], "seed": 0}
    loaded = load_ensemble(tmp_path / "c.safetensors", lambda: build_model("small_cnn", **facts))
    assert {name: value.shape for name, value in loaded.state_dict().items()} == {
        name: value.shape for name, value in run.weights().items()
    }


def test_what_cannot_be_done_is_refused_in_a_sentence(natmu, refused, tmp_path):
    assert "one shard of one slice is no division" in refused("train", *DATA, "--shards", 1)
    assert "--training says sharding too; leave --slices out" in refused(
        "train", *DATA, "--training", "{epochs: 1, sharding: {shards: 2}}", "--slices", 2
    )
    assert "lower --shards" in refused("train", *DATA, "--shards", 140)
    (tmp_path / "mine.py").write_text("def train(samples, seed):\n    return None\n")
    assert "start=…" in refused("train", *DATA, "--trainer", "mine:train", "--shards", 2, "--slices", 2)
    assert not [*tmp_path.glob("runs/*/record.json")]

    torch.save(
        build_model("small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=[0.3], std=[0.3], seed=0).state_dict(),
        tmp_path / "w.pt",
    )
    told = ["--training", "{epochs: 1, sharding: {shards: 2}}"]
    asked = ["unlearn", "--from", "w.pt", *DATA, "--forget", "random:2%", "--method"]
    assert "it has no sharding" in refused(*asked, "natmu", *told)
    assert "this one was not trained in shards" in refused(*asked, "sisa")

    assert natmu(*TINY, "--out", "runs/o").status == 0
    asked = ["unlearn", "--from", "runs/o", "--forget", "class:3", "--method"]
    assert "leave --precision out" in refused(*asked, "sisa", "--precision", "bf16")
    assert "without --drop-class" in refused("unlearn", "--from", "runs/o", "--drop-class", "3")
    assert "xport without --like" in refused("export", "runs/o", "--out", "x.pt", "--like", "w.pt")


def test_votes_forget_by_any_method_and_again_by_sisa(natmu):
    trained = natmu(*TINY, "--combine", "votes", "--out", "runs/o")
    assert trained.status == 0, trained.err
    asked = ["--forget", "random:2%", "--batch-size", 64]
    for method, source, out in (("sisa", "o", "a"), ("sisa", "a", "b"), ("neggrad_plus", "o", "c")):
        done = natmu("unlearn", "--from", f"runs/{source}", *asked, "--method", method, "--out", f"runs/{out}")
        assert done.status == 0, done.err
    assert "is not kept" not in done.err
    back = natmu("unlearn", "--from", "runs/c", *asked, "--method", "sisa", "--out", "runs/d", "--json")
    assert back.status == 0, back.err
    assert "What neggrad_plus changed in the model is not kept" in " ".join(back.json["decisions"])
