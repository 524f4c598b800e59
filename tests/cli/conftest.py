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


SAID = re.compile(r"original: right on |\S+: \d+ training and |.* means |A fixed ")
"""How the lines begin that may come before a refusal: what was read, what was decided, and the original."""


@pytest.fixture
def refused(natmu):
    """Run a command that must be refused: status 2, one sentence on standard error, nothing on standard output.

    What is said of the original before it may come first.
    """

    def run(*words):
        outcome = natmu(*words)
        assert (outcome.status, outcome.out) == (2, ""), outcome
        *before, last = outcome.err.splitlines()
        _, mark, sentence = last.partition("natmu: ")
        assert mark
        assert not before or SAID.match(before[0]), before
        assert "Traceback" not in outcome.err
        return f"{sentence}\n"

    return run
