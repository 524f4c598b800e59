"""``--track``: what is shown after each verb, and what is refused before anything runs."""

import re
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from natmu.engine.store import Run

TINY = ["--data", "digits", "--model", "small_cnn", "--train-size", 100, "--epochs", 2, "--precision", "fp32"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path_factory.mktemp("wandb")))
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def scalars(folder):
    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_train_unlearn_and_audit_are_tracked(natmu, tmp_path):
    trained = natmu("train", *TINY, "--out", "runs/original", "--track", "tensorboard", "--track", "wandb", "--json")
    assert (trained.status, trained.json["run"]) == (0, "runs/original"), trained.err
    digest = trained.json["digest"]
    shown = scalars(tmp_path / f"runs/tensorboard/natmu/original-{digest}")
    history = Run(tmp_path / "runs/original").history()
    assert shown["curves/loss"] == [(row["epoch"], pytest.approx(row["loss"])) for row in history]
    assert shown["scores/test_acc"] == [(0, pytest.approx(trained.json["scores"]["test_acc"]))]
    assert len([*(tmp_path / "runs/wandb").glob(f"offline-run-*-{digest}")]) == 1

    words = ["unlearn", "--from", "runs/original", "--forget", "random:10%", "--method", "amnesiac", "--epochs", 1]
    assert natmu(*words, "--out", "runs/less").status == 0
    before = (tmp_path / "runs/less/record.json").stat().st_mtime_ns
    assert natmu(*words, "--out", "runs/less", "--track", "tensorboard").status == 0
    assert (tmp_path / "runs/less/record.json").stat().st_mtime_ns == before
    (folder,) = (tmp_path / "runs/tensorboard/natmu").glob("less-*")
    assert not [name for name in scalars(folder) if "audit" in name]

    audited = natmu("audit", "runs/less", "--track", "tensorboard", "--json")
    assert audited.status == 0, audited.err
    value = audited.json["audit"]["scores"]["auc_forget_test_margin"]["value"]
    assert scalars(folder)["scores/audit/auc_forget_test_margin"] == [(0, pytest.approx(value))]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


@pytest.mark.parametrize("verb", ["train", "unlearn", "audit", "bench"])
def test_what_cannot_be_tracked_is_refused_before_anything_runs(verb, refused, tmp_path, monkeypatch):
    words = {"train": TINY, "unlearn": ["--from", "x", "--forget", "random:1%"], "audit": ["x"], "bench": ["x.yaml"]}
    assert "choose from wandb, mlflow, tensorboard" in refused(verb, *words[verb], "--track", "neptune")
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert "pip install 'natmu[track]'" in refused(verb, *words[verb], "--track", "mlflow", "--track", "wandb")
    assert [*tmp_path.iterdir()] == []


def test_a_tracker_that_fails_costs_no_result(natmu, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/tensorboard").write_text("in the way")
    failed = natmu("train", *TINY, "--out", "runs/a", "--track", "tensorboard", "--json")
    assert (failed.status, failed.json["run"]) == (1, "runs/a")
    assert failed.err.count("natmu: tensorboard failed") == 1
    (tmp_path / "runs/tensorboard").unlink()
    assert natmu("train", *TINY, "--out", "runs/a", "--track", "tensorboard").status == 0
    assert len([*(tmp_path / "runs/tensorboard/natmu").iterdir()]) == 1


def test_every_replicate_of_a_bench_is_tracked(natmu, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "name: tiny\ndata: {source: digits, train_size: 100}\nmodel: small_cnn\nprecision: fp32\n"
        "training: {epochs: 1}\nforget: ['random:10%']\nseeds: {training: [0, 1]}\n"
        "methods: [{method: amnesiac, settings: {epochs: 1}}]\n"
    )
    outcome = natmu("bench", "recipe.yaml", "--track", "tensorboard", "--json")
    assert outcome.status == 0, outcome.err
    folders = [*(tmp_path / "runs/tensorboard/tiny").iterdir()]
    shown = {folder.name.rpartition("-")[0]: scalars(folder) for folder in folders}
    assert shown.pop("table") == {}
    assert len(shown) == len(folders) - 1 == 6
    for row in outcome.json["rows"]:
        for seeds, value in zip(row["replicates"], row["scores"]["test_acc"]["values"], strict=True):
            (name,) = [name for name in shown if name.startswith(row["method"]) and _seed(name) == seeds["training"]]
            assert shown[name]["scores/test_acc"] == [(0, pytest.approx(value))]


def _seed(name):
    """The training seed in a run's name."""
    return int(re.search(r"(?:training|,_seed)_(\d+)", name)[1])
