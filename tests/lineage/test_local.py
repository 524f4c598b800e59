"""The order in which one process makes models while others are at work on some of them."""

from __future__ import annotations

import pytest
import torch

from natmu.engine.store import Run, Store
from natmu.engine.threads import threads
from natmu.errors import RunError
from natmu.lineage.executors.local import make_here
from natmu.lineage.executors.outcomes import Outcome
from records import lineages

from . import fakes

ORIGINAL = lineages.trained()
ONE, TWO = lineages.unlearned(seed=1), lineages.unlearned(seed=2)
LAST = lineages.relearned(TWO)
NAMES = {ORIGINAL.digest: "original", ONE.digest: "one", TWO.digest: "two", LAST.digest: "last"}
DIGESTS = {name: digest for digest, name in NAMES.items()}


def order(tmp_path, monkeypatch, busy, **faults):
    """Names in the order in which models are made; ``busy`` counts the looks that find another process at work."""
    told = []

    def is_busy(store, digest):
        name = NAMES[digest]
        busy[name] = busy.get(name, 0) - 1
        return busy[name] >= 0

    def make(model, workspace, logs):
        name = NAMES[model.digest]
        if name in faults:
            return Outcome(None, str(faults[name]))
        told.append(name)
        return Outcome(Run(workspace.store.root / name))

    monkeypatch.setattr(Store, "busy", is_busy)
    monkeypatch.setattr("natmu.lineage.executors.local.make", make)
    place = fakes.workspace(tmp_path)
    outcomes = list(make_here([ORIGINAL, ONE, TWO, LAST], place, tmp_path / "logs", side_by_side=False))
    assert len(outcomes) == 4
    return told, {NAMES[model.digest]: outcome.failed for model, outcome in outcomes}


@pytest.mark.parametrize(
    ("busy", "expected"),
    [
        ({}, ["original", "one", "two", "last"]),
        ({"one": 1}, ["original", "two", "one", "last"]),
        ({"two": 2}, ["original", "one", "two", "last"]),
        ({"one": 2}, ["original", "two", "last", "one"]),
        ({"one": 5, "two": 5}, ["original", "one", "two", "last"]),
        ({"original": 5}, ["original", "one", "two", "last"]),
    ],
)
def test_what_others_are_at_work_on_comes_later_and_what_hangs_on_it_after_it(tmp_path, monkeypatch, busy, expected):
    told, failed = order(tmp_path, monkeypatch, dict(busy))
    assert told == expected
    assert not any(failed.values())


def test_a_model_that_fails_fails_what_starts_from_it_and_no_more(tmp_path, monkeypatch):
    damaged = RunError("The predictions cannot be read; delete that run.")
    told, failed = order(tmp_path, monkeypatch, {}, one=damaged)
    assert told == ["original", "two", "last"]
    assert failed == {"original": None, "one": str(damaged), "two": None, "last": None}
    told, failed = order(tmp_path, monkeypatch, {"last": 9}, two=damaged)
    assert told == ["original", "one"]
    assert failed["last"] == f"amnesiac, random:10%, seed 2 from original, seed 0 failed: {damaged}"


def test_a_damaged_original_fails_alone_what_hangs_on_it(tmp_path):
    place = fakes.workspace(tmp_path)
    first, second = (place.original(fakes.RECIPE, seed) for seed in (0, 1))
    list(make_here([first, second], place))
    (place.require(first).path / "predictions.safetensors").write_bytes(b"damaged")
    hardest = [fakes.unlearned(place, text="hardest:5%", source=source) for source in (first, second)]
    failed = {model: outcome.failed for model, outcome in make_here(hardest, place, tmp_path / "logs")}
    assert "predictions.safetensors is not what this run wrote" in failed[hardest[0]]
    assert failed[hardest[1]] is None


def test_sources_are_made_first_though_nobody_asked_for_them(tmp_path):
    place = fakes.workspace(tmp_path)
    model = fakes.unlearned(place)
    assert [found for found, _ in make_here([model], place)] == [model.source, model]
    assert [found for found, _ in make_here([model], place)] == [model]


def test_threads_are_as_many_as_asked_for_and_then_as_before():
    before = torch.get_num_threads()
    with threads(before + 2):
        assert torch.get_num_threads() == before + 2
    with pytest.raises(ValueError, match="why"), threads(before + 1):
        raise ValueError("why")
    with threads(None):
        assert torch.get_num_threads() == before
