"""The tutorials, followed from the first command to the last: what a page shows is what a reader sees."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.vision import operators

from natmu.cli.app import main
from natmu.engine.store import Run

PAGES = Path(__file__).parents[2] / "docs/tutorials"
NAMES = ("torchvision", "transformers", "person")
MOST_COMMANDS = 10


@pytest.fixture
def follow(tmp_path, monkeypatch, capsys):
    """Write a page's files and run its commands, in order and in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    shutil.copy(PAGES / "photographs.py", tmp_path)
    operators()

    def run(name):
        for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE):
            if kind == "console":
                for command, shown in commands(block):
                    seen = output_of(command, monkeypatch, capsys)
                    check_shown(command, shown, seen)
            elif file := re.match(r"# file: (\S+)\n", block):
                (tmp_path / file[1]).write_text(block[file.end() :])

    modules = {*sys.modules}
    with torch.random.fork_rng(devices=[]):
        yield run
    for file in tmp_path.glob("*.py"):
        if file.stem not in modules:
            sys.modules.pop(file.stem, None)


def page(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def commands(block):
    """The commands of a block, each with what the page shows of its output."""
    for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = piece.partition("\n")
        yield command, shown


def output_of(command, monkeypatch, capsys):
    """What a command writes; it must succeed. Nothing is installed."""
    program, *words = shlex.split(command)
    if program == "pip":
        return ""
    capsys.readouterr()
    if program == "python":
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(words[0], run_name="__main__")
    else:
        assert program == "natmu"
        monkeypatch.setattr(sys, "argv", ["natmu", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, capsys.readouterr().err
    captured = capsys.readouterr()
    with open("/tmp/tut_out.txt", "a") as f: f.write(f"$ {command}   ## {__import__('time').process_time():.1f}\n{captured.err}{captured.out}\n")
    return captured.err + captured.out


def check_shown(command, shown, seen):
    """Hold what is shown, but for figures and line breaks, against what is seen; an ellipsis leaves lines out.

    What a verdict says depends on figures, so that only its questions are compared.
    """
    place, seen = 0, plain(seen)
    for part in filter(None, map(plain, re.split(r"^…$", shown, flags=re.MULTILINE))):
        wanted = part.partition("? ")[0] if part.startswith(("Forgotten?", "Kept?")) else part
        assert wanted in seen[place:], f"{command} does not say: {wanted}\n{seen}"
        place = seen.index(wanted, place) + len(wanted)


def plain(text):
    """A text without line breaks, whose figures are all alike."""
    return re.sub(r"\d+(\.\d+)?", "#", " ".join(text.split()))


def test_a_torchvision_model_and_a_folder_of_photographs(follow, capsys):
    follow("torchvision")
    import serve

    files = sorted(Path("photographs/test").glob("*/*.jpg"))
    model, classes = serve.load("unlearned.pt")
    logits = torch.stack([serve.logits(model, file) for file in files])
    stored = Run(Path("runs/unlearned")).outputs().test
    torch.testing.assert_close(logits, torch.from_numpy(stored.logits), rtol=1e-4, atol=1e-4)
    assert classes == ["bicycle", "boat", "tent"]


def test_a_request_by_person(follow):
    follow("person")
    import serve

    files = sorted(Path("photographs/test").glob("*/*.jpg"))
    model = serve.load("served.pt")
    logits = torch.stack([serve.logits(model, file) for file in files])
    stored = Run(Path("runs/person-3")).outputs().test
    torch.testing.assert_close(logits, torch.from_numpy(stored.logits), rtol=1e-4, atol=1e-4)


def test_a_transformers_model(follow):
    follow("transformers")
    import serve
    import transformers
    from finetune import Photographs

    processor = transformers.ViTImageProcessor.from_pretrained("unlearned")
    test = Photographs("photographs/test", processor)
    pixels = torch.stack([test[index][0] for index in range(len(test))])
    result = Run(Path("forgotten"))
