from __future__ import annotations

import pytest

from natmu.report.descriptions import asked, asked_of_run, forget_set

from . import folders


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("random:1%", "1 % of the training set, drawn at random"),
        ("random:500", "500 samples, drawn at random"),
        ("hardest:10%:loss", "the hardest 10 % of the training set by loss"),
        ("class:rocket", "all of class rocket"),
        ("subclass:3", "all of sub-class 3"),
        ("indices:a/b.npy", "the samples listed in a/b.npy"),
    ],
)
def test_forget_sets_in_words(spec, words):
    assert forget_set(spec) == words


def test_a_recipe_in_words(tmp_path):
    _, study = folders.make_study(tmp_path)
    facts = dict(asked(study["recipe"], "test"))
    assert facts["Data"] == "digits"
    assert facts["Training"].startswith("3 epochs of sgd, learning rate 0.1 (cosine)")
    assert facts["Forget sets"] == "random:10% (10 % of the training set, drawn at random)"
    assert "amnesiac (natmu) with note=three" in facts["Methods"]
    assert facts["Seeds"].startswith("2 replicates; of the forget sets 0, of training 0, 1")
    assert facts["Audit"] == "none asked for"
    assert "seen the test set" in dict(asked(study["recipe"], "holdout"))["Scored on"]


def test_the_spec_of_a_run_in_words():
    facts = dict(asked_of_run(folders.unlearned_spec("natmu", seed=4)))
    assert facts["Forget set"] == "random:10%: 10 % of the training set, drawn at random, 20 samples"
    assert facts["Method"] == "natmu with lr=0.002, mode=a b"
    assert facts["Seed"] == "4"
