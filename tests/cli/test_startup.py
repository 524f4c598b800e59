"""What only tells must answer at once: it loads no PyTorch. benchmarks/startup.py measures how long it takes."""

import json
import os
import subprocess
import sys

import pytest

import natmu

VERBS = (
    *("demo", "doctor", "train", "plan", "unlearn", "audit", "bench", "search"),
    *("report", "methods", "scores", "models", "data"),
)


@pytest.mark.parametrize("words", [["methods"], ["methods", "--json"], ["models"], ["models", "--json"]])
def test_the_lists_of_methods_and_models_do_not_load_torch(words):
    done = _without_torch([words])
    assert "natmu" in done or "small_cnn" in done


@pytest.mark.parametrize("words", [["scores"], ["scores", "--json"], ["scores", "rmia_auc"]])
def test_the_list_of_scores_loads_nothing_that_computes(words):
    assert "rmia_auc" in _without_torch([words], "torch", "numpy", "scipy", "sklearn")


def test_the_help_of_a_verb_does_not_load_torch():
    done = _without_torch([[verb, "--help"] for verb in VERBS] + [["data", "download", "--help"]])
    assert done.count("Usage: natmu ") == len(VERBS) + 1


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "natmu", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"natmu {natmu.__version__}\n"


def _without_torch(commands, *unwanted):
    """What the commands print, one after the other in a process that must end without PyTorch, or what is named."""
    code = (
        "import json, sys\nfrom natmu.cli import main\n"
        "for words in json.loads(sys.argv[1]):\n    sys.argv = ['natmu', *words]\n    try: main()\n"
        "    except SystemExit as end: assert not end.code\n"
        f"assert not {set(unwanted or ['torch'])!r} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("words", [["methods"], ["methods", "natmu"], ["scores"]])
def test_a_reader_that_stops_reading_gets_no_message(words):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "natmu", *words], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
