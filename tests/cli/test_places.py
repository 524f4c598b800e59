"""Places that cannot be written are refused before any work is done, in every verb, and nothing is replaced there."""

from __future__ import annotations

import os
import threading

import pytest
from tests.records import folders

RECIPE = """
name: tiny
data: {source: digits, train_size: 150, holdout: true}
model: small_cnn
training: {epochs: 1}
forget: [class:3]
methods: [{method: amnesiac, search: {lr: {low: 0.001, high: 0.01}}}]
search: {trials: 1, objective: no-retrain}
"""
TRAIN = ["train", "--data", "digits", "--model", "small_cnn"]
FORGET = ["unlearn", "--from", "none.pt", "--data", "digits", "--model", "small_cnn", "--forget", "class:3"]
VERBS = {
    "train": (TRAIN, "{}"),
    "train below": (TRAIN, "{}/mine"),
    "head": (["train", "--data", "digits", "--head", "ridge", "--features-from", "none"], "{}/mine"),
    "unlearn": (FORGET, "{}"),
    "unlearn below": (FORGET, "{}/mine"),
    "bench": (["bench", "tiny.yaml"], "{}"),
    "search": (["search", "tiny.yaml"], "{}"),
    "demo": (["demo"], "{}"),
    "init": (["requests", "init", "--from", "none"], "{}/service"),
    "report": (["report", "study"], "{}/page.html"),
    "markdown": (["report", "study", "--format", "markdown"], "{}/table.md"),
}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A file, a link to what is not there, a study, and nothing that may load data."""

    def never(*_, **__):
        raise AssertionError("data was loaded")

    monkeypatch.setattr("natmu.lineage.workspace.load", never)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "unmounted" / "runs")
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    folders.make_study(tmp_path / "runs", "study")
    (tmp_path / "runs" / "study").rename(tmp_path / "study")
    return tmp_path


@pytest.mark.parametrize("place", ["file", "dangling"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_place_that_cannot_be_written_is_refused_first(refused, places, verb, place):
    words, out = VERBS[verb]
    sentence = refused(*words, "--out", out.format(place))
    assert place in sentence
    assert "--out" in sentence
    assert (places / "file").read_text() == "mine"
    assert (places / "dangling").is_symlink()
    assert not (places / "unmounted").exists()


@pytest.mark.parametrize("form", ["html", "markdown", "csv", "latex"])
def test_a_report_is_written_through_links_and_into_pipes(natmu, places, form):
    study = folders.make_study(places / "others", "again")
    (places / "shelf").mkdir()
    (places / "link").symlink_to(places / "shelf" / "page")
    assert natmu("report", study, "--format", form, "--out", "link").status == 0
    assert (places / "link").is_symlink()
    written = (places / "shelf" / "page").read_bytes()
    assert written

    os.mkfifo(places / "pipe")
    received: list[bytes] = []
    held = os.open(places / "pipe", os.O_RDWR)  # a writer until the report is done, so that the reader waits for it
    with (places / "pipe").open("rb") as pipe:
        reader = threading.Thread(target=lambda: received.append(pipe.read()))
        reader.start()
        try:
            assert natmu("report", study, "--format", form, "--out", "pipe").status == 0
        finally:
            os.close(held)
            reader.join(20)
    assert (places / "pipe").is_fifo()
    assert received == [written]
