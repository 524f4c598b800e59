"""Audits of runs on scikit-learn's digits: what they train, what they find, and that files alone give the same."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from natmu.audits import RunAudit, obtain_models, write
from natmu.audits import obtaining as module
from natmu.data.digits import load_digits
from natmu.engine.relearning import STEPS
from natmu.engine.store import Run
from natmu.errors import RunError, TrainingError, UsageError
from natmu.lineage import Workspace, obtain
from natmu.lineage.executors import side_by_side
from natmu.methods import method_named
from natmu.progress import showing
from natmu.records.audit import AuditFolder
from natmu.records.derived import retrained
from natmu.records.files import read_rows
from natmu.records.samples import SAMPLE_COLUMNS
from natmu.records.settings import DataSettings, TrainSettings
from natmu.scores import names_of

from . import fakes


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """A run with everything that an audit of eight models trains, and what came of it."""
    place = fakes.workspace(tmp_path_factory.mktemp("runs"))
    audit = fakes.audit_of(place, fakes.unlearned(place), "standard", 8)
    obtain_models(audit, place)
    return place, audit, write(audit)


def test_the_audit_is_written_beside_the_run(standard):
    _, audit, result = standard
    written = AuditFolder(audit.run)
    assert written.audit == result
    assert written.exposed is None
    assert list(read_rows(written.path / "samples.csv")[0]) == list(SAMPLE_COLUMNS)
    forget = audit.run.forget().indices
    assert sorted(sample.index for sample in written.samples if sample.part == "forget") == forget.tolist()
    labels = audit.run.outputs().train.labels
    assert all(sample.label == labels[sample.index] for sample in written.samples)
    difficulty = -audit.original.confidence()
    assert all(sample.difficulty == pytest.approx(difficulty[sample.index], rel=1e-4) for sample in written.samples)


def test_every_score_of_the_level_is_there_or_has_a_reason(standard):
    *_, result = standard
    assert result.scores.keys() | result.missing.keys() == set(names_of("standard"))
    assert result.missing.keys() == {"holdout_acc", "forget_test_acc", "before_acc", "corrected_acc", "tpr_at_fpr_0.1"}
    assert all(score.value is not None for score in result.scores.values())
    assert result.mia_efficacy_samples == min(1500, 150 - 15)
    assert (result.method, result.level, result.forget.count) == ("amnesiac", "standard", 15)


def test_areas_say_how_far_they_lie_from_one_half_on_either_side(standard):
    *_, result = standard
    leaks = {name: score.leak for name, score in result.scores.items() if score.leak is not None}
    assert {"rmia_auc", "auc_forget_test_entropy"} <= leaks.keys()
    assert "mia_entropy" not in leaks
    assert all(leaks[name] == abs(result.scores[name].value - 0.5) for name in leaks)


def test_what_determines_each_model_is_known_without_any_data(standard):
    place, audit, result = standard
    counts = {part: len(models) for part, models in audit.models.parts.items() if models}
    assert counts == {"retrained": 8, "original": 7, "unlearned": 7, "initial": 1}
    for part, models in audit.models.parts.items():
        assert [run.record.lineage for run in audit.runs[part]] == list(models)
        if part not in ("shadow", "unlearned shadow"):
            assert getattr(result.models, part) == tuple(model.digest for model in models)
    assert result.models.shadows is None
    assert all(place.has(model) for model in audit.models.all)


def test_files_alone_give_the_same_audit(standard, tmp_path):
    place, audit, result = standard
    shutil.copytree(place.store.root, tmp_path / "copy")
    copy = Run(fakes.copied(audit.run, tmp_path / "copy"))
    original = Run(fakes.copied(audit.original, tmp_path / "copy"))
    store = type(place.store)(tmp_path / "copy")
    assert write(RunAudit(copy, original, store, "standard", 8)) == result
    assert AuditFolder(copy).audit == result


def without(standard, folder, **parts):
    """The same audit with files alone, of which some runs are missing."""
    place, audit, _ = standard
    shutil.copytree(place.store.root, folder)
    for part, first in parts.items():
        for digest in fakes.digests(audit, part)[first:]:
            shutil.rmtree(folder / digest)
    run, original = (Run(fakes.copied(one, folder)) for one in (audit.run, audit.original))
    return write(RunAudit(run, original, type(place.store)(folder), "standard", 8))


def test_without_data_an_audit_makes_do_and_names_what_is_missing(standard, tmp_path):
    found = without(standard, tmp_path / "copy", unlearned=2)
    reason = found.missing["klom_forget_mean"]
    assert "klom" in reason
    assert "8" in reason
    assert "rmia_auc" in found.scores


def test_without_any_retrained_model_an_audit_says_that_nothing_can_be_concluded(standard, tmp_path):
    found = without(standard, tmp_path / "copy", retrained=0, unlearned=0)
    assert found.forgotten.outcome == "cannot be said"


def test_only_few_predictions_are_in_memory_at_a_time(standard, monkeypatch):
    _, audit, _ = standard
    panel = audit.panel()
    read = []
    monkeypatch.setattr(Run, "outputs", lambda self, outputs=Run.outputs: read.append(self) or outputs(self))
    assert len(panel.retrained) == len(panel.originals) == 8
    assert not read
    assert len(panel.retrained[:2]) == len(read) == 2


def test_a_run_of_more_processes_is_not_compared_with_models_of_one(standard):
    place, audit, _ = standard
    record = audit.run.record
    lineage = record.lineage.but(arithmetic=record.lineage.arithmetic.model_copy(update={"processes": 2}))
    together = Run(audit.run.path)
    together.__dict__["record"] = record.model_copy(update={"lineage": lineage, "digest": lineage.digest})
    with pytest.raises(UsageError, match="made by 2 processes and this is 1"):
        obtain_models(RunAudit(together, audit.original, audit.store, "quick", 1), place)


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


def test_a_method_that_fails_on_another_original_does_not_stop_the_audit(tmp_path, monkeypatch, capsys):
    place = fakes.workspace(tmp_path)
    audit = fakes.audit_of(place, fakes.unlearned(place, text="random:20"), "full", 2)
    fails_after(monkeypatch, 0)
    with showing():
        obtain_models(audit, place)
    assert " ".join(capsys.readouterr().err.split()).count("The loss is not finite; lower lr.") == 1
    found = write(audit)
    assert "klom_forget_mean" in found.missing
    assert "after unlearning" in found.missing["ulira_auc"]
    assert len(found.models.shadows.trained) == 2
    assert found.models.unlearned == found.models.again == found.models.shadows.unlearned == ()
    assert "rmia_auc" in found.scores


def test_shadows_are_counted_as_they_are(tmp_path, monkeypatch):
    place = fakes.workspace(tmp_path)
    audit = fakes.audit_of(place, fakes.unlearned(place, text="random:20"), "full", 4)
    obtain_only(audit, place, "retrained")
    fails_after(monkeypatch, 3)
    for _, outcome in module.make_here(audit.models.parts["unlearned shadow"], place):
        assert outcome.failed in (None, "The loss is not finite; lower lr.")
    shadows = audit.panel().shadows
    assert shadows.before.shape == (4, 40)
    assert shadows.after.shape == (3, 40)
    assert np.array_equal(shadows.forgot, np.stack(audit.halves())[:3])


def test_shadows_whose_unlearning_failed_in_the_middle_are_left_out_there(tmp_path):
    place = fakes.workspace(tmp_path)
    audit = fakes.audit_of(place, fakes.unlearned(place, text="random:20"), "full", 4)
    parts = audit.models.parts
    for model in (*parts["shadow"][1:], parts["unlearned shadow"][1], parts["unlearned shadow"][3]):
        obtain(model, place)
    shadows = audit.panel().shadows
    assert (shadows.before.shape, shadows.after.shape) == ((3, 40), (2, 40))
    assert len(audit.halves()) == 3
    assert np.array_equal(shadows.forgot, np.stack(audit.halves())[[0, 2]])


def test_other_originals_have_the_precision_of_the_original(tmp_path):
    place = fakes.workspace(tmp_path)
    coarse = fakes.workspace(tmp_path, precision="bf16")
    model = fakes.unlearned(coarse, source=place.original(fakes.RECIPE, 0))
    assert (model.arithmetic.precision, model.source.arithmetic.precision) == ("bf16", "fp32")
    audit = fakes.audit_of(coarse, model, "standard", 2)
    obtain_models(audit, coarse)
    expected = {"initial": "fp32", "retrained": "bf16", "original": "fp32", "unlearned": "bf16"}
    for part, precision in expected.items():
        assert audit.runs[part], part
        for run in audit.runs[part]:
            assert run.record.lineage.arithmetic.precision == run.record.hardware.precision == precision, part


def test_an_audit_that_was_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    place = fakes.workspace(tmp_path)
    audit = fakes.audit_of(place, fakes.unlearned(place), "quick", 3)
    make, made = module.make_here, []

    def stopped(models, workspace, **options):
        for one in make(models, workspace, **options):
            yield one
            made.append(one)
            if len(made) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(module, "make_here", stopped)
    with pytest.raises(KeyboardInterrupt):
        obtain_models(audit, place)
    monkeypatch.setattr(module, "make_here", make)
    assert not (audit.run.path / "audit").exists()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/record.json")}
    assert 2 < len(before) < 2 + 1 + 3
    obtain_models(audit, place)
    assert all(path.stat().st_mtime_ns == before[path] for path in before)
    assert len(audit.runs["retrained"]) == 3


def test_the_models_are_shared_by_all_methods_that_are_judged(standard):
    place, *_ = standard
    audit = fakes.audit_of(place, fakes.unlearned(place, "finetune", epochs=1, lr=1e-3), "quick", 8)
    before = len(list(place.store.root.glob("*/record.json")))
    obtain_models(audit, place)
    assert len(list(place.store.root.glob("*/record.json"))) == before


def test_a_retrained_model_is_compared_with_others_and_never_with_itself(standard):
    place, audit, _ = standard
    itself = audit.runs["retrained"][0]
    again = fakes.audit_of(place, itself.record.lineage, "quick", 7)
    assert again.original.record.digest == audit.original.record.digest
    assert itself.record.digest not in fakes.digests(again, "retrained")
    assert len(fakes.digests(again, "retrained")) == 7
    found = write(again)
    assert found.scores["avg_gap"].value >= 0
    assert found.method == "retrain"


def test_the_time_to_relearn_is_read_from_a_curve_that_starts_at_the_models_own_loss(standard):
    _, audit, result = standard
    curve = audit.store.find(audit.models.curve(audit.models.subject).digest).history()
    assert len(curve) == STEPS + 1
    predictions = audit.predictions.forget
    logits = predictions.logits.astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(logits)), predictions.labels]
    assert curve[0]["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert result.scores["relearn_time"].original == 0


def test_predictions_that_were_put_in_another_runs_place_are_refused(standard, tmp_path):
    place, audit, _ = standard
    shutil.copytree(place.store.root, tmp_path / "copy")
    first, second = (tmp_path / "copy" / digest for digest in fakes.digests(audit, "retrained")[:2])
    shutil.copy(first / "predictions.safetensors", second / "predictions.safetensors")
    run, original = (Run(fakes.copied(one, tmp_path / "copy")) for one in (audit.run, audit.original))
    with pytest.raises(RunError, match="of another run"):
        write(RunAudit(run, original, type(place.store)(tmp_path / "copy"), "standard", 3))


def test_predictions_that_were_written_anew_are_refused(standard, tmp_path):
    _, audit, _ = standard
    shutil.copytree(audit.run.path, tmp_path / "silent")
    path = tmp_path / "silent" / "predictions.safetensors"
    arrays = load_file(path)
    save_file(arrays | {"test_logits": arrays["test_logits"] + 1}, path)
    with pytest.raises(RunError, match="is not what this run wrote"):
        Run(tmp_path / "silent").outputs()


def test_a_model_of_other_data_is_another_model(standard):
    """All that is compared is found by a digest that holds those of the data."""
    place, audit, _ = standard
    digests = place.data.digests.model_copy(update={"train": "0" * 32})
    other = place.data.model_copy(update={"digests": digests})
    models = [model for models in audit.models.parts.values() for model in models]
    assert {model.data for model in models} == {audit.models.subject.data}
    for model in audit.models.parts["retrained"]:
        assert not place.has(model.but(start=model.start.but(data=other)))


@pytest.fixture
def asked(monkeypatch):
    """Train together all that can be, in this process; what was asked for: seeds of the models, processes."""
    found = []

    def run(function, arguments, processes, label):
        found.append(([model.seed for (model,) in arguments], processes))
        for one in arguments:
            function(*one)

    monkeypatch.setattr(side_by_side, "processes_for", lambda *_, count: min(2, count))
    monkeypatch.setattr(side_by_side, "run_together", run)
    return found


def test_an_audit_trains_its_references_together(tmp_path, asked):
    place = fakes.workspace(tmp_path)
    audit = fakes.audit_of(place, fakes.unlearned(place, text="class:3"), "quick", 3)
    obtain_models(audit, place)
    assert [one for one in asked if one[0]] == [([1, 2], 2)]
    assert len(audit.runs["retrained"]) == 3


def test_who_is_trained_together_does_not_hang_on_whose_audit_comes_first(tmp_path, asked):
    """A retrained model is compared with one more of them than a method is."""

    def trained(out, models):
        asked.clear()
        place = fakes.workspace(tmp_path / out)
        for make in models:
            audit = fakes.audit_of(place, make(place), "quick", 3)
            obtain_models(audit, place)
        return sorted(seed for seeds, _ in asked for seed in seeds)

    def itself(place):
        source, forget = place.original(fakes.RECIPE, 0), fakes.forget(place, "class:3")
        return retrained(source, forget, place.arithmetic, 0, fresh=False)

    def unlearned(place):
        return fakes.unlearned(place, text="class:3")

    assert trained("one way", [itself, unlearned]) == trained("other way", [unlearned, itself]) == [1, 2]


def memorising(folder):
    """Digits whose labels were shuffled: whatever a network knows of a training label, it has learnt by heart."""
    digits, _ = load_digits()
    images = digits.images.numpy()[:400]
    labels = np.random.default_rng(0).permutation(digits.labels.numpy()[:400])
    arrays = {"x_train": images[:200], "y_train": labels[:200], "x_test": images[200:], "y_test": labels[200:]}
    np.savez(folder / "shuffled.npz", **arrays)
    return folder / "shuffled.npz"


def test_a_model_that_memorised_is_caught_and_two_retrained_models_are_not_distinguishable(tmp_path):
    recipe = TrainSettings(epochs=40, lr=0.1, schedule="cosine", batch_size=32, warmup_epochs=0, augment=False)
    place = fakes.workspace(tmp_path / "runs", DataSettings(source=str(memorising(tmp_path))))
    original = place.original(recipe, 0)
    assert obtain(original, place).record.scores["train_acc"] > 95
    kept = fakes.unlearned(place, "finetune", "random:25%", source=original, epochs=1, lr=1e-6)
    audit = fakes.audit_of(place, kept, "standard", 8)
    obtain_only(audit, place, "retrained")
    result = write(audit)
    assert result.scores["rmia_auc"].value > 0.9
    assert result.scores["rmia_auc"].verdict.distinguishable
    assert result.forgotten.outcome == "no"
    other = audit.models.parts["retrained"][1]
    again = write(fakes.audit_of(place, other, "standard", 7))
    assert abs(again.scores["rmia_auc"].value - 0.5) < 0.15
    assert again.forgotten.outcome not in ("no", "too much", "unlike retraining")


def obtain_only(audit: RunAudit, place: Workspace, part: str) -> None:
    """What RMIA needs; reruns of the method would only cost time here."""
    for model in audit.models.parts[part]:
        obtain(model, place)


def test_shadow_models_are_trained_on_complementary_halves_and_unlearn_them(tmp_path):
    place = fakes.workspace(tmp_path)
    audit = fakes.audit_of(place, fakes.unlearned(place, text="random:20"), "full", 4)
    obtain_models(audit, place)
    halves = np.stack(audit.halves())
    assert (halves.sum(0) == 2).all()
    assert halves.shape == (4, 20 + 20)
    assert np.array_equal(halves[::2], ~halves[1::2])
    found = write(audit)
    assert found.models.shadows.split == tuple(tuple(np.flatnonzero(row).tolist()) for row in halves)
    assert len(found.models.shadows.non_members) == 20
    assert len(found.models.shadows.trained) == len(found.models.shadows.unlearned) == 4
    assert len(found.models.again) == 3
    assert {"lira_auc", "lira_offline_auc", "ulira_auc", "ulira_acc"} <= found.scores.keys()
    assert "8" in found.missing["epsilon"]
    shadows = audit.panel().shadows
    assert shadows.before.shape == shadows.after.shape == (4, 40)
    assert not np.array_equal(shadows.before, shadows.after)
    alone = RunAudit(Run(audit.run.path), Run(audit.original.path), type(place.store)(tmp_path), "full", 4)
    assert write(alone) == found


def test_a_forgotten_class_is_audited_against_its_unseen_samples(tmp_path):
    place = fakes.workspace(tmp_path)
    audit = fakes.audit_of(place, fakes.unlearned(place, text="class:3"), "full", 2)
    obtain_models(audit, place)
    found = write(audit)
    assert "forget_test_acc" in found.scores
    assert len(audit.pool) == len(audit.forget)
    assert "lira_auc" in found.missing or "lira_auc" in found.scores


def test_the_images_of_the_most_exposed_samples_are_kept_where_the_data_is_at_hand(standard):
    place, audit, _ = standard
    data = place.splits.train
    assert not (audit.run.path / "audit" / "exposed.npz").exists()
    write(audit, data)
    written = AuditFolder(audit.run)
    wanted = [sample.index for sample in written.samples if sample.part == "forget"][:24]
    kept = written.exposed
    assert kept.samples.tolist() == wanted
    assert kept.images.dtype == np.uint8
    assert np.array_equal(kept.images, np.asarray(data.images)[wanted, 0])
    assert kept.names.tolist() == [data.class_names[data.labels[index]] for index in wanted]


def test_a_full_audit_of_a_second_request(tmp_path):
    place = fakes.workspace(tmp_path)
    first = fakes.unlearned(place, text="class:3")
    audit = fakes.audit_of(place, fakes.unlearned(place, text="random:20", source=first), "full", 4)
    obtain_models(audit, place)
    found = write(audit)
    assert {"lira_auc", "ulira_auc", "before_acc"} <= found.scores.keys()
    gone = audit.forget.before
    assert len(gone)
    pool = place.pool(audit.models.forget)
    assert all(np.isin(gone, pool.aside(number)).all() for number in range(4))
    assert not np.isin(gone, pool.positions).any()
    labels = place.splits.test.labels.numpy()
    assert not (labels[pool.rows] == 3).any()
