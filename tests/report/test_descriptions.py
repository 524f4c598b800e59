from __future__ import annotations

import pytest

from natmu.records.forgetting import parse_forget
from natmu.records.run import RunFolder
from natmu.report.descriptions import asked, asked_of_run, forget_set

from . import folders


@pytest.mark.parametrize(
    ("request_text", "words"),
    [
        ("random:1%", "1 % of the training set, drawn at random"),
        ("random:500", "500 samples, drawn at random"),
        ("hardest:10%:loss", "the hardest 10 % of the training set by loss"),
        ("hardest:7", "the hardest 7 samples by confidence"),
        ("class:rocket", "all of class rocket"),
        ("subclass:3", "all of sub-class 3"),
        ("indices:a/b.npy", "the samples listed in a/b.npy"),
    ],
)
def test_forget_sets_in_words(request_text, words):
    assert forget_set(parse_forget(request_text)) == words


def test_a_recipe_in_words(tmp_path):
    _, study = folders.make_study(tmp_path)
    facts = dict(asked(study))
    assert facts["Data"] == "digits"
    assert facts["Training"].startswith("3 epochs of sgd, learning rate 0.1 (cosine)")
    assert facts["Forget sets"] == "random:10% (10 % of the training set, drawn at random)"
    assert "amnesiac (natmu) with note=three" in facts["Methods"]
    assert facts["Seeds"].startswith("2 replicates; of the forget sets 0, of training 0, 1")
    assert facts["Audit"] == "none asked for"
    assert "seen the test set" in dict(asked(folders.changed(study, score_on="holdout")))["Scored on"]


def test_a_run_in_words(tmp_path):
    run = RunFolder(folders.make_run(tmp_path / "a", folders.an_unlearned("natmu", seed=4)))
    facts = dict(asked_of_run(run.record))
    assert facts["Forget set"] == "random:10%: 10 % of the training set, drawn at random, 20 samples"
    assert facts["Method"] == "natmu with lr=0.002, mode=a b"
    assert facts["Seed"] == "4"
