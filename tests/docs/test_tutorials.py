"""The tutorials, followed from the first command to the last: what a page shows is what a reader sees."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tests.docs.following import commands, follow_page
from tests.vision import operators

from natmu.engine.store import Run

PAGES = Path(__file__).parents[2] / "docs/tutorials"
NAMES = ("torchvision", "transformers", "person")
MOST_COMMANDS = 10
"""What a page may ask a reader to type, installing included."""


@pytest.fixture
def follow(tmp_path, monkeypatch, capsys):
    """Write a page's files and run its commands, in order and in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    shutil.copy(PAGES / "photographs.py", tmp_path)
    operators()

    def run(name):
        follow_page(page(name), tmp_path, monkeypatch, capsys)

    before = {*sys.modules}
    with torch.random.fork_rng(devices=[]):
        yield run
    for name in {file.stem for file in tmp_path.glob("*.py")} - before:
        sys.modules.pop(name, None)


def page(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def photographs():
    return sorted(Path("photographs/test").glob("*/*.jpg"))


def audited(folder):
    """An audit, which must have both sentences of its verdict and two retrained models."""
    audit = json.loads(Path(folder, "audit/audit.json").read_text())
    assert all(audit[part]["sentence"] and audit[part]["outcome"] for part in ("forgotten", "kept"))
    assert len(audit["scores"]["forget_acc"]["retrained"]) == 2
    return audit


def close(logits, run):
    torch.testing.assert_close(torch.stack(logits), torch.from_numpy(run.outputs().test.logits), rtol=1e-4, atol=1e-4)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_no_page_asks_for_many_commands(name):
    blocks = re.findall(r"^```console\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)
    asked = [command for block in blocks for command, _ in commands(block)]
    assert asked[0].startswith("pip install ")
    assert 5 <= len(asked) <= MOST_COMMANDS


def test_a_torchvision_model_and_a_folder_of_photographs(follow):
    follow("torchvision")
    serve = importlib.import_module("serve")
    model, classes = serve.load("unlearned.pt")
    assert classes == ["bicycle", "boat", "tent"]
    assert close([serve.logits(model, file) for file in photographs()], Run(Path("runs/unlearned")))
    audited("runs/unlearned")


def test_a_transformers_model(follow):
    follow("transformers")
    serve = importlib.import_module("serve")
    classes = importlib.import_module("finetune").Photographs.classes
    right = [classes[serve.logits("unlearned", file).argmax()] == file.parent.name for file in photographs()]
    assert 100 * sum(right) / len(right) == pytest.approx(audited("forgotten")["scores"]["test_acc"]["value"])


def test_a_request_by_person(follow):
    follow("person")
    serve = importlib.import_module("serve")
    model = serve.load("served.pt")
    assert close([serve.logits(model, file) for file in photographs()], Run(Path("runs/person-3")))
    forget_acc = audited("runs/quick")["scores"]["forget_acc"]
    assert max(forget_acc["retrained"]) + 50 < forget_acc["original"]  # what the page says of person 7
