import json
import re
import sys
from dataclasses import dataclass

import pytest

from natmu.cli.app import main


@dataclass(frozen=True)
class Outcome:
    """What a user sees of one command."""

    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def natmu(monkeypatch, capsys, tmp_path):
    """Run one command in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["natmu", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(ended.value.code or 0, captured.out, captured.err)

    return run


@pytest.fixture
def refused(natmu):
    """Run a command that must be refused: status 2, one sentence on standard error, nothing on standard output.

    What is said of the original before it may come first.
    """

    def run(*words):
        outcome = natmu(*words)
        assert (outcome.status, outcome.out) == (2, ""), outcome
        before, mark, sentence = outcome.err.partition("natmu: ")
        assert mark
        assert sentence.count("\n") == 1
        assert re.match(r"$|original: right on |\S+: \d+ training and ", before), "what was read, and the original"
        assert "Traceback" not in outcome.err
        return sentence

    return run
