"""What a newcomer meets: the overview of verbs, suggestions for what is misspelt, and what a shell completes."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import typer

from natmu.cli import app, completing
from natmu.data import sources

HEADINGS = ("Start here", "Forget, and measure how well", "Deletion requests", "Studies", "Look up")


@pytest.fixture
def completed(monkeypatch, natmu):
    """What bash is offered for the last of several words."""

    def run(*words):
        monkeypatch.setenv("COMP_WORDS", " ".join(["natmu", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        monkeypatch.setenv(app.COMPLETES, "complete_bash")
        outcome = natmu()
        assert (outcome.err, outcome.status) == ("", 0)
        return outcome.out.split()

    return run


def test_the_help_lists_verbs_in_the_order_of_use_under_headings(natmu):
    out = natmu("--help").out
    places = [out.index(f"{heading}:\n") for heading in HEADINGS]
    assert places == sorted(places)
    verbs = re.findall(r"^  (\w+)  ", out[places[0] :], flags=re.MULTILINE)
    assert verbs[:8] == ["demo", "doctor", "data", "train", "plan", "unlearn", "audit", "report"]
    assert set(verbs) == set(typer.main.get_command(app.application()).commands)


def test_no_line_of_an_overview_is_cut_off(natmu):
    for words in (["--help"], ["requests", "--help"]):
        assert "..." not in natmu(*words).out.partition("COMMAND [ARGS]...")[2]


@pytest.mark.parametrize("words", [[], ["requests"]])
def test_a_group_without_a_verb_prints_its_help_on_standard_error_and_ends_with_2(natmu, words):
    outcome = natmu(*words)
    assert (outcome.out, outcome.status) == ("", 2)
    assert outcome.err == f"{natmu(*words, '--help').out}natmu: Name one of these commands.\n"


def test_the_first_steps_are_commands_that_are_understood():
    root = typer.main.get_command(app.application())
    steps = [line.split()[1:] for line in app.FIRST_STEPS.splitlines() if line.startswith("  natmu ")]
    assert len(steps) == 4
    for verb, *words in steps:
        given = root.commands[verb].make_context(verb, list(words)).params
        assert verb != "train" or given["model"] is not None


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["trian"], "'train'"),
        (["requests", "proces"], "'process'"),
        (["train", "--epcohs", "3"], "--epochs"),
        (["doctor", "--jsn"], "--json"),
        (["data", "downlod"], "'download'"),
    ],
)
def test_what_is_misspelt_is_answered_by_the_nearest(refused, words, nearest):
    sentence = refused(*words)
    assert "Did you mean" in sentence
    assert nearest in sentence


def test_verbs_options_and_names_are_completed(completed):
    assert completed("un") == ["unlearn"]
    assert completed("requests", "pro") == ["process"]
    assert completed("unlearn", "--met") == ["--method"]
    assert completed("unlearn", "--method", "scr") == ["scrub"]
    assert completed("methods", "neg") == ["neggrad_plus", "negmerge"]
    assert "rmia_auc" in completed("scores", "rmia")
    assert completed("train", "--model", "resnet1") == ["resnet18"]
    assert completed("train", "--data", "cifar1") == ["cifar10", "cifar100"]
    assert completed("train", "--data", "./photo") == []  # the shell completes the names of files


def test_run_and_study_folders_are_completed(tmp_path, monkeypatch, completed):
    monkeypatch.chdir(tmp_path)
    for name, file in (
        ("runs/one", "record.json"),
        ("runs/two", "table.json"),
        ("runs/no", "x"),
        ("old", "record.json"),
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / file).touch()
    assert completed("audit", "") == ["old", "runs/one", "runs/two"]
    assert completed("report", "runs/t") == ["runs/two"]
    assert completed("unlearn", "--from", str(tmp_path / "runs" / "o")) == [str(tmp_path / "runs" / "one")]
    assert completed("export", "nowhere/") == []


def test_no_folder_is_offered_whose_name_a_shell_would_read_as_something_else(tmp_path, monkeypatch, completed):
    monkeypatch.chdir(tmp_path)
    for name in (
        "runs/$(touch hacked)",
        "runs/`id`",
        "runs/a b",
        "runs/*",
        "runs/x'y",
        "runs/two\nlines",
        "-rf",
        "runs/ä-1",
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "record.json").touch()
    assert completed("audit", "") == completed("audit", "runs/") == ["runs/ä-1"]


def test_the_names_of_data_sets_are_those_of_the_catalogue():
    assert tuple(source.name for source in sources()) == completing.DATA_SETS


def test_bash_reads_the_script_and_is_answered_without_pytorch():
    told = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # tests run below no shell
    show = [sys.executable, "-m", "natmu", "--show-completion", "bash"]
    shown = subprocess.run(show, env=told, capture_output=True, text=True)
    assert shown.returncode == 0
    assert "complete -o default -F _natmu_completion natmu" in shown.stdout
    ask = "import sys; sys.argv[1:] = []\nfrom natmu.cli import main\ntry: main()\n"
    ask += "finally: assert 'torch' not in sys.modules"
    words = {"COMP_WORDS": "natmu methods sal", "COMP_CWORD": "2", app.COMPLETES: "complete_bash"}
    done = subprocess.run([sys.executable, "-c", ask], env=os.environ | words, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("salun\n", "", 0)
