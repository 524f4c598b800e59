"""Own training on the command line: the example, a standard audit stopped once, and originals from elsewhere."""

from __future__ import annotations

import functools
import json
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from natmu.records.run import RunFolder
from natmu.report.commands import commands_of

EXAMPLE = Path(__file__).parents[2] / "examples/own_training"

TRAIN = ["train", "--data", "photographs", "--image-size", 16, "--model", "recipe:network"]
OWN = ["--trainer", "recipe:train", "--trainer-set", "epochs=1"]
UNLEARN = ["unlearn", "--forget", "random:10%", "--method", "natmu", "--set", "n=2", "--epochs", 1]
AUDIT = ["audit", "runs/unlearned", "--level", "standard", "--references", 3]


@pytest.fixture
def example(natmu, monkeypatch):
    """The example's module of the user's own, beside photographs, in an empty folder."""
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, Path.cwd())
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.setattr(sys, "argv", ["photographs.py", "--per-class", "24"])
    runpy.run_path("photographs.py", run_name="__main__")
    yield sys.modules["recipe"]
    del sys.modules["recipe"]


def stopping(train, calls, last):
    """The example's training, which notes its seeds and is interrupted after a number of models."""

    @functools.wraps(train)
    def counted(samples, seed, **arguments):
        if len(calls) == last:
            raise KeyboardInterrupt
        calls.append((len(samples), seed))
        return train(samples, seed, **arguments)

    return counted


def test_a_stopped_audit_goes_on_after_the_last_whole_model(natmu, refused, example, monkeypatch):
    assert "--trainer-set gives arguments to a trainer" in refused(*TRAIN, "--trainer-set", "epochs=1")
    assert "--lr is a setting of natmu's own training" in refused(*TRAIN, *OWN, "--lr", 0.1)
    assert "give one of them" in refused(*TRAIN, *OWN, "--training", "{epochs: 1}")
    assert "cannot be called as train(samples, seed, epochs=…, depth=…)" in refused(
        *TRAIN, *OWN, "--trainer-set", "depth=1"
    )
    assert natmu(*TRAIN, *OWN, "--out", "runs/original").status == 0
    assert natmu(*UNLEARN, "--from", "runs/original", "--out", "runs/unlearned").status == 0
    assert "original says how it was trained" in refused("audit", "runs/unlearned", *OWN)
    calls, train = [], example.train
    monkeypatch.setattr(example, "train", stopping(train, calls, 2))
    assert natmu(*AUDIT).status == 130
    monkeypatch.setattr(example, "train", stopping(train, calls, 99))
    done = natmu(*AUDIT, "--json")
    assert done.status == 0, done.err
    # two further originals and three retrained models, each once
    assert sorted(calls) == [(65, 0), (65, 1), (65, 2), (72, 1), (72, 2)]
    assert "3 of 3, trained in" in done.err
    assert {part: len(done.json["audit"]["models"][part]) for part in ("retrained", "original", "unlearned")} == {
        "retrained": 3,
        "original": 2,
        "unlearned": 2,
    }
    run, original = RunFolder(Path("runs/unlearned")), RunFolder(Path("runs/original"))
    again, *_ = commands_of(run, original)
    assert natmu(*shlex.split(again)[1:]).status == 0
    Path("recipe.py").write_text(Path("recipe.py").read_text() + "# mended\n")
    assert "or the library that defines recipe:network has changed" in refused(*AUDIT[:-1], 5)
    assert "The file that defines recipe:train has changed" in refused(*shlex.split(again)[1:])


def test_an_original_from_elsewhere_is_compared_with_nothing_until_somebody_says_how_it_was_trained(
    natmu, refused, tmp_path
):
    digits = ["--data", "digits", "--train-size", 100, "--model", "small_cnn"]
    assert natmu("train", *digits, "--epochs", 1, "--out", "elsewhere/original").status == 0
    shutil.copy("elsewhere/original/model.safetensors", "weights.safetensors")
    unlearn = [*UNLEARN, *digits, "--from", "weights.safetensors", "--force"]
    retrain = [*unlearn[:3], "--method", "retrain", "--set", "init=fresh", *digits, "--from", "weights.safetensors"]
    assert "retrain: nobody has said how the original was trained" in refused(*retrain)
    assert natmu(*unlearn, "--out", "runs/untold").status == 0
    assert "was trained elsewhere, and nobody has said how" in refused("audit", "runs/untold")
    assert natmu("audit", "runs/untold", "--offline").status == 0
    Path("training.yaml").write_text("epochs: 1\nlr: 0.01\nbatch_size: 25\n")
    assert natmu("audit", "runs/untold", "--force", "--references", 2, "--training", "training.yaml").status == 0
    *_, audit = commands_of(RunFolder(Path("runs/untold")), None)
    words = shlex.split(audit)
    assert json.loads(words[words.index("--training") + 1])["batch_size"] == 25
    assert natmu(*retrain, "--training", "training.yaml", "--out", "runs/retrained").status == 0
    assert natmu("audit", "runs/retrained", "--force").status == 0
