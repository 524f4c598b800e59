"""Faults of the machine and code that ends the program, as a user sees them: one sentence, a status, nothing broken."""

from __future__ import annotations

import errno
import os
import sys

import numpy as np
import pytest
import yaml

from natmu.cli.app import main
from natmu.engine import workplace

from .test_search import written

TRAIN = ("train", "--data", "digits", "--train-size", 50, "--model", "small_cnn", "--epochs", 1, "--device", "cpu")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that can be imported from the current directory."""

    def write(name, text):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(text)

    return write


def failing(error, at=1):
    """A function that raises an error the ``at``-th time, and else calls the real one."""
    left = [at]

    def wrapped(real):
        def call(*given, **words):
            left[0] -= 1
            if left[0] == 0:
                raise error
            return real(*given, **words)

        return call

    return wrapped


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No room is left for runs"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."), "Out of memory"),
        (MemoryError(), "smaller --batch-size"),
        (OSError("400 requested and 100 written"), "No room is left for runs"),
    ],
)
def test_what_the_machine_lacks_is_one_sentence_and_the_same_command_works_later(
    refused, natmu, tmp_path, monkeypatch, error, words
):
    with monkeypatch.context() as lacking:
        lacking.setattr(workplace, "write_outputs", failing(error)(workplace.write_outputs))
        assert words in refused(*TRAIN, "--out", "runs/o")
    assert not (tmp_path / "runs" / "o").exists()
    assert natmu(*TRAIN, "--out", "runs/o").status == 0


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("leaving_model", "import sys\ndef make(num_classes): sys.exit(0)\n", ("--model", "leaving_model:make")),
        ("leaving_import", "import sys\nsys.exit(0)\n", ("--model", "leaving_import:make")),
        ("leaving_data", "import sys\ndef make(): sys.exit(0)\n", ("--data", "leaving_data:make")),
        ("leaving_trainer", "import sys\ndef make(samples, seed): sys.exit()\n", ("--trainer", "leaving_trainer:make")),
        ("leaving_augment", "import sys\ndef make(x): sys.exit(0)\n", ("--augment", "leaving_augment:make")),
    ],
)
def test_code_of_the_users_that_ends_the_program_is_an_error_with_its_name(natmu, module, name, text, words):
    module(name, text)
    given = dict(zip(TRAIN[1::2], TRAIN[2::2], strict=True))
    if words[0] == "--trainer":
        del given["--epochs"]
    outcome = natmu("train", *(one for pair in (given | {words[0]: words[1]}).items() for one in pair))
    assert outcome.status in (1, 2)
    assert outcome.err.splitlines()[-1].startswith("natmu: ")
    assert name in outcome.err or "augment: make" in outcome.err
    assert "SystemExit" in outcome.err


def test_code_that_ends_the_program_where_nobody_expects_it_is_named_by_its_line(module, monkeypatch, capsys):
    from natmu.cli import app

    def leaving():
        sys.exit(0)

    monkeypatch.setattr(app, "application", leaving)
    monkeypatch.setattr(sys, "argv", ["natmu", "models"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "test_faults.py, line" in (said := capsys.readouterr().err)
    assert "ended the program with sys.exit(0); raise an error there instead." in said


def test_a_search_all_of_whose_trials_failed_is_no_success(natmu, tmp_path):
    recipe = written(tmp_path / "tiny.yaml")
    values = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump(values | {"methods": values["methods"][1:]}))
    outcome = natmu("search", recipe, "--device", "cpu")
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("natmu: All trials failed; ")


def test_a_test_set_of_the_forgotten_class_alone_is_refused_before_any_training(refused, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (40, 8, 8, 1), dtype=np.uint8), np.arange(40) % 4
    few = labels == 1
    np.savez(
        tmp_path / "data.npz", train_images=images, train_labels=labels, test_images=images[few],
        test_labels=labels[few],
    )  # fmt: skip
    recipe = {
        "name": "tiny",
        "data": {"source": "data.npz"},
        "model": "small_cnn",
        "training": {"epochs": 1, "batch_size": 10},
        "forget": ["class:1"],
        "methods": [{"method": "finetune", "settings": {"epochs": 1}}],
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    sentence = refused("bench", tmp_path / "tiny.yaml", "--device", "cpu")
    assert "The test set holds no sample but of classes that class:1 forgets" in sentence
    assert not [*(tmp_path / "runs").glob("*/record.json")]
