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
    """Twelve folders called by numbers, of three images each; the first of 10 is the same image as the second of 2."""
    rng = np.random.default_rng(0)
    for name in range(12):
        (tmp_path / f"photos/{name}").mkdir(parents=True)
        for number in range(3):
            path = tmp_path / f"photos/{name}/{name}-{number}.png"
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    (tmp_path / "photos/10/10-0.png").write_bytes((tmp_path / "photos/2/2-1.png").read_bytes())
    return ("--data", "photos", "--test-fraction", "25%")


def test_a_folder_from_training_to_forgetting_by_name(natmu, refused, tmp_path, photos):
    assert "--test-data PATH" in refused("train", "--data", "photos", *TINY)
    trained = natmu("train", *photos, *TINY, "--epochs", 1, "--train-size", 26, "--out", "runs/a")
    assert trained.status == 0, trained.err
    assert "classes in order, with training samples:" in trained.err
    assert "0 (2), 1 (3), 10 (2), 11 (2), 2 (2)" in trained.err
    train = load("photos", tmp_path, test_fraction=0.25, train_size=26).train
    copied = [row for row, name in enumerate(train.names) if name in ("2/2-1.png", "10/10-0.png")]
    assert len(copied) == 2
    rows = [f"{name},{17 if name == '2/2-1.png' else 3}" for name in train.names]
    (tmp_path / "people.csv").write_text("\n".join(["file,person", *rows]))
    words = ("unlearn", "--from", "runs/a", *QUICK)
    done = natmu(*words, "--forget", "where:person=17", "--manifest", "people.csv", "--out", "runs/b")
    assert done.status == 0, done.err
    assert "where:person=17 in people.csv means 1 of 26 training samples, of 2 (1): 2/2-1.png" in done.err
    assert "copies of forget samples: 1 in the retain part (10/10-0.png)" in " ".join(done.err.split())
    (tmp_path / "list.txt").write_text("photos/2/2-1.png\n")
    done = natmu(*words, "--forget", "files:list.txt", "--with-copies", "--out", "runs/c")
    assert done.status == 0, done.err
    assert Run(tmp_path / "runs/c").forget().indices.tolist() == copied
    assert Run(tmp_path / "runs/b").forget().scenario == "indices"
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert "is not what" not in natmu(*words, "--data", "moved", "--forget", "files:list.txt", "--out", "runs/d").err
    (tmp_path / "list.txt").write_text("2-1.jpg\n")
    assert "1 name that no sample has: '2-1.jpg'" in refused(*words, "--data", "moved", "--forget", "files:list.txt")


def test_weights_from_elsewhere_need_an_order_of_classes_that_is_sure(natmu, refused, tmp_path, photos):
    trained = natmu("train", *photos, *TINY, "--epochs", 1, "--class-order", "natural", "--out", "runs/a")
    assert trained.status == 0, trained.err
    torch.save(Run(tmp_path / "runs/a").weights(), tmp_path / "mine.pt")
    words = ("unlearn", "--from", "mine.pt", *photos, *TINY, *QUICK, "--forget", "class:name=2")
    assert "0, 1, 10, 11 …, and counted 0, 1, 2, 3 …; say which order" in refused(*words)
    assert "may be class number 2, called '10'" in refused(*words[:-1], "class:2", "--class-order", "string")
    (tmp_path / "classes.txt").write_text("\n".join(map(str, range(12))))
    done = natmu(*words, "--classes", "classes.txt", "--out", "runs/b")
    assert done.status == 0, done.err
    record = Run(tmp_path / "runs/b").record
    assert record.lineage.data.classes == tuple(map(str, range(12)))
    assert record.lineage.data.test_fraction == 0.25
