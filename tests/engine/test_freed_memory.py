"""Whose process keeps the memory that it frees: that of the command line, of workers, and of whoever asks."""

from __future__ import annotations

import platform

import pytest

import warm

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")

LOOK = """
import numpy as np

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def keeps():
    before = resident()
    np.ones(2**25)  # 256 MiB, freed at once
    return resident() - before > 2**27
"""
LIBRARY = """
import torch
import natmu

labels = torch.arange(40) % 4
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
images = torch.rand(40, 1, 8, 8)
given = {"method": "finetune", "epochs": 1, "device": "cpu", "progress": False, "force": True}
natmu.unlearn(model, (images, labels), forget=[0, 1], **given)
print(keeps())
"""
ASKED = "from natmu.engine.memory import keep_freed_memory\nkeep_freed_memory()\nprint(keeps())"
COMMAND_LINE = "from natmu.cli import main, methods\nmethods.run = lambda: print(keeps())\nmain()"
WORKERS = """
from pathlib import Path
from natmu.engine.together import run_together

run_together(exec, [(LOOK + "import os; os.mkdir(str(keeps()))", {})], 1, "look")
print(*(path.name for path in Path().iterdir()))
"""


@pytest.mark.parametrize(
    ("program", "kept"),
    [(LIBRARY, "False"), (ASKED, "True"), (COMMAND_LINE, "True"), (WORKERS, "True")],
    ids=["library", "asked", "command line", "workers"],
)
def test_freed_memory_is_kept(tmp_path, program, kept):
    done = warm.start(f"LOOK = {LOOK!r}\nexec(LOOK)\n{program}", "methods", cwd=tmp_path).join()
    assert done.stdout.split() == [kept], done.stderr
