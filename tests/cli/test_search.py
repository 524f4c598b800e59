"""``natmu search`` as a user sees it."""

from __future__ import annotations

import pytest
import yaml

DIVERGING = {"optimizer": "sgd", "weight_decay": 1.0, "momentum": 0.9, "epochs": 10}
RECIPE = {
    "name": "tiny",
    "data": {"source": "digits", "train_size": 100, "holdout": True},
    "model": "small_cnn",
    "training": {"epochs": 2, "lr": 0.05, "schedule": "cosine", "batch_size": 32},
    "forget": ["random:10%"],
    "search": {"trials": 2, "objective": "no-retrain"},
    "methods": [
        {"method": "delete", "search": {"lr": {"low": 1e-3, "high": 1e-2, "log": True}, "freeze_statistics": [True]}},
        {"method": "amnesiac", "label": "hopeless", "settings": DIVERGING, "search": {"lr": [100.0]}},
    ],
}


def written(path, **changed):
    path.write_text(yaml.safe_dump(RECIPE | changed))
    return path


def test_a_search_prints_its_table_and_its_files_and_best_yaml_is_ready_for_bench(natmu, tmp_path):
    recipe = written(tmp_path / "tiny.yaml")
    outcome = natmu("search", recipe, "--device", "cpu")
    assert outcome.status == 0
    for words in (
        "no-retrain",
        "delete",
        "forget_loss",
        "freeze_statistics=true",
        "hopeless",
        "│ 2, 2 │",
        "│ failed │",
    ):
        assert words in " ".join(outcome.out.split())
    assert outcome.out.splitlines()[-3:] == [f"runs/tiny/{name}" for name in ("search.json", "trials.csv", "best.yaml")]
    assert "hopeless, trial 1 (lr 100): failed." in outcome.err
    assert "test_acc" not in outcome.err
    again = natmu("search", recipe, "--device", "cpu", "--json")
    assert [method["label"] for method in again.json["methods"]] == ["delete", "hopeless"]
    assert "trial" not in again.err
    benched = natmu("bench", "runs/tiny/best.yaml", "--device", "cpu")
    assert (benched.status, "retrained" in benched.out) == (0, True), benched.err
    assert len([*(tmp_path / "runs/tiny/logs/search").iterdir()]) == 2, "bench leaves the details of failed trials"


def test_the_storage_is_a_file_of_ones_own(natmu, tmp_path):
    recipe = written(tmp_path / "tiny.yaml", methods=RECIPE["methods"][:1])
    outcome = natmu("search", recipe, "--device", "cpu", "--storage", "sqlite:///mine.db", "--json")
    assert (tmp_path / "mine.db").exists()
    assert not (tmp_path / "runs/tiny/search.journal").exists()
    assert outcome.json["storage"] == "sqlite"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": {"source": "digits"}}, "data.holdout: true"),
        ({"search": {"trials": 0, "objective": "no-retrain"}}, "search.trials"),
        ({"methods": [{"method": "fisher"}]}, "methods.0.search: fisher has no lr"),
        ({"methods": [{"method": "delete", "search": {"lr": {"low": 2, "high": 1}}}]}, "methods.0.search.lr"),
    ],
)
def test_what_cannot_be_searched_is_refused(refused, tmp_path, changed, words):
    assert words in refused("search", written(tmp_path / "tiny.yaml", **changed))
    assert not (tmp_path / "runs").exists()
