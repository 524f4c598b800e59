"""Studies and searches whose original was trained before: from weights of elsewhere, and from a run."""

from __future__ import annotations

import csv
import json

import pytest

from lineage import fakes
from natmu.engine.checkpoint import save_weights
from natmu.errors import ModelError, SettingError
from natmu.lineage import obtain
from natmu.records.derived import root_of
from natmu.records.lineage import AllBut, Imported, Trained, Unlearned
from natmu.records.search import SearchFolder
from natmu.records.settings import DataSettings, TrainSettings
from natmu.records.study import StudyFolder
from natmu.scores import objectives
from natmu.studies import Recipe, forecast, run_recipe, run_search

DATA = {"source": "digits", "train_size": 150, "holdout": True}
TRAINING = {"epochs": 20, "lr": 0.05, "schedule": "cosine", "batch_size": 32, "warmup_epochs": 0, "augment": False}
MILD, RUINOUS = 1e-4, 7e-3


def recipe(original, **changed):
    values = {
        "name": "given",
        "data": DATA,
        "model": "small_cnn",
        "original": str(original),
        "forget": ["random:10%"],
        "methods": [{"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}}],
        "precision": "fp32",
    }
    return Recipe.parse(values | changed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run of an original with training seed 3, and its weights as a file."""
    out = tmp_path_factory.mktemp("elsewhere")
    place = fakes.workspace(out, DataSettings.parse(DATA, "data"))
    run = obtain(place.original(TrainSettings(**TRAINING), 3), place)
    save_weights(place.load(run), out / "original.safetensors")
    return run, out / "original.safetensors"


def bench(asked, out):
    return StudyFolder(run_recipe(asked, data_dir=out, out=out, device="cpu", progress=False)).table


def lineages(out):
    return [run.record.lineage for run in fakes.runs(out)]


def test_a_study_of_weights_from_elsewhere(trained, tmp_path):
    run, weights = trained
    asked = recipe(weights, training=TRAINING)
    expected = forecast(asked, data_dir=tmp_path, out=tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())
    table = bench(asked, tmp_path)
    made = lineages(tmp_path)
    assert {model.digest for model in expected.models} == {model.digest for model in made}
    (original,) = [model for model in made if isinstance(model, Imported)]
    assert original.recipe == TrainSettings(**TRAINING)
    retrained = [model for model in made if isinstance(model, Trained)]
    assert [(isinstance(one.on, AllBut), one.start.reset, one.recipe) for one in retrained] == [
        (True, True, original.recipe)
    ] * 2
    assert {one.seed for one in retrained} == {0, 1}
    (unlearned,) = [model for model in made if isinstance(model, Unlearned)]
    assert root_of(unlearned) == original
    rows = {row.method: row for row in table.rows}
    assert rows["original"].scores["test_acc"].mean == pytest.approx(
        run.record.scores["test_acc"],
        abs=0.5,  # a tie may fall otherwise
    )
    assert rows["amnesiac"].scores["avg_gap"] is not None
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/record.json")}
    bench(asked, tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/record.json")}


def test_a_study_of_a_run_takes_its_recipe_and_its_initial_weights(trained, tmp_path):
    run, _ = trained
    bench(recipe(run.path), tmp_path)
    made = lineages(tmp_path)
    assert run.record.lineage in made
    starts = [model.start for model in made if isinstance(model, Trained)]
    assert starts.count(run.record.lineage.start) == 2  # the original and the first retrained model
    assert {model.recipe for model in made if isinstance(model, Trained)} == {run.record.lineage.recipe}
    with pytest.raises(SettingError, match="says how it was trained; leave training out"):
        bench(recipe(run.path, training=TRAINING | {"epochs": 7}), tmp_path)
    with pytest.raises(ModelError, match="other data or another model"):
        bench(recipe(run.path, data=DATA | {"train_size": 100}), tmp_path)
    unlearned = next(path.path for path in fakes.runs(tmp_path) if isinstance(path.record.lineage, Unlearned))
    with pytest.raises(ModelError, match="holds no original"):
        bench(recipe(unlearned), tmp_path)


def test_what_does_not_fit_is_refused_before_anything_is_trained(trained, tmp_path):
    _, weights = trained
    with pytest.raises(SettingError, match=r"give seeds.training one seed"):
        recipe(weights, training=TRAINING, seeds={"training": [0, 1]})
    with pytest.raises(SettingError, match=r"was trained elsewhere.*say how under training"):
        bench(recipe(weights), tmp_path)
    search = {"trials": 2, "objective": "retrained"}
    with pytest.raises(SettingError, match="was trained elsewhere"):
        run_search(recipe(weights, search=search), data_dir=tmp_path, out=tmp_path, device="cpu", progress=False)
    with pytest.raises(ModelError, match="no weights at"):
        bench(recipe(tmp_path / "none.pt", training=TRAINING), tmp_path)
    place = fakes.workspace(tmp_path, DataSettings.parse(DATA, "data"))
    save_weights(place.build(0), tmp_path / "untrained.safetensors")
    with pytest.raises(ModelError):
        bench(recipe(tmp_path / "untrained.safetensors", training=TRAINING), tmp_path)
    assert not list(tmp_path.glob("*/record.json"))


def test_a_search_on_weights_from_elsewhere_never_prefers_what_ruins_them(trained, tmp_path, monkeypatch):
    """Even by an objective that asks for the attack alone, to which all samples of a ruined model look unseen."""
    monkeypatch.setattr(objectives, "_halves", lambda terms: terms["forget_attack"])
    _, weights = trained
    method = {"method": "amnesiac", "settings": {"epochs": 3}, "search": {"lr": [MILD, RUINOUS]}}
    search = {"trials": 5, "objective": "no-retrain"}
    asked = recipe(weights, forget=["random:30%"], methods=[method], search=search)
    folder = run_search(asked, data_dir=tmp_path, out=tmp_path, device="cpu", progress=False)
    assert not [model for model in lineages(tmp_path) if isinstance(model, Trained)]
    (original,) = [model for model in lineages(tmp_path) if isinstance(model, Imported)]
    assert original.recipe is None
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_rate = {json.loads(row["settings"])["lr"]: row for row in rows}
    mild, ruined = by_rate[MILD], by_rate[RUINOUS]
    assert float(ruined["value"]) < float(mild["value"])
    assert float(ruined["lost"]) > 0 == float(mild["lost"])
    (found,) = SearchFolder(folder).search.methods
    assert (found.best.settings["lr"], found.best.lost) == (MILD, 0)
