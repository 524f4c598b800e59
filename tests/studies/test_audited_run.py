"""The audit of one run from its folder, with the small table of the models that it compares."""

from __future__ import annotations

import shutil

import pytest

from lineage import fakes
from natmu.engine.checkpoint import save_weights
from natmu.errors import RunError, UsageError
from natmu.lineage import import_model, obtain
from natmu.records.audit import AuditFolder
from natmu.types import ForgetSet
from natmu.verbs import audit_run


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    place = fakes.workspace(out)
    run = obtain(fakes.unlearned(place), place)
    results, audit = audit_run(run.path, level="quick", references=3, data_dir=out, device="cpu")
    return place, run, results, audit


def offline(run, data_dir, **words):
    values = {"level": "quick", "references": 3, "device": "cpu", "offline": True}
    return audit_run(run, data_dir=data_dir, **values | words)


def test_the_table_has_the_original_the_retrained_models_and_the_audited_one(audited):
    _, run, results, audit = audited
    assert [(row.method, row.n) for row in results.rows] == [("original", 1), ("retrained", 3), ("amnesiac", 1)]
    assert {row.scenario for row in results.rows} == {"random:10%"}
    assert results.rows[2].scores["avg_gap"].mean == audit.scores["avg_gap"].value
    for name, value in run.record.scores.items():
        assert results.rows[2].scores[name].values == (value,)
    assert AuditFolder(run).audit == audit
    assert AuditFolder(run).exposed is not None


def test_files_alone_give_the_same_audit_and_table(audited, tmp_path):
    place, run, results, audit = audited
    shutil.copytree(place.store.root, tmp_path / "copy")
    found, again = offline(tmp_path / "copy" / run.path.name, tmp_path / "nowhere")
    assert again == audit.model_copy(update={"files": again.files}), "the data alone has names and pictures"
    assert found == results


def test_an_original_that_lies_elsewhere_is_named(audited, tmp_path):
    place, run, *_ = audited
    shutil.copytree(run.path, tmp_path / "runs" / "alone")
    with pytest.raises(UsageError, match=r"The original of .*alone is not in .*; name its run folder"):
        offline(tmp_path / "runs" / "alone", tmp_path)
    other = obtain(place.original(fakes.RECIPE, 5), place)
    with pytest.raises(UsageError, match=f"is not in {other.path}; name its run folder"):
        offline(tmp_path / "runs" / "alone", tmp_path, source=other.path)
    source = place.require(place.original(fakes.RECIPE, 0)).path
    with pytest.raises(UsageError, match=r"with 3 retrained models, and this one would have the level quick and 0"):
        offline(tmp_path / "runs" / "alone", tmp_path, source=source)
    results, _ = offline(tmp_path / "runs" / "alone", tmp_path, source=source, force=True)
    assert [row.n for row in results.rows] == [1, 0, 1]


def test_a_retrained_model_may_have_an_original_of_another_seed(audited, tmp_path):
    place, *_ = audited
    model = fakes.unlearned(place, "retrain", seed=9, init="fresh")
    run = obtain(model, place)
    source = place.require(place.original(fakes.RECIPE, 0)).path
    with pytest.raises(UsageError, match=r"holds several originals of .*; name one with --from"):
        offline(run.path, tmp_path)
    retrained = place.require(fakes.unlearned(place, "retrain")).path
    with pytest.raises(UsageError, match="is not in"):
        offline(run.path, tmp_path, source=retrained)
    results, audit = offline(run.path, tmp_path, source=source)
    assert [(row.method, row.n) for row in results.rows] == [("original", 1), ("retrained", 3), ("retrain", 1)]
    assert audit.method == "retrain"


def test_models_that_forgot_other_samples_are_not_compared(tmp_path):
    place = fakes.workspace(tmp_path / "runs")
    model = fakes.unlearned(place, text="hardest:10%")
    run = obtain(model, place)
    other = ForgetSet(run.forget().indices + 1, run.forget().request, "hardest")
    place.remember(model.forget, other)  # as if the original had been made again with other weights
    obtain(fakes.unlearned(place, "retrain", text="hardest:10%"), place)
    with pytest.raises(RunError, match=f"forgot other samples than {run.path}"):
        offline(run.path, tmp_path)


def test_an_original_is_refused(audited, tmp_path):
    place, *_ = audited
    with pytest.raises(UsageError, match="not that of an original"):
        offline(place.require(place.original(fakes.RECIPE, 0)).path, tmp_path)


def test_a_model_from_elsewhere_is_compared_with_retrained_models(tmp_path):
    place = fakes.workspace(tmp_path / "runs")
    save_weights(place.build(0), tmp_path / "elsewhere.safetensors")
    original = import_model(place, tmp_path / "elsewhere.safetensors", fakes.RECIPE, force=True)
    run = obtain(fakes.unlearned(place, source=original), place)
    results, audit = audit_run(run.path, level="quick", references=2, data_dir=tmp_path, device="cpu", force=True)
    assert [row.n for row in results.rows] == [1, 2, 1]
    assert len(audit.models.retrained) == 2
