"""The start page and the how-to guides, followed in one folder: each guide goes on from what the start page leaves."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tests.docs.following import follow_page

from natmu.engine.store import Run
from natmu.requests import Service

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted(DOCS.glob("how-to/*.md"))
WORDS = range(100, 301)
"""How long a guide may be: long enough to be followed, and short enough to be read to the end."""


def text_of(page):
    """A page whose blocks of code begin at the left edge, where a list had moved them."""
    return re.sub(r"^ {4}", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """What is left behind by the commands of all pages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    shutil.copy(DOCS / "tutorials/photographs.py", tmp_path)
    made = "```console\n$ python photographs.py\n```\n"
    with torch.random.fork_rng(devices=[]):
        for text in (made, *map(text_of, (DOCS / "start.md", *GUIDES))):
            follow_page(text, tmp_path, monkeypatch, capsys)
    return tmp_path


def test_what_the_pages_say_is_what_happens(folder):
    runs = {path.name: Run(path) for path in (folder / "runs").iterdir() if not path.is_symlink()}
    forgotten = {name: len(run.forget_set().indices) for name, run in runs.items() if run.record.forgotten is not None}
    wanted = {"unlearned": 6, "retrained": 6, "without-two": 2, "person-7": 9, "person-3": 9, "corrected": 2}
    assert wanted.items() <= forgotten.items()
    assert runs["without-tents"].outputs().test.logits.shape[1] == 3
    assert torch.load("weights.pt", weights_only=True).keys() == runs["unlearned"].weights().keys()
    assert [len(request.samples) for request in Service.open(Path("service")).state.requests.values()] == [9]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_is_short_and_leads_to_the_long_page(page):
    assert len(page.read_text(encoding="utf-8").split()) in WORDS
    assert re.search(r"\]\(\.\./[\w/-]+\.md", page.read_text(encoding="utf-8"))


def test_the_start_page_leads_to_every_guide():
    assert {*re.findall(r"\]\(how-to/([\w-]+)\.md", text_of(DOCS / "start.md"))} == {page.stem for page in GUIDES}
