"""A year with deletion requests, followed from the first command to the last."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tests.docs.following import follow_page

from natmu.requests import Service

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def service(tmp_path, monkeypatch, capsys):
    """The service that is left behind by the page's commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    shutil.copy(DOCS / "tutorials/photographs.py", tmp_path)
    with torch.random.fork_rng(devices=[]):
        follow_page((DOCS / "deletion-requests.md").read_text(encoding="utf-8"), tmp_path, monkeypatch, capsys)
    return Service.open(Path("service"))


def test_what_the_page_says_is_what_happens(service):
    state = service.state
    assert state.current == 2
    assert (state.deployed.method, state.deployed.guarantee) == ("retrain", "exact")
    assert state.honoured == (1, 2, 3)
    assert [number for number, one in state.requests.items() if one.purged] == [1]
    with Path("people.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert all(Path("photographs", row["file"]).exists() for row in rows)
    assert {row["person"] for row in rows} == {str(person) for person in range(1, 13)} - {"3"}
    measured = state.deployed.tried.measured.scores["forget_acc"]
    assert measured.value + 50 < measured.original  # what the page says of person 7
    assert Path("service/current").resolve().name == state.deployed.model.run
