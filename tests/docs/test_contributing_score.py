"""CONTRIBUTING's way of adding a score, followed as it stands there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

import warm
from natmu.scores import Score, examine
from natmu.testing.panels import panel_of

PAGE = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks():
    """The blocks of Python in the section on scores: the score, and its row of the conformance suite."""
    (section,) = re.findall(r"^## Adding a score.*?(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(one) for one in re.findall(r"^ *```python\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)]


def written():
    """The score of the first block."""
    names = {}
    exec(blocks()[0], names)
    (found,) = [value for value in names.values() if isinstance(value, Score)]
    return found


def test_the_score_gives_what_its_formula_says():
    panel = panel_of(0)
    forget = panel.model.forget
    loss = -log_softmax(forget.logits.astype(float), axis=1)[np.arange(len(forget)), forget.labels]
    assert np.isclose(written()(panel), np.median(loss), rtol=1e-6)


def test_the_row_of_the_conformance_suite_passes_as_it_stands(tmp_path):
    (tmp_path / "test_mine.py").write_text("\n".join(blocks()))
    command = ("import pytest; pytest.console_main()", "-q", "-p", "no:cacheprovider", "test_mine.py")
    done = warm.start(*command, cwd=tmp_path).join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^2\d passed", done.stdout, re.MULTILINE)


def test_an_audit_takes_it_as_an_object_and_judges_it():
    mine = written()
    found = examine(panel_of(0), "quick", extra=[mine])
    assert len(found.retrained[mine.name]) == 4
    assert found.original[mine.name] < found.scores[mine.name]
    assert found.verdicts[mine.name].p_value is not None
