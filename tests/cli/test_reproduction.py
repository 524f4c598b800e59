"""The commands that a page prints to compute a run again do that: they give the run of the same digest."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import parse_args as torchrun_options

import warm
from natmu.records.audit import audit_of
from natmu.records.run import RunFolder
from natmu.records.study import StudyFolder
from natmu.report.run_page import run_page
from natmu.report.study_page import study_page

TRAIN = (
    *("train", "--data", "digits", "--model", "small_cnn", "--train-size", "150", "--image-size", "10", "--holdout"),
    *("--epochs", "2", "--optimizer", "sgd", "--lr", "0.03", "--momentum", "0.7", "--schedule", "constant"),
    *("--warmup-epochs", "0.25", "--weight-decay", "1e-5", "--batch-size", "24", "--augment", "none", "--seed", "3"),
    *("--precision", "fp32"),
)
UNLEARNED = {
    "fine-tuned": (
        *("--forget", "random:10%", "--method", "finetune", "--epochs", "1", "--lr", "1e-5", "--set", "momentum=0.3"),
        *("--batch-size", "16", "--seed", "5", "--split-seed", "2"),
    ),
    "nested settings": (
        *("--forget", "hardest:6%:loss", "--method", "rum", "--set", "medium_settings={epochs: 1, lr: 1.0e-5}"),
        *("--set", "high_settings={epochs: 1}", "--set", "low=none", "--seed", "1"),
    ),
    "retrained": ("--forget", "class:3,5", "--method", "retrain"),
    "retrained from fresh weights": (
        "--forget",
        "random:7",
        "--method",
        "retrain",
        "--set",
        "init=fresh",
        "--seed",
        "9",
    ),
    "another precision": ("--forget", "class:1", "--method", "amnesiac", "--epochs", "1", "--precision", "bf16"),
}


def reproduced(natmu, folder: Path, name: str) -> RunFolder:
    """Throw all runs away and run what the page of one of them says; the run that is there afterwards.

    The page of a run that was not audited says how to do that; it is done here with fewer models.
    """
    page = run_page(folder / name)
    commands, shorter = page["commands"], [] if page["audited"] else ["--level", "quick", "--references", "2"]
    shutil.rmtree(folder)
    for command in commands:
        program, *words = shlex.split(command)
        assert program == "natmu", command
        outcome = natmu(*words, *(shorter if words[0] == "audit" else []))
        assert outcome.status == 0, (command, outcome.err)
    return RunFolder(folder / name)


@pytest.mark.parametrize("out", ["mine", None])
def test_an_original(natmu, tmp_path, out):
    made = natmu(*TRAIN, *([] if out is None else ["--out", f"runs/{out}"]), "--json").json
    found = reproduced(natmu, tmp_path / "runs", Path(made["run"]).name)
    assert found.record.digest == made["digest"]


@pytest.mark.parametrize("kind", UNLEARNED)
def test_an_unlearned_or_retrained_model(natmu, tmp_path, kind):
    natmu(*TRAIN, "--out", "runs/mine")
    made = natmu("unlearn", "--from", "runs/mine", *UNLEARNED[kind], "--out", "runs/less", "--json").json
    found = reproduced(natmu, tmp_path / "runs", "less")
    assert found.record.digest == made["digest"]
    assert found.record.scores == made["scores"]


@pytest.mark.parametrize("second", ["fine-tuned", "retrained", "retrained from fresh weights"])
def test_a_second_request(natmu, tmp_path, second):
    natmu(*TRAIN, "--out", "runs/mine")
    natmu("unlearn", "--from", "runs/mine", "--forget", "class:7", "--method", "finetune", "--epochs", "1")
    first = next(path.parent for path in (tmp_path / "runs").glob("*/forget.npy"))
    made = natmu("unlearn", "--from", first, *UNLEARNED[second], "--out", "runs/less", "--json").json
    found = reproduced(natmu, tmp_path / "runs", "less")
    assert found.record.digest == made["digest"]
    assert found.record.scores == made["scores"]
    assert len(found.forget().before)


def test_an_audit(natmu, tmp_path):
    natmu(*TRAIN, "--out", "runs/mine")
    natmu("unlearn", "--from", "runs/mine", *UNLEARNED["fine-tuned"], "--out", "runs/less")
    outcome = natmu("audit", "runs/less", "--level", "standard", "--references", "2")
    assert outcome.status == 0, outcome.err
    before = audit_of(RunFolder(tmp_path / "runs/less")).audit
    after = audit_of(reproduced(natmu, tmp_path / "runs", "less")).audit
    assert (after.level, after.references, after.models, after.run) == ("standard", 2, before.models, before.run)
    assert {name: score.value for name, score in after.scores.items()} == {
        name: score.value for name, score in before.scores.items()
    }


def test_a_study(natmu, tmp_path):
    recipe = {
        "name": "study",
        "data": {"source": "digits", "train_size": 150},
        "model": "small_cnn",
        "training": {"epochs": 1, "momentum": 0.5, "batch_size": 24, "warmup_epochs": 0},
        "forget": ["random:10%", "hardest:6%"],
        "methods": [{"method": "finetune", "grid": {"lr": [1e-5, 0.01]}, "settings": {"epochs": 1}}],
        "seeds": {"split": [4], "training": [1, 2], "unlearning": [0]},
        "batch_size": 20,
        "scores": ["kl_forget"],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(recipe))
    assert natmu("bench", "mine.yaml").status == 0
    before, page = StudyFolder(tmp_path / "runs/study").table, study_page(tmp_path / "runs/study")
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / page["file"]).write_text(page["recipe"])
    outcome = natmu(*shlex.split(page["command"])[1:])
    assert outcome.status == 0, outcome.err
    after = StudyFolder(tmp_path / "runs/study").table
    assert [row.replicates for row in after.rows] == [row.replicates for row in before.rows]


def test_a_model_of_two_processes(tmp_path):
    """The page says torchrun, whose own parser says what it would start, and that gives the same digest."""
    done = warm.start_together(2, warm.NATMU, *TRAIN, "--sync-batch-norm", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (tmp_path / "runs").glob("*/record.json")
    digest = RunFolder(folder.parent).record.digest
    (command,) = run_page(folder.parent)["commands"]
    assert command.startswith("torchrun --nproc-per-node=2 ")
    assert "--sync-batch-norm" in command
    shutil.rmtree(tmp_path / "runs")
    program, *words = shlex.split(command)
    asked = torchrun_options(words)
    assert (program, asked.nproc_per_node, asked.nnodes) == ("torchrun", "2", "1:1")
    assert (asked.module, asked.training_script) == (True, "natmu")
    done = warm.start_together(2, warm.NATMU, *asked.training_script_args, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert RunFolder(tmp_path / "runs" / digest).record.digest == digest
