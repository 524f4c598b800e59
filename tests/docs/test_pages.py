"""The start page and the how-to guides, followed from the first command to the last; and the guide to an audit."""

from __future__ import annotations

import inspect
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch
from tests.docs.following import follow_page

from natmu.engine.store import Run
from natmu.requests import Service
from natmu.scores.answers import forgotten
from natmu.scores.catalogue import SCORES

DOCS = Path(__file__).parents[2] / "docs"
AUDIT = DOCS / "how-to-read-an-audit.md"
GUIDES = sorted(DOCS.glob("how-to/*.md"))
VERDICTS = {"differs", "alike", "blind", "open"}
NOT_OF_DIGITS = ("holdout_acc", "forget_test_acc", "before_acc", "corrected_acc", "tpr_at_fpr_0.1")
"""Scores of the level quick that the audit of the guide could not measure."""
WORDS = range(100, 301)
"""How long a guide may be: long enough to be followed, and short enough to be read to the end."""


def text_of(page):
    """A page whose blocks of code begin at the left edge, where a list had moved them."""
    return re.sub(r"^ {4}", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """What the start page leaves, and the guides, each of which goes on from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    runpy.run_path(str(DOCS / "tutorials/photographs.py"))["main"]()
    with torch.random.fork_rng(devices=[]):
        for page in (DOCS / "start.md", *GUIDES):
            follow_page(text_of(page), tmp_path, monkeypatch, capsys)
    return tmp_path


def test_what_the_pages_say_is_what_happens(folder):
    runs = {path.name: Run(path) for path in (folder / "runs").iterdir() if (path / "record.json").exists()}
    forgotten = {name: run.record.forgotten.count for name, run in runs.items() if run.record.forgotten is not None}
    wanted = {"unlearned": 9, "person-7": 9, "person-3": 9, "corrected": 2, "two-classes": 36}
    assert wanted.items() <= forgotten.items()
    assert torch.load("weights.pt", weights_only=True).keys() == runs["unlearned"].weights().keys()
    assert [*Service.open(Path("service")).state.requests] == [1]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_is_short_and_leads_to_the_long_page(page):
    assert len(page.read_text(encoding="utf-8").split()) in WORDS
    assert re.search(r"\]\(\.\./[\w/-]+\.md", page.read_text(encoding="utf-8"))


def test_the_start_page_leads_to_every_guide():
    assert {*re.findall(r"\]\(how-to/([\w-]+)\.md", text_of(DOCS / "start.md"))} == {page.stem for page in GUIDES}


def test_figures_on_methods_stand_in_the_tables_that_are_named():
    page = DOCS / "which-method.md"
    rows = [line for line in text_of(page).splitlines() if " ± " in line and line.startswith("| ")]
    assert len(rows) > 8
    for row in rows:
        sources = [(DOCS / path).read_text(encoding="utf-8") for path in re.findall(r"\]\(([^)#]+)", row)]
        for figure in re.findall(r"[\d.]+ ± [\d.]*\d", row):
            assert any(figure in source for source in sources), f"{figure} is in no table of: {row}"


def test_the_page_on_attacks_has_all_scores_of_attacks_and_no_others():
    names = {info.name for info in SCORES}
    named = {*re.findall(r"`([a-z_]+(?:_[\d.]+)?)`", text_of(DOCS / "your-mia.md"))}
    attacks = {name for name in names if re.match("mia_|auc_|tpr_|rmia_|lira_|ulira_|swap_", name)}
    assert attacks <= named
    assert {name for name in named if "_" in name} <= names | {"m_entropy"}


def test_the_guide_to_an_audit_knows_the_scores_the_verdicts_and_the_answers():
    """Its run is not repeated here: what it shows of it are the scores and the words that an audit has."""
    text, quick = text_of(AUDIT), [info.name for info in SCORES if info.level == "quick"]
    table = re.findall(r"^(\w+) +[\d.]+ .+ (\w+)$", text, re.MULTILINE)
    assert {score for score, _ in table} <= {*quick}
    assert {verdict for _, verdict in table} == VERDICTS <= {*re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)}
    (count,) = re.findall(r"eight of the (\d+):", text)
    assert len(quick) - len(NOT_OF_DIGITS) == int(count)
    answers = Path(inspect.getfile(forgotten)).read_text(encoding="utf-8")
    (beginnings,) = re.findall(r"^\| the answer begins with .+?\n\n", text, re.DOTALL | re.MULTILINE)
    begun = [part for row in re.findall(r"^\| (.+?) \|", beginnings, re.MULTILINE)[1:] for part in row.split(", ")]
    assert len(begun) == 8
    assert [part for part in begun if f'"{part}' not in answers] == []
