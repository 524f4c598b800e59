"""The steps of CONTRIBUTING.md, followed by the letter in a copy of the package."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import warm

ROOT = Path(__file__).parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)

METHOD = """
from natmu.methods import METHODS, method_named
from natmu.testing import failures

assert method_named("fresh_labels") is FreshLabels in METHODS
assert failures(Row(FreshLabels, settings={"epochs": 2})) == {}
assert vars(TestConformance)
"""
DATA = """
import json, sys
from pathlib import Path
from natmu.data import load, sources

splits = load("glyphs", Path(sys.argv[1]))
(info,) = (info for info in sources() if info.name == "glyphs")
assert (len(splits.train), len(splits.test)) == (info.train, info.test)
assert splits.train.image_shape == info.shape
assert splits.train.class_names == ("circle", "cross")
sys.argv[1:] = ["data"]
from natmu.cli import main
main()
"""
MODEL = """
import torch
from natmu.models import build_model, models

(info,) = (info for info in models() if info.name == "mlp")
model = build_model("mlp", num_classes=10, image_shape=(3, 32, 32), mean=[0.5] * 3, std=[0.25] * 3, seed=0)
assert sum(weight.numel() for weight in model.parameters()) == info.parameters == 3072 * 64 + 64 + 64 * 10 + 10
assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
"""


@pytest.fixture
def follow(tmp_path):
    """Follow the steps of a section, and run in the copy that comes of it the code for which no file is named."""

    def steps(title, code, *arguments):
        copy = tmp_path / "src/natmu"
        shutil.copytree(ROOT / "src/natmu", copy)  # with what was compiled, which is valid where the file is unchanged
        (section,) = (section for section in SECTIONS if section.startswith(title))
        left = ""
        for file, kind, block in blocks(section):
            if kind == "diff":
                change(tmp_path / file, block)
            elif file and not (tmp_path / file).exists():
                (tmp_path / file).write_text(block)
            else:
                left += block
        copied = {"PYTHONPATH": str(tmp_path / "src")}
        done = warm.start(warm.NEW_NATMU + left + code, *arguments, cwd=tmp_path, **copied).join()
        assert done.returncode == 0, done.stderr
        return done.stdout

    return steps


def blocks(section):
    """File, kind and text of each block of code; the file is the last of the package that was named before it."""
    file = ""
    for piece in re.split(r"(^ *```(?:python|diff)\n.*?^ *```$)", section, flags=re.DOTALL | re.MULTILINE):
        fenced = re.match(r"( *)```(\w+)\n(.*?)^ *```$", piece, flags=re.DOTALL | re.MULTILINE)
        if fenced is None:
            file = re.findall(r"`(src/natmu/[\w/]+\.py)`", piece)[-1:] or file
            continue
        indent, kind, text = fenced.groups()
        yield file[0] if file else "", kind, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def change(path, diff):
    """Change a file as lines with + and - say; the other lines must stand there as they are, once."""
    lines = diff.splitlines(keepends=True)
    before, after = ("".join(line[1:] for line in lines if line[0] in kinds) for kinds in (" -", " +"))
    text = path.read_text()
    assert text.count(before) == 1, f"{path.name} has no longer, or has more than once:\n{before}"
    path.write_text(text.replace(before, after))


def test_a_method_that_is_added_by_the_book_passes_the_conformance_suite(follow):
    follow("Adding a method", METHOD)


def test_a_data_set_that_is_added_by_the_book_is_listed_and_loaded(follow, tmp_path):
    arrays = {}
    for part, count in (("train", 40), ("test", 10)):
        arrays[f"{part}_images"] = np.random.default_rng(0).integers(0, 256, (count, 1, 16, 16)).astype(np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 2
    np.savez(tmp_path / "glyphs.npz", **arrays)
    assert "glyphs" in follow("Adding a data set", DATA, tmp_path)


def test_a_model_that_is_added_by_the_book_is_listed_and_built(follow):
    follow("Adding a model", MODEL)
