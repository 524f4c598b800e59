"""Audits of runs on scikit-learn's digits: what they train, what they find, and that files alone give the same."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from natmu.study.auditing import Audit, _Attempts, write_audit
from natmu.study.bench import run_recipe
from natmu.study.cast import Cast
from natmu.study.jobs import Bench, load_data, train_original, unlearn_from
from natmu.study.relearning import STEPS, relearning_spec, relearning_time
from natmu.study.shadows import train_shadows
from natmu.study.workbench import audit_run
from safetensors.numpy import load_file, save_file

from natmu.data import resolve_forget
from natmu.data.digits import load_digits
from natmu.engine.compute import Compute
from natmu.engine.store import Run, Store, digest_of
from natmu.errors import DataError, RunError, TrainingError, UsageError
from natmu.methods import Retrain, method_named
from natmu.scores import names_of
from natmu.scores.exposure import COLUMNS

from . import fakes


def original_in(out, data_dir=None, seed=0, **changed):
    recipe = fakes.recipe(**changed)
    splits = load_data(recipe.data, data_dir or out)
    bench = Bench(recipe.data, splits, recipe.model, recipe.training, Compute.choose("cpu", "fp32"), Store(out))
    return train_original(bench, seed)


def unlearned_in(original, method="finetune", forget="random:10%", **settings):
    chosen = resolve_forget(forget, original.bench.splits.train, seed=0)
    return unlearn_from(original, chosen, method_named(method)(**settings), seed=0)


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """A run with everything that an audit of eight models trains, and what came of it."""
    out = tmp_path_factory.mktemp("runs")
    original = original_in(out)
    run = unlearned_in(original, "amnesiac", epochs=1, lr=1e-3)
    audit = Audit(run, original.bench.store, "standard", 8)
    audit.train(original)
    return out, original, audit, write_audit(audit)


def test_the_audit_is_written_beside_the_run(standard):
    _, _, audit, result = standard
    folder = audit.run.path / "audit"
    assert json.loads((folder / "audit.json").read_text()) == result
    with (folder / "samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    forget = audit.run.forget().indices
    assert list(rows[0]) == list(COLUMNS)
    assert sorted(int(row["index"]) for row in rows if row["part"] == "forget") == forget.tolist()
    labels = audit.run.outputs().train.labels
    assert all(int(row["class"]) == labels[int(row["index"])] for row in rows)


def test_every_score_of_the_level_is_there_or_has_a_reason(standard):
    *_, result = standard
    assert result["scores"].keys() | result["missing"].keys() == set(names_of("standard"))
    assert result["missing"].keys() == {"forget_test_acc", "tpr_at_fpr_0.1"}
    assert all(score["value"] is not None for score in result["scores"].values())
    assert result["mia_efficacy_samples"] == min(1500, 150 - 15)


def test_areas_say_how_far_they_lie_from_one_half_on_either_side(standard):
    *_, result = standard
    leaks = {name: score["leak"] for name, score in result["scores"].items() if "leak" in score}
    assert {"rmia_auc", "auc_forget_test_entropy"} <= leaks.keys()
    assert "mia_entropy" not in leaks
    assert all(leaks[name] == abs(result["scores"][name]["value"] - 0.5) for name in leaks)


def test_what_determines_each_model_is_known_without_any_data(standard):
    out, original, audit, result = standard
    roles = list(audit.cast.roles())
    for role in roles:
        run = role.make(original)
        assert run.record.digest == digest_of(role.spec), role.part
    parts = {
        part: sum(role.part == part for role in roles) for part in ("retrained", "original", "unlearned", "initial")
    }
    assert parts == {"retrained": 8, "original": 7, "unlearned": 7, "initial": 1}
    assert {part: len(digests) for part, digests in result["models"].items()} == parts | {"again": 0}
    assert all(Store(out).find(digest) for digests in result["models"].values() for digest in digests)


def test_files_alone_give_the_same_audit(standard, tmp_path):
    out, _, audit, result = standard
    shutil.copytree(out, tmp_path / "copy")
    copy = tmp_path / "copy" / audit.run.path.name
    found = audit_run(copy, tmp_path / "nowhere", "standard", None, "cpu", offline=True)
    assert found["audit"] == result
    assert [row["n"] for row in found["rows"]] == [1, 8, 1]


def test_without_data_an_audit_makes_do_and_names_what_is_missing(standard, tmp_path):
    out, _, audit, _ = standard
    shutil.copytree(out, tmp_path / "copy")
    for digest in audit_models(audit, "unlearned")[2:]:
        shutil.rmtree(tmp_path / "copy" / digest)
    found = audit_run(tmp_path / "copy" / audit.run.path.name, tmp_path, "standard", None, "cpu", offline=True)
    reason = found["audit"]["missing"]["klom_forget_mean"]
    assert "klom" in reason
    assert "8" in reason
    assert "rmia_auc" in found["audit"]["scores"]


def test_without_any_retrained_model_an_audit_says_that_nothing_can_be_concluded(standard, tmp_path):
    out, _, audit, _ = standard
    shutil.copytree(out, tmp_path / "copy")
    for part in ("retrained", "unlearned"):
        for digest in audit_models(audit, part):
            shutil.rmtree(tmp_path / "copy" / digest)
    found = audit_run(tmp_path / "copy" / audit.run.path.name, tmp_path, "standard", None, "cpu", offline=True)
    assert found["audit"]["verdict"].startswith("Nothing can be concluded")


def test_only_few_answers_are_in_memory_at_a_time(standard, monkeypatch):
    *_, audit, _ = standard
    panel = audit.panel()
    read = []
    monkeypatch.setattr(Run, "outputs", lambda self, outputs=Run.outputs: read.append(self) or outputs(self))
    assert len(panel.retrained) == len(panel.originals) == 8
    assert not read
    assert len(panel.retrained[:2]) == len(read) == 2


def test_a_run_of_more_processes_is_not_compared_with_models_of_one(standard):
    _, original, audit, _ = standard

    class Together(Run):
        record = replace(audit.run.record, spec=audit.run.record.spec | {"processes": 2, "sync_batch_norm": False})

    with pytest.raises(UsageError, match="made by 2 processes and this is 1"):
        Audit(Together(audit.run.path), audit.store, "quick", 1).train(original)


def fails_after(monkeypatch, count):
    """Let amnesiac fail after so many runs of it."""
    amnesiac, done = method_named("amnesiac"), []
    run = amnesiac.run

    def failing(self, problem):
        done.append(problem)
        if len(done) > count:
            raise TrainingError("The loss is not finite; lower lr.")
        return run(self, problem)

    monkeypatch.setattr(amnesiac, "run", failing)


def test_a_method_that_fails_on_another_original_does_not_stop_the_audit(tmp_path, monkeypatch):
    original = original_in(tmp_path)
    run = unlearned_in(original, "amnesiac", forget="random:20", epochs=1, lr=1e-3)
    audit = Audit(run, original.bench.store, "full", 2)
    fails_after(monkeypatch, 0)
    audit.train(original)
    found = write_audit(audit)
    assert "klom_forget_mean" in found["missing"]
    assert "0" in found["missing"]["ulira_auc"]
    assert len(found["models"]["shadows"]) == 2
    assert found["models"]["unlearned"] == found["models"]["unlearned shadows"] == []
    assert "rmia_auc" in found["scores"]


def test_shadows_are_counted_as_they_are(tmp_path, monkeypatch):
    original = original_in(tmp_path)
    run = unlearned_in(original, "amnesiac", forget="random:20", epochs=1, lr=1e-3)
    audit = Audit(run, original.bench.store, "full", 4)
    train_only_references(audit, original)
    fails_after(monkeypatch, 3)
    train_shadows(audit.shadows, original, _Attempts())
    shadows = audit.shadows.found(audit.store)
    assert shadows.before.shape == (4, 40)
    assert shadows.after.shape == (3, 40)
    assert np.array_equal(shadows.forgot, audit.shadows.member[:3])


def test_other_originals_have_the_precision_of_the_original(tmp_path):
    original = original_in(tmp_path)
    coarse = replace(original, bench=replace(original.bench, compute=Compute.choose("cpu", "bf16")))
    run = unlearned_in(coarse, "amnesiac", epochs=1, lr=1e-3)
    cast = Cast(run, "standard", 2)
    for role in cast.roles():
        assert role.make(coarse).record.digest == digest_of(role.spec), role.part


def test_models_that_do_not_relearn_in_time_are_left_in():
    class Curve:
        def __init__(self, *losses):
            self.history = lambda: [{"loss": loss} for loss in losses]

    assert relearning_time(Curve(3.0, 2.0, 1.04, 0.9), 1.0) == 2
    assert relearning_time(Curve(3.0, 2.0, 1.06), 1.0) == STEPS + 1


def test_a_study_audits_the_first_replicate_that_succeeded(tmp_path, monkeypatch):
    amnesiac = method_named("amnesiac")
    run = amnesiac.run

    def failing(self, problem):
        if problem.seed == 5:
            raise TrainingError("The loss is not finite; lower lr.")
        return run(self, problem)

    monkeypatch.setattr(amnesiac, "run", failing)
    methods = [{"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}}]
    seeds = {"training": [0, 7], "unlearning": [5, 6]}
    recipe = fakes.recipe(forget=["random:10%"], methods=methods, seeds=seeds, audit="quick", references=2)
    folder = run_recipe(recipe, data_dir=tmp_path, out=tmp_path, device="cpu", progress=False)
    audits = {one["label"]: one for one in json.loads((folder / "audit.json").read_text())}
    assert len(audits["amnesiac"]["models"]["retrained"]) == 2


def audit_models(audit, part):
    return [run.record.digest for run in audit.runs[part]]


def test_an_audit_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    original = original_in(tmp_path)
    run = unlearned_in(original, "amnesiac", epochs=1, lr=1e-3)
    audit = Audit(run, original.bench.store, "quick", 3)
    made = []

    def counted(self, role):
        made.append(role.part)
        if len(made) == 3:
            raise KeyboardInterrupt
        return role

    roles = Cast.roles
    monkeypatch.setattr(Cast, "roles", lambda self: (counted(self, role) for role in roles(self)))
    with pytest.raises(KeyboardInterrupt):
        audit.train(original)
    monkeypatch.setattr(Cast, "roles", roles)
    assert not (run.path / "audit").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/record.json")}
    audit.train(original)
    assert all(path.stat().st_mtime_ns == before[path] for path in before)
    assert len(audit.found("retrained")) == 3


def test_the_models_are_shared_by_all_methods_that_are_judged(standard):
    out, original, _, _ = standard
    other = unlearned_in(original, "finetune", epochs=1, lr=1e-3)
    audit = Audit(other, original.bench.store, "quick", 8)
    before = len(list(out.glob("*/record.json")))
    audit.train(original)
    assert len(list(out.glob("*/record.json"))) == before


def test_a_retrained_model_is_compared_with_others_and_never_with_itself(standard):
    _, original, audit, _ = standard
    itself = audit.runs["retrained"][0]
    again = Audit(itself, original.bench.store, "quick", 7)
    assert itself.record.digest not in audit_models(again, "retrained")
    assert len(audit_models(again, "retrained")) == 7
    assert write_audit(again)["scores"]["avg_gap"]["value"] >= 0


def test_the_time_to_relearn_is_read_from_a_curve_that_starts_at_the_models_own_loss(standard):
    *_, audit, result = standard
    curve = audit.store.find(digest_of(relearning_spec(audit.run, audit.forget))).history()
    assert len(curve) == STEPS + 1
    answers = audit.answers(audit.run).forget
    logits = answers.logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(logits)), answers.labels]
    assert curve[0]["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert result["scores"]["relearn_time"]["original"] == 0


def test_predictions_that_were_put_in_another_runs_place_are_refused(standard, tmp_path):
    out, _, audit, _ = standard
    shutil.copytree(out, tmp_path / "copy")
    first, second = (tmp_path / "copy" / digest for digest in audit_models(audit, "retrained")[:2])
    shutil.copy(first / "predictions.safetensors", second / "predictions.safetensors")
    with pytest.raises(RunError, match="of another run"):
        audit_run(tmp_path / "copy" / audit.run.path.name, tmp_path, "quick", 3, "cpu", offline=True)


def test_predictions_that_do_not_say_whose_they_are_are_refused(standard, tmp_path):
    *_, audit, _ = standard
    shutil.copytree(audit.run.path, tmp_path / "silent")
    path = tmp_path / "silent" / "predictions.safetensors"
    save_file(load_file(path), path)
    with pytest.raises(RunError, match="do not say whose"):
        Run(tmp_path / "silent").outputs()


def test_models_of_other_data_are_refused_by_digest(standard, monkeypatch):
    _, _, audit, _ = standard
    retrained = audit.runs["retrained"][0]
    spec = json.loads(json.dumps(retrained.record.spec))
    spec["original"]["data"]["digests"]["train"] = "0" * 32

    class Forged(Run):
        record = replace(retrained.record, spec=spec)

    monkeypatch.setattr(Audit, "found", lambda self, part: [Forged(retrained.path)] if part == "retrained" else [])
    with pytest.raises(DataError, match="other data"):
        _ = replace(audit).runs


def memorising(folder):
    """Digits whose labels were shuffled: whatever a network knows of a training label, it has learnt by heart."""
    digits, _ = load_digits()
    images = digits.images.numpy()[:400]
    labels = np.random.default_rng(0).permutation(digits.labels.numpy()[:400])
    arrays = {"x_train": images[:200], "y_train": labels[:200], "x_test": images[200:], "y_test": labels[200:]}
    np.savez(folder / "shuffled.npz", **arrays)
    return folder / "shuffled.npz"


def test_a_model_that_memorised_is_caught_and_two_retrained_models_are_not_distinguishable(tmp_path):
    training = {"epochs": 40, "lr": 0.1, "schedule": "cosine", "batch_size": 32, "warmup_epochs": 0, "augment": False}
    data = {"source": str(memorising(tmp_path))}
    original = original_in(tmp_path / "runs", tmp_path, data=data, training=training)
    assert original.run.record.scores["train_acc"] > 95
    kept = unlearned_in(original, "finetune", "random:25%", epochs=1, lr=1e-6)
    audit = Audit(kept, original.bench.store, "standard", 8)
    train_only_references(audit, original)
    result = write_audit(audit)
    assert result["scores"]["rmia_auc"]["value"] > 0.9
    assert result["scores"]["rmia_auc"]["verdict"]["distinguishable"]
    assert result["verdict"].startswith("Distinguishable")
    retrained = unlearn_from(original, kept.forget(), Retrain(init="fresh"), seed=1)
    other = write_audit(Audit(retrained, original.bench.store, "standard", 7))
    assert abs(other["scores"]["rmia_auc"]["value"] - 0.5) < 0.15
    assert not other["verdict"].startswith("Distinguishable")


def train_only_references(audit, original):
    """What RMIA needs; reruns of the method would only cost time here."""
    for role in audit.cast.retrained():
        role.make(original)


def test_shadow_models_are_trained_on_complementary_halves_and_unlearn_them(tmp_path):
    original = original_in(tmp_path)
    run = unlearned_in(original, "amnesiac", forget="random:20", epochs=1, lr=1e-3)
    audit = Audit(run, original.bench.store, "full", 4)
    audit.train(original)
    plan = audit.shadows
    assert (plan.member.sum(0) == 2).all()
    assert plan.member.shape == (4, 20 + 20)
    assert np.array_equal(plan.member[::2], ~plan.member[1::2])
    found = write_audit(audit)
    assert found["models"]["split"] == [np.flatnonzero(row).tolist() for row in plan.member]
    assert {"lira_auc", "lira_offline_auc", "ulira_auc", "ulira_acc"} <= found["scores"].keys()
    assert "8" in found["missing"]["epsilon"]
    shadows = plan.found(audit.store)
    assert shadows.before.shape == shadows.after.shape == (4, 40)
    assert not np.array_equal(shadows.before, shadows.after)
    offline = audit_run(run.path, tmp_path / "nowhere", "full", 4, "cpu", offline=True)
    assert offline["audit"] == found


def test_shadows_are_the_same_for_every_method(tmp_path):
    original = original_in(tmp_path)
    plans = [
        Audit(unlearned_in(original, method, forget="random:20", epochs=1), original.bench.store, "full", 4).shadows
        for method in ("amnesiac", "finetune")
    ]
    assert plans[0].trained(1) == plans[1].trained(1)
    assert plans[0].unlearned(1) != plans[1].unlearned(1)


def test_a_forgotten_class_is_audited_against_its_unseen_samples(tmp_path):
    original = original_in(tmp_path)
    run = unlearned_in(original, "amnesiac", forget="class:3", epochs=1, lr=1e-3)
    audit = Audit(run, original.bench.store, "full", 2)
    audit.train(original)
    found = write_audit(audit)
    assert "forget_test_acc" in found["scores"]
    assert len(audit.shadows.strangers) == len(audit.forget)
    assert "lira_auc" in found["missing"] or "lira_auc" in found["scores"]


def test_a_study_writes_the_audit_of_each_method(tmp_path):
    methods = [{"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}}]
    recipe = fakes.recipe(forget=["random:10%"], methods=methods, audit="quick", references=2)
    folder = run_recipe(recipe, data_dir=tmp_path, out=tmp_path, device="cpu", progress=False)
    audits = json.loads((folder / "audit.json").read_text())
    assert [(one["scenario"], one["label"]) for one in audits] == [
        ("random:10%", "retrained"),
        ("random:10%", "amnesiac"),
    ]
    assert all(one["scores"]["avg_gap"]["value"] >= 0 for one in audits)


def test_the_images_of_the_most_exposed_samples_are_kept_where_the_data_is_at_hand(standard):
    _, original, audit, _ = standard
    folder, data = audit.run.path / "audit", original.bench.splits.train
    assert not (folder / "exposed.npz").exists()
    write_audit(audit, data)
    with (folder / "samples.csv").open() as file:
        wanted = [int(row["index"]) for row in csv.DictReader(file) if row["part"] == "forget"]
    with np.load(folder / "exposed.npz", allow_pickle=False) as kept:
        assert kept["samples"].tolist() == wanted[:24]
        assert kept["images"].dtype == np.uint8
        assert np.array_equal(kept["images"], np.asarray(data.images)[wanted[:24], 0])
        assert kept["names"].tolist() == [data.class_names[data.labels[index]] for index in wanted[:24]]
