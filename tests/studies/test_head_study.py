"""A study of a head on a frozen backbone: downdate beside fine-tuning and fits on what is left."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import save_file

from natmu.engine.store import Run
from natmu.errors import UsageError
from natmu.models import build_model
from natmu.records.derived import backbone_of, root_of
from natmu.records.lineage import Trained
from natmu.records.study import StudyFolder
from natmu.studies import forecast, run_recipe
from natmu.studies.recipe import Recipe
from natmu.studies.search.search import run_search

METHODS = [{"method": "downdate"}, {"method": "finetune", "settings": {"epochs": 1}}]


def recipe(backbone, **changed):
    values = {
        "name": "heads",
        "data": {"source": "digits", "train_size": 150},
        "model": "small_cnn",
        "training": {"head": "ridge", "l2": 0.5},
        "features_from": str(backbone),
        "forget": ["random:10%", "class:3"],
        "methods": METHODS,
        "seeds": {"training": [0, 1], "unlearning": [0, 1]},
        "precision": "fp32",
    }
    return Recipe.parse(values | changed)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """The weights of a network that was trained on nothing, as a file."""
    network = build_model("small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=(0.0,), std=(1.0,), seed=5)
    path = tmp_path_factory.mktemp("elsewhere") / "backbone.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def study(backbone, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    asked = recipe(backbone)
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("natmu.studies.running.say", said.append)
        table = StudyFolder(run_recipe(asked, data_dir=out, out=out, device="cpu", progress=False)).table
    return out, table, said


def runs(row, out):
    return [Run(out / replicate.run) for replicate in row.replicates]


def test_every_row_stands_on_one_backbone(study):
    out, table, _ = study
    assert [row.failed for row in table.rows] == [None] * 8
    lineages = [run.record.lineage for row in table.rows for run in runs(row, out)]
    assert len({backbone_of(root_of(lineage)).digest for lineage in lineages}) == 1
    assert len(list(out.glob("*/features.safetensors"))) == 1


def test_downdate_gives_the_weights_of_the_fit_on_what_is_left_bit_for_bit(study):
    out, table, _ = study
    rows = {(row.scenario, row.method): row for row in table.rows}
    for text in ("random:10%", "class:3"):
        heads = [
            {name: value.numpy() for name, value in run.weights().items()}
            for label in ("downdate", "retrained")
            for run in runs(rows[text, label], out)
        ]
        assert len(heads) == 4
        for head in heads[1:]:
            assert all(np.array_equal(value, heads[0][name]) for name, value in head.items())
        assert rows[text, "downdate"].scores["avg_gap"].mean == 0
        assert rows[text, "finetune"].scores["avg_gap"].mean > 0


def test_nobody_is_told_to_use_seeds_where_nothing_is_random(study):
    _, _, said = study
    assert said
    assert not [line for line in said if "same weights" in line]


def test_what_a_study_of_heads_would_do_is_foretold(study, backbone):
    out, _, _ = study
    told = forecast(recipe(backbone), data_dir=out, out=out, device="cpu")
    assert told.in_store == len(told.models) > 0
    assert told.seconds == 0
    other = forecast(recipe(backbone, forget=["random:4"]), data_dir=out, out=out, device="cpu")
    assert 0 < other.in_store < len(other.models)


@pytest.mark.parametrize(
    ("changed", "hint"),
    [
        ({"methods": [{"method": "sisa"}]}, "was not trained in shards"),
        ({"methods": [{"method": "sisa", "settings": {"shards": 2}}]}, "a head is not trained in shards"),
        ({"precision": "bf16"}, "fp32"),
        ({"features_from": "nowhere"}, "There is no nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_fitted(backbone, tmp_path, changed, hint):
    with pytest.raises(UsageError, match=hint):
        run_recipe(recipe(backbone, **changed), data_dir=tmp_path, out=tmp_path, device="cpu", progress=False)
    kinds = [Run(path.parent).record.lineage for path in tmp_path.glob("*/record.json")]
    assert not [lineage for lineage in kinds if isinstance(lineage, Trained)]


def test_a_search_on_a_head_is_refused(backbone, tmp_path):
    searched = {"search": {"trials": 2, "objective": "no-retrain"}, "data": {"source": "digits", "holdout": True}}
    with pytest.raises(UsageError, match="nothing that a search could vary"):
        run_search(recipe(backbone, **searched), data_dir=tmp_path, out=tmp_path, device="cpu")
