"""What is kept is not lost or mistaken: exports that come back, names that are taken, files that others may read."""

import stat

import pytest
import torch

from natmu.lineage import workspace

DATA = ["--data", "digits", "--train-size", 100, "--model", "small_cnn"]
METHOD = ["--method", "amnesiac", "--set", "epochs=1", "--set", "lr=0.01", "--force"]
AGAIN = ["unlearn", *DATA, "--forget", "class:3", *METHOD]


@pytest.fixture
def first(natmu, tmp_path):
    """An original from elsewhere, and what was made of it, in a file and as a run."""
    assert natmu("train", *DATA, "--epochs", 1, "--out", "elsewhere/a").status == 0
    natmu("export", "elsewhere/a", "--out", "original.pth")
    done = natmu("unlearn", *DATA, "--from", "original.pth", "--forget", "random:5%", *METHOD, "--out", "runs/first")
    assert done.status == 0, done.err
    natmu("export", "runs/first", "--out", "unlearned.pth")
    return tmp_path / "runs/first"


def test_an_export_is_not_taken_for_an_original(natmu, refused, first):
    state = torch.load("unlearned.pth", weights_only=True)
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, "wrapped.ckpt")
    torch.save({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, "half.pt")
    known = sorted(path.name for path in first.parent.iterdir())
    for file in ("unlearned.pth", "wrapped.ckpt", "half.pt"):
        said = natmu(*AGAIN, "--from", file).err
        assert f"{file} holds the weights of runs/first, which has forgotten random:5%; give --from runs/first" in said
    assert "of runs/first" in natmu("plan", *DATA, "--from", "unlearned.pth", "--forget", "class:3", "--force").err
    assert sorted(path.name for path in first.parent.iterdir()) == known
    state["classifier.bias"][0] += 1e-3
    torch.save(state, "other.pth")
    assert natmu(*AGAIN, "--from", "other.pth").status == 0, "another model is nobody's"


def test_the_file_of_a_model_that_a_run_came_from_is_like_it(natmu, first):
    done = natmu("unlearn", "--from", "runs/first", "--forget", "class:3", *METHOD, "--out", "runs/second")
    assert done.status == 0, done.err
    state = torch.load("unlearned.pth", weights_only=True)
    state["classifier.bias"][0] += 1e-3
    torch.save(state, "other.pth")
    for like, sayings in (("original.pth", 0), ("unlearned.pth", 0), ("other.pth", 1)):
        done = natmu("export", "runs/second", "--like", like, "--out", f"new-{like}")
        assert done.status == 0, done.err
        assert done.err.count("is not the file that the original of runs/second came from") == sayings


def test_a_taken_name_is_refused_before_the_data_is_read_and_every_file_may_be_read_alike(
    natmu, refused, first, monkeypatch
):
    assert len({stat.S_IMODE(file.stat().st_mode) for file in first.iterdir() if file.is_file()}) == 1
    same = ["unlearn", *DATA, "--from", "original.pth", "--forget", "random:5%", *METHOD, "--out", "runs/first"]
    assert natmu(*same).status == 0, "the same once more is the same run"
    assert natmu("train", *DATA, "--epochs", 1, "--out", "elsewhere/a").status == 0

    def read(*_, **__):
        raise AssertionError("the data was read")

    monkeypatch.setattr(workspace, "load", read)
    (first.parent / "else").mkdir()
    second = ["unlearn", "--from", "runs/first", "--forget", "random:5%", *METHOD]
    for words, taken in (
        (second, "first"),
        (second, "else"),
        ([*same[:-2], "--seed", 1], "first"),
        ([*AGAIN, "--from", "original.pth"], "first"),
        (["train", *DATA, "--epochs", 1], "first"),
    ):
        assert f"runs/{taken} already holds something else" in refused(*words, "--out", f"runs/{taken}")
    for words in (["--epochs", 2], ["--epochs", 1, "--seed", 1]):
        assert "already holds something else" in refused("train", *DATA, *words, "--out", "elsewhere/a")
