"""The example of a plug-in, built and installed as a user would, without a network, and used from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .installed import COMMANDS, installed

EXAMPLE = Path(__file__).parents[2] / "examples/plugin"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python where the example is installed; gives what it printed."""
    return installed(EXAMPLE, tmp_path_factory)


def test_the_command_line_lists_it_and_runs_it_on_digits(python, tmp_path):
    tiny = ["--data", "digits", "--model", "small_cnn", "--epochs", 1, "--schedule", "constant", "--train-size", 200]
    unlearn = ["unlearn", "--from", "runs/original", "--forget", "random:5%", "--method", "weight_noise"]
    recipe = {"name": "tiny", "data": {"source": "digits", "train_size": 100}, "model": "small_cnn"}
    recipe |= {"training": {"epochs": 1}, "forget": ["class:3"], "methods": [{"method": "weight_noise"}]}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    commands = [
        ["methods"],
        ["methods", "--json"],
        ["methods", "weight_noise"],
        ["train", *tiny, "--out", "runs/original"],
        [*unlearn, "--set", "scale=0.2", "--json"],
        ["bench", "recipe.json", "--json"],
    ]
    said = python("-c", COMMANDS, json.dumps(commands), cwd=tmp_path).split("\0")
    assert said[0].startswith("method ")
    assert "\nnatmu " in said[0]
    assert "\nweight_noise " in said[0]
    row = json.loads(said[1])[-1]
    assert (row["name"], row["package"]) == ("weight_noise", "natmu-weight-noise")
    assert [setting["name"] for setting in row["settings"]] == ["scale"]
    assert "No pass over any data." in said[2]
    lineage = json.loads(said[4])["lineage"]
    assert (lineage["method"], lineage["settings"]) == ("weight_noise", {"scale": 0.2})
    (last,) = json.loads(said[5])["rows"][2:]
    assert (last["method"], last["n"], last["failed"]) == ("weight_noise", 1, None)


def test_its_own_tests_pass(python):
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "plugin/tests")
    assert " passed" in said
    assert "weight_noise" not in said
