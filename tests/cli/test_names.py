"""Requests that name samples, for a folder of photographs, from training to what is printed and recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from natmu.data import load
from natmu.engine.store import Run

TINY = ("--model", "small_cnn", "--precision", "fp32")
QUICK = ("--method", "finetune", "--set", "epochs=1")


@pytest.fixture
def photos(tmp_path):
    """Twelve folders called by numbers, of three images each."""
    rng = np.random.default_rng(0)
    for name in range(12):
        (tmp_path / f"photos/{name}").mkdir(parents=True)
        for number in range(3):
            path = tmp_path / f"photos/{name}/{name}-{number}.png"
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    return ("--data", "photos", "--test-fraction", "25%")


def without_result(outcome):
    """The lines on standard error of a command that was refused."""
    assert (outcome.status, outcome.out) == (2, ""), outcome
    return " ".join(outcome.err.split())


def test_a_folder_from_training_to_forgetting_by_name(natmu, tmp_path, photos):
    assert "--test-data PATH" in without_result(natmu("train", "--data", "photos", *TINY))
    names = load("photos", tmp_path, test_fraction=0.25, train_size=26).train.names
    asked, copy = names[14], names[3]
    (tmp_path / "photos" / copy).write_bytes((tmp_path / "photos" / asked).read_bytes())
    trained = natmu("train", *photos, *TINY, "--epochs", 1, "--train-size", 26, "--out", "runs/a")
    assert trained.status == 0, trained.err
    assert "classes in order, with training samples:" in trained.err
    assert "0 (2), 1 (2), 10 (2), 11 (2), 2 (2)" in trained.err
    rows = [f"{name},{17 if name == asked else 3}" for name in names]
    (tmp_path / "people.csv").write_text("\n".join(["file,person", *rows]))
    words = ("unlearn", "--from", "runs/a", *QUICK)
    done = natmu(*words, "--forget", "where:person=17", "--manifest", "people.csv", "--out", "runs/b")
    assert done.status == 0, done.err
    told = " ".join(done.err.split())
    assert (
        f"where:person=17 in people.csv means 1 of 26 training samples, of {asked.split('/')[0]} (1): {asked}" in told
    )
    assert f"copies of forget samples: 1 in the retain part ({copy})" in told
    (tmp_path / "list.txt").write_text(f"photos/{asked}\n")
    done = natmu(*words, "--forget", "files:list.txt", "--with-copies", "--out", "runs/c")
    assert done.status == 0, done.err
    assert Run(tmp_path / "runs/c").forget().indices.tolist() == [3, 14]
    assert Run(tmp_path / "runs/b").forget().scenario == "indices"
    plan = ("plan", "--from", "runs/a", "--forget", "files:list.txt", "--json")
    for flags, count, copies in (((), 1, True), (("--with-copies",), 2, False)):
        planned = natmu(*plan, *flags)
        assert planned.json["forget"] == count
        told = " ".join(planned.err.split())
        assert f"files:list.txt means {count} of 26 training samples" in told
        assert (f"copies of forget samples: 1 in the retain part ({copy})" in told) is copies
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert "is not what" not in natmu(*words, "--data", "moved", "--forget", "files:list.txt", "--out", "runs/d").err
    (tmp_path / "list.txt").write_text("none.jpg\n")
    assert "1 name that no sample has: 'none.jpg'" in without_result(
        natmu(*words, "--data", "moved", "--forget", "files:list.txt")
    )
    (tmp_path / "moved" / asked).unlink()
    told = without_result(natmu(*words, "--data", "moved", "--forget", "random:1"))
    assert "The data in moved is not what runs/a was made with" in told
    assert "natmu requests keeps account of them" in told


def test_weights_from_elsewhere_need_an_order_of_classes_that_is_sure(natmu, tmp_path, photos):
    trained = natmu("train", *photos, *TINY, "--epochs", 1, "--class-order", "natural", "--out", "runs/a")
    assert trained.status == 0, trained.err
    torch.save(Run(tmp_path / "runs/a").weights(), tmp_path / "mine.pt")
    words = ("unlearn", "--from", "mine.pt", *photos, *TINY, *QUICK, "--forget", "class:name=2")
    assert "0, 1, 10, 11 …, and counted 0, 1, 2, 3 …. Say which order" in without_result(natmu(*words))
    assert "may be class number 2, called '10'" in without_result(
        natmu(*words[:-1], "class:2", "--class-order", "string")
    )
    (tmp_path / "classes.txt").write_text("\n".join(map(str, range(12))))
    done = natmu(*words, "--classes", "classes.txt", "--force", "--out", "runs/b")  # trained for an epoch
    assert done.status == 0, done.err
    record = Run(tmp_path / "runs/b").record
    assert any("may have been trained on the samples that --test-fraction makes" in one for one in record.decisions)
    assert record.lineage.data.classes == tuple(map(str, range(12)))
    assert record.lineage.data.test_fraction == 0.25
