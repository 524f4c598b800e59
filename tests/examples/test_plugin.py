"""The example of a plug-in, built and installed as a user would, without a network, and used from the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples/plugin"
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "install", "--quiet", "--no-index", "--no-deps")


COMMANDS = """
import json, sys
from natmu.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["natmu", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        assert not end.code
    print(end="\\0")
"""
"""Several commands in one process, since each would load PyTorch anew."""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python where the example is installed; gives what it printed."""
    built, site = tmp_path_factory.mktemp("example"), tmp_path_factory.mktemp("site")
    copied = shutil.copytree(EXAMPLE, built / "plugin", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    env = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def run(*words, cwd=built):
        done = subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(*PIP, "--no-build-isolation", "--target", site, copied)
    return run


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
    spec = json.loads(said[4])["spec"]
    assert (spec["method"], spec["settings"]) == ("weight_noise", {"scale": 0.2})
    (last,) = json.loads(said[5])["rows"][2:]
    assert (last["method"], last["n"], last["failed"]) == ("weight_noise", 1, None)


def test_its_own_tests_pass(python):
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "plugin/tests")
    assert " passed" in said
    assert "weight_noise" not in said
