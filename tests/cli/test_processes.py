"""Commands in two processes that torchrun starts, or we as it does: one run folder, one voice, one process's model."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import warm
from natmu.records.study import StudyFolder

TRAIN = ["train", "--data", "digits", "--model", "small_cnn", "--train-size", "200", "--epochs", "3", "--lr", "0.02"]
TRAIN += ["--batch-size", "64", "--precision", "fp32", "--json"]
UNLEARN = ["unlearn", "--from", "runs/original", "--forget", "random:10%", "--set", "n=2", "--epochs", "2", "--json"]


FAULTY = """
import os
from natmu import cli, methods
from natmu.engine import processes
from natmu.types import Settings

class Faulty(methods.Method):
    name = "faulty"
    Config = Settings

    def run(self, problem):
        if os.environ["RANK"] in os.environ["FAULTY"]:
            raise ZeroDivisionError("by zero in " + os.environ["FAULTY"])
        return problem.model

methods.METHODS = (*methods.METHODS, Faulty)
processes.SHORT_PATIENCE = 2.0
cli.main()
"""

STUDY = """
name: study
data: {source: digits, train_size: 150}
model: small_cnn
training: {epochs: 1, lr: 0.05, batch_size: 32, warmup_epochs: 0}
forget: [class:3]
methods: [{method: faulty}, {method: amnesiac, settings: {epochs: 1, lr: 0.001}}]
precision: fp32
audit: quick
references: 1
"""


def natmu(*arguments, processes, cwd, code=warm.NATMU):
    """Run a command in so many processes, each with one thread."""
    if processes == 1:
        return warm.start(code, *arguments, cwd=cwd).join()
    return warm.start_together(processes, code, *arguments, cwd=cwd)


def torchrun(*arguments, cwd):
    """Let torchrun run a command in two processes."""
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--local-addr", "127.0.0.1"]
    command = [sys.executable, *launch, "-m", "natmu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=200)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for one process and one for two, each with an original and a model unlearned from it.

    torchrun itself starts the two that train the original.
    """
    found = {}
    for processes in (1, 2):
        folder = found[processes] = tmp_path_factory.mktemp(f"processes{processes}")
        synced = ["--sync-batch-norm"] if processes == 2 else []
        for command, name in ((TRAIN, "original"), (UNLEARN, "unlearned")):
            words = (*command, *synced, "--out", f"runs/{name}")
            by_torchrun = processes == 2 and name == "original"
            done = torchrun(*words, cwd=folder) if by_torchrun else natmu(*words, processes=processes, cwd=folder)
            assert done.returncode == 0, done.stderr[-2000:]
            record = json.loads(done.stdout)  # one process speaks
            assert (record["lineage"].get("arithmetic") or record["lineage"]["start"]["arithmetic"])[
                "processes"
            ] == processes
    return found


@pytest.mark.parametrize("run", ["original", "unlearned"])
def test_predictions_are_those_of_one_process(folders, run):
    one, two = (load_file(folders[count] / "runs" / run / "predictions.safetensors") for count in (1, 2))
    assert one.keys() == two.keys()
    for name, expected in one.items():
        # Under PyTorch's kernels for AVX-512 and for no vector unit, logits differed by at most 0.04 of this.
        np.testing.assert_allclose(two[name], expected, rtol=5e-3, atol=5e-3)


def test_one_process_writes(folders):
    runs = folders[2] / "runs"
    assert sorted(path.name for path in runs.iterdir() if path.name != ".work") == ["original", "unlearned"]
    assert sorted(path.name for path in (runs / ".work").iterdir() if path.suffix != ".lock") == []
    assert not list(runs.rglob("*.partial"))
    records = [json.loads((folders[count] / "runs" / "original" / "record.json").read_text()) for count in (1, 2)]
    assert records[0]["digest"] != records[1]["digest"]


def test_a_run_that_is_there_is_not_computed_again(folders):
    before = (folders[2] / "runs" / "original" / "record.json").stat().st_mtime_ns
    done = natmu(*TRAIN, "--sync-batch-norm", "--out", "runs/original", processes=2, cwd=folders[2])
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folders[2] / "runs" / "original" / "record.json").stat().st_mtime_ns == before


def test_an_error_is_one_sentence(folders):
    done = natmu("train", "--data", "digits", "--model", "vgg99", processes=2, cwd=folders[2])
    assert done.returncode != 0
    sentence, *others = [line for line in done.stderr.splitlines() if line.startswith("natmu: ")]
    assert "vgg99" in sentence
    assert not others


def test_what_fails_in_the_second_process_alone_is_told(folders):
    (folders[2] / "own.py").write_text(
        "import os\n"
        "from torch import nn\n"
        "def build(**shape):\n"
        "    assert os.environ['RANK'] == '0', 'this GPU has fallen off the bus'\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    own = ["own:build" if word == "small_cnn" else word for word in TRAIN]
    done = natmu(*own, "--out", "runs/own", processes=2, cwd=folders[2])
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("natmu: ")]
    assert "fallen off the bus" in line
    assert not (folders[2] / "runs" / "own").exists()


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A study of two processes, with a method that fails in those of them that are named."""

    def run(faulty):
        monkeypatch.setenv("FAULTY", faulty)
        (tmp_path / "study.yaml").write_text(STUDY)
        command = ("bench", "study.yaml", "--json")
        done = natmu(*command, processes=2, cwd=tmp_path, code=FAULTY)
        return done, tmp_path / "runs" / "study"

    return run


def test_a_job_that_fails_in_all_processes_fails_alone(bench):
    done, folder = bench("01")
    assert done.returncode == 1, done.stderr[-2000:]
    rows = {row["method"]: row for row in json.loads(done.stdout)["rows"]}
    assert [row["n"] for row in rows.values()] == [1, 2, 0, 1]
    assert rows["faulty"]["failed"] == "ZeroDivisionError: by zero in 01"
    assert (folder / rows["faulty"]["log"]).exists()
    assert [one.audit is not None for one in StudyFolder(folder).audits] == [True, False, True]


def test_a_job_that_fails_in_one_process_ends_the_study(bench):
    """The others are in the midst of the job, and would wait forever for that one."""
    done, folder = bench("1")
    assert done.returncode not in (0, -9)
    assert "ZeroDivisionError: by zero in 1" in done.stderr
    assert not (folder / "table.json").exists()


def test_processes_that_torchrun_did_not_start_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    done = warm.start(warm.NATMU, "--version", cwd=tmp_path, WORLD_SIZE="2").join()
    assert (done.returncode, done.stdout) == (2, "")
    assert "start several processes with torchrun" in done.stderr
