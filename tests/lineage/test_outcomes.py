"""What becomes of a model: its run, or a sentence that says why there is none, and a log with the details."""

from __future__ import annotations

import pytest

from natmu.errors import NatmuError, TrainingError
from natmu.lineage.executors.outcomes import Outcome, failure, make, sentence_of, unmet
from natmu.methods import method_named
from records import lineages

from . import fakes


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NatmuError("Two\n lines."), "Two lines."),
        (KeyError("x"), "KeyError: 'x'"),
        (AssertionError(), "AssertionError: no message"),
    ],
)
def test_a_reason_is_one_line(error, sentence):
    assert sentence_of(error) == sentence


def test_work_whose_names_read_alike_has_logs_of_its_own(tmp_path):
    names = ("a b", "a-b", "é" * 200, "ü" * 200)
    logs = {failure(name, "Why.", "", tmp_path / "logs").log for name in names}
    assert {path.name for path in (tmp_path / "logs").iterdir()} == logs
    assert len(logs) == len(names)


def failing(monkeypatch, error):
    def run(self, problem):
        raise error

    monkeypatch.setattr(method_named("amnesiac"), "run", run)


def test_models_that_are_called_the_same_have_logs_of_their_own(tmp_path, monkeypatch):
    """As those of one method with several settings."""
    place = fakes.workspace(tmp_path)
    failing(monkeypatch, ZeroDivisionError("by zero"))
    first, second = (make(fakes.unlearned(place, lr=lr), place, tmp_path / "logs") for lr in (1e-3, 1e-2))
    assert first.log != second.log
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {first.log, second.log}
    text = (tmp_path / "logs" / first.log).read_text()
    assert text.startswith("amnesiac, random:10%, seed 0 from original, seed 0\nZeroDivisionError: by zero\n")
    assert "raise error" in text


def test_without_logs_only_what_is_meant_for_users_is_a_failure(tmp_path, monkeypatch):
    place = fakes.workspace(tmp_path)
    failing(monkeypatch, TrainingError("The loss is not finite; lower lr."))
    assert make(fakes.unlearned(place), place, None) == Outcome(None, "The loss is not finite; lower lr.")
    failing(monkeypatch, ZeroDivisionError("by zero"))
    with pytest.raises(ZeroDivisionError):
        make(fakes.unlearned(place), place, None)


def test_a_model_fails_for_the_reason_of_the_one_that_it_starts_from():
    model = lineages.unlearned()
    reason = Outcome(None, "The disk is on fire.", "a.log")
    assert unmet(model, {}) is None
    assert unmet(model, {model.digest: reason}) is None
    found = unmet(model, {model.source.digest: reason})
    assert found == Outcome(None, "original, seed 0 failed: The disk is on fire.", "a.log")
