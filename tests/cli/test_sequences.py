"""One request after another, on the command line: what was forgotten first stays forgotten, and is compared so."""

import json
import shutil

import numpy as np
import pytest

from natmu.audits import AuditModels
from natmu.data import load
from natmu.engine.store import Run
from natmu.lineage import obtain
from natmu.opening import Place, open_model
from natmu.records.lineage import AllBut, Trained

TINY = ["--data", "digits", "--model", "small_cnn", "--precision", "fp32", "--train-size", 300]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where the runs of ``first`` are kept, once a test has made them."""
    return tmp_path_factory.mktemp("made") / "runs"


@pytest.fixture
def first(natmu, tmp_path, made):
    """A run that has forgotten the digit 7: a copy for each test of the one that is made for all."""
    if made.exists():
        shutil.copytree(made, tmp_path / "runs")
        return tmp_path / "runs/b"
    natmu("train", *TINY, "--epochs", 8, "--batch-size", 16, "--lr", 0.05, "--out", "runs/a")
    done = natmu("unlearn", "--from", "runs/a", "--forget", "class:7", "--method", "retrain", "--out", "runs/b")
    assert done.status == 0, done.err
    shutil.copytree(tmp_path / "runs", made)
    return tmp_path / "runs/b"


def test_a_second_request_is_compared_with_models_that_saw_neither(natmu, tmp_path, first):
    words = ("unlearn", "--from", first, "--forget", "random:10%", "--method", "finetune", "--set", "epochs=2")
    done = natmu(*words, "--out", "runs/c", "--json")
    assert done.status == 0, done.err
    run = Run(tmp_path / "runs/c")
    forget, labels = run.forget(), run.outputs().train.labels
    assert forget.before.tolist() == np.flatnonzero(labels == 7).tolist()
    assert len(forget) == round(0.1 * (300 - len(forget.before)))
    assert not (labels[forget.indices] == 7).any()
    assert done.json["scores"]["before_acc"] == 0
    assert done.json["original"]["before_acc"] > 90, "the original stands beside the result"
    said = natmu(*words, "--out", "runs/c").out
    assert f"before_acc 0.00 (original {done.json['original']['before_acc']:.2f})" in said
    assert run.record.forgotten.classes_before == (7,)

    audited = natmu("audit", "runs/c", "--level", "standard", "--references", 2, "--json")
    assert audited.status == 0, audited.err
    audit = json.loads((tmp_path / "runs/c/audit/audit.json").read_text())
    assert (audit["scores"]["before_acc"]["value"], audit["scores"]["before_acc"]["retrained"]) == (0, [0, 0])
    assert audit["scores"]["before_acc"]["original"] > 90
    references = [Run(tmp_path / "runs" / digest) for digest in audit["models"]["retrained"]]
    for reference in references:
        lineage = reference.record.lineage
        assert isinstance(lineage, Trained)
        assert isinstance(lineage.on, AllBut)
        assert np.array_equal(reference.forget().left_out, forget.left_out)


@pytest.mark.parametrize(
    ("forget", "sentence"),
    [
        ("class:7", "'class:7' means no training sample that was not forgotten before"),
        ("indices:again.txt", "of the samples that were forgotten before, such as that at position"),
        ("class:0,1,2,3,4,5,6,8,9", "at least one must be retained"),
    ],
)
def test_what_is_gone_cannot_be_forgotten_again(natmu, refused, tmp_path, first, forget, sentence):
    train = load("digits", tmp_path, train_size=300).train
    (tmp_path / "again.txt").write_text("\n".join(train.names[row] for row in Run(first).forget().indices))
    before = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert sentence in refused("unlearn", "--from", first, "--forget", forget)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == before


def test_a_part_of_an_audit_is_no_model_to_unlearn_from(natmu, refused, tmp_path, first):
    original, place = open_model(tmp_path / "runs/a", Place(tmp_path, tmp_path / "runs"))
    models = AuditModels(Run(first).record.lineage, original, "full", 2)
    shadow = obtain(models.parts["shadow"][0], place)
    assert "holds a part of an audit" in refused("unlearn", "--from", shadow.path, "--forget", "class:3")


def test_a_sequence_may_begin_with_retraining(natmu, refused, tmp_path, first):
    """A retrained model does not say which original it belongs to; the audit is told, or finds one that is like it."""
    second = natmu("unlearn", "--from", first, "--forget", "class:3", "--method", "finetune", "--out", "runs/c")
    assert second.status == 0, second.err
    assert natmu("audit", "runs/c", "--references", 2).status == 0
    loss = natmu("unlearn", "--from", first, "--forget", "hardest:5%:loss", "--method", "finetune", "--out", "runs/d")
    assert loss.status == 0, loss.err
    assert Run(tmp_path / "runs/d").record.lineage.forget.by == Run(first).record.lineage
    assert "confidence" in refused("unlearn", "--from", first, "--forget", "hardest:5%", "--method", "finetune")
    fresh = ("--forget", "class:3", "--method", "retrain", "--set", "init=fresh", "--out", "runs/fresh")
    natmu("unlearn", "--from", "runs/a", *fresh)
    original = ("unlearn", "--from", "runs/fresh", "--forget", "class:5", "--method", "retrain")
    assert "set init=fresh" in refused(*original)
    assert len(list((tmp_path / "runs").glob("*/confidence.npy"))) == 1, "no other original was trained"


def test_a_file_of_a_run_is_no_model_from_elsewhere(refused, first):
    words = ("--data", "digits", "--model", "small_cnn", "--forget", "class:3")
    assert "is a file of a run; name its folder" in refused("unlearn", "--from", first / "model.safetensors", *words)


def test_a_list_of_positions_may_vanish(natmu, tmp_path, first):
    (tmp_path / "gone.txt").write_text("\n".join(load("digits", tmp_path, train_size=300).train.names[:3]))
    words = ("unlearn", "--method", "finetune", "--set", "epochs=1")
    natmu(*words, "--from", "runs/a", "--forget", "indices:gone.txt", "--out", "runs/c")
    (tmp_path / "gone.txt").unlink()
    done = natmu(*words, "--from", "runs/c", "--forget", "class:3", "--out", "runs/d")
    assert done.status == 0, done.err
    done = natmu("audit", "runs/d", "--level", "quick", "--references", 2)
    assert done.status == 0, done.err
    assert "gone.txt" not in done.err


def test_a_batch_size_beside_a_preset_that_has_one_is_refused(refused, first):
    words = ("unlearn", "--from", first, "--forget", "class:3", "--method", "amnesiac", "--set", "preset=ssd")
    assert "give batches of 128; leave --batch-size out" in refused(*words, "--batch-size", 8)
