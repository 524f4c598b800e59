"""The verbs, one after the other, as a newcomer would use them."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
import torch

from natmu import studies
from natmu.engine.meter import Meter
from natmu.engine.store import Run, Store
from natmu.lineage import making
from natmu.records.lineage import Imported
from natmu.records.recipe import Seeds
from natmu.studies import demo_recipe

TINY = ["--data", "digits", "--model", "small_cnn", "--epochs", 2, "--precision", "fp32", "--schedule", "cosine"]


def test_train_unlearn_audit(natmu, tmp_path):
    trained = natmu("train", *TINY, "--out", "runs/original", "--json")
    assert trained.status == 0, trained.err
    assert trained.json["run"] == "runs/original"
    assert trained.json["scores"].keys() == {"train_acc", "test_acc"}
    files = {path.name for path in (tmp_path / "runs/original").iterdir()}
    assert files >= {"confidence.npy", "model.safetensors", "predictions.safetensors", "record.json", "history.csv"}
    with (tmp_path / "runs/original/history.csv").open() as history:
        assert [row["epoch"] for row in csv.DictReader(history)] == ["1.0", "2.0"]

    forgotten = natmu(
        *("unlearn", "--from", "runs/original", "--forget", "random:10%", "--method", "natmu"),
        *("--epochs", 1, "--set", "lr=1e-3", "--out", "runs/natmu", "--json"),
    )
    assert forgotten.status == 0, forgotten.err
    lineage = forgotten.json["lineage"]
    assert (lineage["method"], lineage["settings"]["epochs"], lineage["settings"]["lr"]) == ("natmu", 1, 1e-3)
    assert len(Run(tmp_path / "runs/natmu").forget()) == forgotten.json["forgotten"]["count"] == 144

    audited = natmu("audit", "runs/natmu", "--references", 2, "--json")
    assert audited.status == 0, audited.err
    rows = {row["method"]: row for row in audited.json["rows"]}
    assert list(rows) == ["original", "retrained", "natmu"]
    assert rows["retrained"]["n"] == 2
    names = ("test_acc", "retain_acc", "forget_acc", "mia_entropy")
    gaps = [abs(rows["natmu"]["scores"][name]["mean"] - rows["retrained"]["scores"][name]["mean"]) for name in names]
    assert rows["natmu"]["scores"]["avg_gap"]["mean"] == pytest.approx(np.mean(gaps))

    again = natmu("audit", "runs/natmu", "--references", 2)
    assert "retrained" in again.out
    assert "avg_gap" in again.out


def test_the_same_lineage_is_never_computed_twice(natmu, tmp_path):
    first = natmu("train", *TINY, "--json").json
    record = tmp_path / first["run"] / "record.json"
    before = record.stat().st_mtime_ns
    assert natmu("train", *TINY, "--json").json == first
    assert record.stat().st_mtime_ns == before


def test_resume_gives_the_weights_of_an_uninterrupted_run(natmu, tmp_path, monkeypatch):
    words = ["train", *TINY[:4], "--epochs", 4, "--precision", "fp32"]
    assert natmu(*words, "--out", "whole/run").status == 0
    monkeypatch.setattr(Store.__init__, "__defaults__", (0.0,))
    close, calls = Meter.close_epoch, []

    def interrupt_in_the_third_epoch(meter):
        calls.append(meter)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return close(meter)

    monkeypatch.setattr(Meter, "close_epoch", interrupt_in_the_third_epoch)
    stopped = natmu(*words, "--out", "parts/run")
    assert stopped.status == 130
    assert "--resume" in stopped.err
    assert not (tmp_path / "parts/run").exists()
    assert natmu(*words, "--out", "parts/run", "--resume").status == 0
    assert len(calls) == 3 + 2
    for name in ("model.safetensors", "predictions.safetensors", "confidence.npy"):
        assert (tmp_path / "parts/run" / name).read_bytes() == (tmp_path / "whole/run" / name).read_bytes()


def as_the_research_code_saves(weights):
    """A checkpoint with the names of NatMU, sample-wise/utils/util.py, lines 30-65, in the wrapper of its
    train_origin.py, lines 69-73."""
    constants = {f"data_{name}": weights.pop(name).flatten() for name in ("normalize.mean", "normalize.std")}
    return {"net": {f"net.{name}": value for name, value in weights.items()} | constants, "acc": 90.5, "epoch": 99}


@pytest.mark.parametrize(
    ("file", "saved"),
    [("mine.pt", lambda weights: weights), ("ckpt/Vanilla/model-last.pth", as_the_research_code_saves)],
    ids=["our names", "the research code's"],
)
def test_weights_from_elsewhere(file, saved, natmu, tmp_path):
    trained = natmu("train", *TINY, "--out", "runs/original", "--json").json
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    torch.save(saved(Run(tmp_path / "runs/original").weights()), tmp_path / file)
    common = ["unlearn", "--from", file, "--forget", "indices:gone.txt", "--set", "epochs=1"]
    (tmp_path / "gone.txt").write_text("3\n5\n8\n")
    outcome = natmu(*common, "--data", "digits", "--model", "small_cnn", "--precision", "fp32", "--json")
    assert outcome.status == 0, outcome.err
    assert outcome.json["lineage"]["source"]["kind"] == "imported"
    assert Run(tmp_path / outcome.json["run"]).forget().indices.tolist() == [3, 5, 8]
    originals = [Run(path.parent).record for path in (tmp_path / "runs").glob("*/record.json")]
    (found,) = [record for record in originals if isinstance(record.lineage, Imported)]
    assert found.scores["test_acc"] == pytest.approx(trained["scores"]["test_acc"])


def test_a_model_and_images_of_the_users_own(natmu, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "mine.npz", images=rng.integers(0, 255, (60, 9, 7, 3), np.uint8), labels=np.arange(60, dtype=int) % 3
    )
    (tmp_path / "zoo.py").write_text(
        "from torch import nn\n\n\ndef tiny():\n    return nn.Sequential(nn.Flatten(), nn.Linear(189, 3))\n"
    )
    words = ["train", "--data", "mine.npz", "--model", "zoo:tiny", "--epochs", 1, "--out", "runs/mine"]
    assert "--test-fraction 20%" in natmu(*words).err
    words += ["--test-fraction", "20%"]
    assert natmu(*words).status == 0
    words = ["unlearn", "--from", "runs/mine", "--forget", "class:1", "--set", "epochs=1", "--set", "n=2"]
    assert natmu(*words, "--out", "runs/less").status == 0
    assert set(Run(tmp_path / "runs/less").forget().indices) == set(
        np.flatnonzero(Run(tmp_path / "runs/mine").outputs().train.labels == 1)
    )


def test_bench_prints_and_writes_the_table(natmu, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "name: tiny\ndata: {source: digits}\nmodel: small_cnn\nprecision: fp32\n"
        "training: {epochs: 1, schedule: cosine}\nforget: ['random:5%']\nseeds: {training: [0, 1]}\n"
        "methods: [{method: natmu, settings: {epochs: 1}}]\n"
    )
    expected = natmu("bench", "recipe.yaml", "--dry-run")
    assert expected.out.startswith("original, seed 0: about "), expected
    assert "tiny: 6 models, 0 of them in the store, 6 to make; about " in expected.out
    assert not (tmp_path / "runs").exists()
    outcome = natmu("bench", "recipe.yaml")
    assert outcome.status == 0, outcome.err
    assert "tiny: 6 models, 6 of them in the store, 0 to make" in natmu("bench", "recipe.yaml", "--dry-run").out
    done = natmu("bench", "recipe.yaml", "--dry-run", "--json").json
    assert [one["name"] for one in done["models"]][:2] == ["original, seed 0", "original, seed 1"]
    assert [one["in_store"] for one in done["models"]] == [True] * 6
    table = (tmp_path / "runs/tiny/table.md").read_text()
    assert all(name in table for name in ("original", "retrained", "natmu", "random:5%, 2 seeds"))
    assert (tmp_path / "runs/tiny/hybrids.png").read_bytes().startswith(b"\x89PNG")
    table = natmu("bench", "recipe.yaml", "--json").json
    assert [row["method"] for row in table["rows"]] == ["original", "retrained", "natmu"]
    assert [row["n"] for row in table["rows"]] == [2, 2, 2]


def test_bench_ends_with_status_1_where_a_job_failed(natmu, tmp_path):
    settings = "{optimizer: sgd, lr: 100.0, weight_decay: 1.0, epochs: 10}"
    (tmp_path / "recipe.yaml").write_text(
        "name: tiny\ndata: {source: digits, train_size: 100}\nmodel: small_cnn\nprecision: fp32\n"
        "training: {epochs: 1, schedule: cosine}\nforget: ['random:5%']\n"
        f"methods: [{{method: amnesiac, settings: {settings}}}, {{method: bad_teacher, settings: {{epochs: 1}}}}]\n"
    )
    outcome = natmu("bench", "recipe.yaml")
    assert outcome.status == 1
    assert "amnesiac failed: " in outcome.out
    rows = {row["method"]: row for row in natmu("bench", "recipe.yaml", "--json").json["rows"]}
    assert (tmp_path / "runs/tiny" / rows["amnesiac"]["log"]).read_text().startswith("amnesiac, random:5%")
    assert (rows["bad_teacher"]["n"], rows["bad_teacher"]["failed"]) == (1, None)


def test_demo_tells_its_stories_the_same_each_time(natmu, tmp_path, monkeypatch):
    """The demo as it is, but for fewer epochs, seeds and methods."""
    whole = demo_recipe()
    methods = [entry.model_copy(update={"settings": entry.settings | {"epochs": 1}}) for entry in whole.methods[-1:]]
    training = whole.training.model_copy(update={"epochs": 1})
    short = whole.model_copy(update={"seeds": Seeds(), "training": training, "methods": tuple(methods)})
    monkeypatch.setattr(studies, "demo_recipe", lambda: short)
    outcome = natmu("demo")
    assert outcome.status == 0, outcome.err
    summary = json.loads((tmp_path / "runs/demo/summary.json").read_text())
    assert summary["seconds"] > 0
    listed = (tmp_path / "runs/demo/wrong-labels.csv").read_text().split()
    assert listed[0] == "index,label"
    labels, test = {"original", "retrained", "natmu"}, ("indices:runs/demo/wrong-labels.csv", "class:9")
    assert {(row["scenario"], row["method"]) for row in summary["rows"]} == {(s, m) for s in test for m in labels}
    wrong, nines = summary["stories"]
    assert (wrong["scenario"], nines["scenario"]) == test
    assert f"{len(listed) - 1} training images" in wrong["title"]
    for row in wrong["rows"]:  # one prediction each, which cannot be the wrong label and the true one
        assert 0 <= row["unwanted"] + row["corrected_acc"] <= 100
    for story in (wrong, nines):
        assert [row["method"] for row in story["rows"]] == ["original", "retrained", "natmu"]
        for sentence in (story["title"], *story["conclusion"]):
            assert sentence in outcome.out
    assert (tmp_path / "runs/demo/hybrids.png").exists()
    assert "runs/demo/report.html" in outcome.out
    again = natmu("demo", "--out", "again", "--json").json["stories"]
    for story, other in zip(summary["stories"], again, strict=True):
        figures = [[row[name] for name in ("method", "unwanted", "corrected_acc", "avg_gap")] for row in story["rows"]]
        assert [
            [row[name] for name in ("method", "unwanted", "corrected_acc", "avg_gap")] for row in other["rows"]
        ] == (figures)


def test_lists_are_machine_readable(natmu):
    methods = {row["name"]: row for row in natmu("methods", "--json").json}
    assert {"retrain", "natmu", "amnesiac", "bad_teacher", "salun"} <= methods.keys()
    assert methods["natmu"]["paper"]["url"] == "https://arxiv.org/abs/2405.15495"
    assert methods["natmu"]["scenarios"] == ["random", "hardest", "class", "subclass", "indices"]
    assert {"lr", "delta", "n"} <= {setting["name"] for setting in methods["natmu"]["settings"]}
    models = {row["name"]: row["parameters"] for row in natmu("models", "--json").json}
    assert models["resnet18"] == 11_173_962
    data = {row["name"]: row for row in natmu("data", "--json").json}
    assert data["cifar10"]["train"] == 50_000
    assert "small_cnn" in natmu("models").out
    assert "cifar100" in natmu("data").out
    assert "He et al." in natmu("methods").out


def test_scores_are_listed_and_told_of_one_by_one(natmu, refused):
    rows = natmu("scores", "--json").json
    listed = natmu("scores").out
    assert all(f"\n{row['name']} " in listed for row in rows)
    told = natmu("scores", "rmia_auc")
    assert "arxiv.org/abs/2312.03262" in told.out
    assert told.status == 0
    (row,) = [row for row in rows if row["name"] == "rmia_auc"]
    assert natmu("scores", "rmia_auc", "--json").json == row
    assert "did you mean rmia_auc" in refused("scores", "rmia-auk")
    assert "natmu scores lists all of them" in refused("scores", "xyzzy", "--json")


def test_another_file_behind_a_factory_is_another_model(natmu, refused, tmp_path):
    zoo = "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, {}))\n"
    words = ["train", "--data", "digits", "--model", "zoo_a:net", "--epochs", 1, "--json"]
    (tmp_path / "zoo_a.py").write_text(zoo.format("10"))
    first = natmu(*words).json
    (tmp_path / "zoo_a.py").write_text(zoo.format("10, bias=False"))
    del sys.modules["zoo_a"]
    assert "has changed" in refused("unlearn", "--from", first["run"], "--forget", "random:1%")
    second = natmu(*words).json
    assert second["digest"] != first["digest"]


def test_a_model_with_bare_parameters_has_references_and_bad_teachers(natmu, tmp_path):
    (tmp_path / "zoo_b.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.token = nn.Parameter(torch.randn(64))\n"
        "        self.head = nn.Linear(64, 10)\n\n"
        "    def forward(self, images):\n        return self.head(images.flatten(1) + self.token)\n"
    )
    assert natmu("train", "--data", "digits", "--model", "zoo_b:Net", "--epochs", 1, "--out", "runs/a").status == 0
    words = ["unlearn", "--from", "runs/a", "--forget", "random:5%", "--method", "bad_teacher", "--epochs", 1]
    assert natmu(*words, "--out", "runs/b").status == 0
    assert natmu("audit", "runs/b", "--references", 2, "--json").json["rows"][1]["n"] == 2


def test_a_retrained_model_is_not_compared_with_itself(natmu, refused):
    natmu("train", *TINY, "--out", "runs/a")
    words = ["unlearn", "--from", "runs/a", "--forget", "random:10%", "--method", "retrain"]
    assert "batch size" in refused(*words, "--batch-size", 5)
    assert natmu(*words, "--out", "elsewhere/b").status == 0
    assert "--from" in refused("audit", "elsewhere/b")
    rows = natmu("audit", "elsewhere/b", "--from", "runs/a", "--json").json["rows"]
    assert [row["method"] for row in rows] == ["original", "retrained", "retrain"]
    assert rows[2]["scores"]["avg_gap"]["mean"] > 0


def test_an_original_of_another_folder_is_used_and_not_made_again(natmu, tmp_path, monkeypatch):
    natmu("train", *TINY, "--out", "runs/a")
    torch.save(Run(tmp_path / "runs/a").weights(), tmp_path / "mine.pt")
    forget = ["--forget", "random:10%", "--set", "epochs=1"]
    data = ["--data", "digits", "--model", "small_cnn", "--precision", "fp32"]
    natmu("unlearn", "--from", "mine.pt", *forget, *data)
    (imported,) = [path.parent for path in tmp_path.glob("runs/*/record.json") if is_imported(path.parent)]
    with monkeypatch.context() as patch:
        patch.setattr(making, "train", None)
        for original, folder in (("runs/a", "of run"), (imported, "of import")):
            done = natmu("unlearn", "--from", original, *forget, "--out", f"{folder}/b")
            assert done.status == 0, done.err
    few = ("--level", "quick", "--references", 2)
    for original, folder in (("runs/a", "of run"), (imported, "of import")):
        shutil.copytree(tmp_path / folder / "b", tmp_path / f"audit {folder}" / "b")
        told = [] if original == "runs/a" else ["--training", "{epochs: 1}"]
        done = natmu("audit", f"audit {folder}/b", "--from", original, *few, *told)
        assert done.status == 0, done.err
        assert "not in" not in done.err
        kept = [json.loads(path.read_text()) for path in (tmp_path / f"audit {folder}").glob("*/record.json")]
        (found,) = [record for record in kept if record["digest"] == Run(tmp_path / original).record.digest]
        assert found == json.loads((tmp_path / original / "record.json").read_text())


def is_imported(folder):
    return isinstance(Run(folder).record.lineage, Imported)


def test_a_run_finds_its_data_where_it_lies_now(natmu, refused, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", images=rng.integers(0, 255, (40, 8, 8), np.uint8), labels=np.arange(40) % 2)
    words = ["train", "--data", "mine.npz", "--model", "small_cnn", "--epochs", 1, "--out", "runs/a"]
    words += ["--test-fraction", "20%"]
    assert natmu(*words).status == 0
    (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    words = ["unlearn", "--from", "runs/a", "--forget", "random:10%", "--method", "amnesiac", "--epochs", 1]
    assert "mine.npz" in refused(*words)
    assert "leave --image-size out" in refused(*words, "--data", "moved.npz", "--image-size", 9)
    np.savez(tmp_path / "other.npz", images=rng.integers(0, 255, (40, 8, 8), np.uint8), labels=np.arange(40) % 2)
    assert "not what" in refused(*words, "--data", "other.npz")
    assert natmu(*words, "--data", "moved.npz", "--out", "runs/b").status == 0
    monkeypatch.chdir(tmp_path / "runs/b")
    assert "mine.npz" in refused("audit", ".")
