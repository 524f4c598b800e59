"""Exact and certified unlearning, followed from the first command to the last."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tests.docs.following import follow_page

from natmu.data import load
from natmu.engine.store import Run
from natmu.requests import Service

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    """What is left behind by the page's commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    shutil.copy(DOCS / "tutorials/photographs.py", tmp_path)
    before = {*sys.modules}
    with torch.random.fork_rng(devices=[]):
        follow_page((DOCS / "exact.md").read_text(encoding="utf-8"), tmp_path, monkeypatch, capsys)
    yield tmp_path
    for name in {file.stem for file in tmp_path.glob("*.py")} - before:
        sys.modules.pop(name, None)


def assert_served_as_predicted(folder):
    """What the page loads of its exports predicts what natmu predicted."""
    served = runpy.run_path("serve.py")
    images = load("photographs", Path(), image_size=24).test.images[:].float() / 255
    for name, model in (("head-without-boats", served["model"]), ("without-boats", served["shards"])):
        predicted = torch.from_numpy(Run(folder / "runs" / name).outputs().test.logits)
        with torch.no_grad():
            assert torch.allclose(model(images), predicted, atol=1e-3), name  # stored features lie on a grid


def test_the_table_of_what_a_budget_holds_is_what_its_benchmark_measures():
    cells = re.findall(r"^\| 64 features \| (\d+) \| (\d+) \|", (DOCS / "exact.md").read_text("utf-8"), re.MULTILINE)
    measure = runpy.run_path(str(DOCS.parent / "benchmarks/heads_budget.py"))["measure"]
    least = min(measure(1_000, 64, 1.0, seed)["removals"] for seed in range(3))
    assert abs(least - int(cells[0][0])) <= 1  # last bits decide whether one more fits


def test_what_the_page_says_is_what_happens(folder):
    runs = {name: Run(folder / "runs" / name) for name in ("shards", "without-boats", "head", "head-without-boats")}
    methods = {name: getattr(run.record.lineage, "method", None) for name, run in runs.items()}
    assert methods == {"shards": None, "without-boats": "sisa", "head": None, "head-without-boats": "downdate"}
    before, after = (runs[name].weights() for name in ("shards", "without-boats"))
    changed = {key.split(".")[1] for key in before if not torch.equal(before[key], after[key])}
    assert 1 <= len(changed) <= 2 < len({key.split(".")[1] for key in before})  # two photographs, three shards
    assert_served_as_predicted(folder)
    deployed = Service.open(Path("service")).state.deployed
    assert (deployed.method, deployed.guarantee) == ("sisa", "exact")
