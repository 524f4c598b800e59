"""Ctrl-C pressed twice, a few milliseconds apart and at any moment: one sentence, status 130, and no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import warm

TRAIN = ["train", "--data", "digits", "--model", "small_cnn", "--train-size", "100", "--precision", "fp32"]
TRAIN += ["--batch-size", "32", "--epochs", "20", "--resume", "--out", "runs/run"]
SAID = "natmu: Interrupted; run the same command again to continue (train and unlearn: with --resume).\n"
GAPS = [0.001, 0.005, 0.009]
"""Seconds between the first Ctrl-C and the second."""

MAIN = "from natmu.cli import main; main()"

IMPORT = """
class Telling:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            open("now", "w").close()

sys.meta_path.insert(0, Telling())
"""
CHECKPOINTS = """
from natmu.engine.store import Store
Store.__init__.__defaults__ = (0.0,)
"""
EXIT = """
from natmu.cli import methods

def linger():
    open("now", "w").close()
    time.sleep(60)

methods.run = lambda: atexit.register(linger)
"""
DESTRUCTOR = """
from natmu.cli import methods

class Dying:
    def __del__(self):
        open("now", "w").close()
        while True:  # until Ctrl-C is raised here, where nobody hears it
            pass

def run():
    Dying()
    time.sleep(60)

methods.run = run
"""
WORKERS = """
from natmu.cli import methods

def run():
    from natmu.engine.together import run_together
    open("now", "w").close()
    run_together(time.sleep, [(60,), (60,)], 2, "sleep")

methods.run = run
"""
STUCK = """
from natmu.cli import methods

def run():
    try:
        open("now", "w").close()
        time.sleep(60)
    finally:
        time.sleep(60)

methods.run = run
"""
ERROR_IN_C = """
from natmu.cli import methods

def run():
    try:
        open("now", "w").close()
        time.sleep(60)
    except KeyboardInterrupt:
        raise ImportError("initialization failed without a reason")

methods.run = run
"""


@pytest.fixture
def started(tmp_path):
    """Start a command in a session of its own, so that Ctrl-C reaches all of its processes as from a terminal.

    Returns once the code that comes before ``main`` has said that it is the moment.
    """

    def start(before, *words):
        process = subprocess.Popen(
            [sys.executable, "-c", f"import atexit, sys, time\n{before}\n{MAIN}", *words],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        if 'open("now"' in before:
            wait_for((tmp_path / "now").exists)
        return process

    return start


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def send_twice(process, gap):
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(gap)
    os.killpg(process.pid, signal.SIGINT)


def press_twice(process, gap):
    """Exit status and last words of a command that is told twice to stop."""
    send_twice(process, gap)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize("module", ["typer", "yaml", "numpy", "torch", "natmu.engine.loop"])
def test_during_imports(started, module):
    process = started(IMPORT.format(module=module), *TRAIN)
    assert press_twice(process, 0.005) == (130, SAID)


def test_during_training_which_can_then_be_resumed(tmp_path):
    for gap in GAPS[::2]:
        before = checkpoints(tmp_path)
        process = warm.start(f"import os; os.setsid()\n{CHECKPOINTS}\n{MAIN}", *TRAIN, cwd=tmp_path)
        wait_for(lambda known=before: checkpoints(tmp_path) - known)
        send_twice(process, gap)
        done = process.join(60)
        assert (done.returncode, done.stderr) == (130, SAID)
        assert not (tmp_path / "runs/run").exists()
    before = checkpoints(tmp_path)
    assert before
    assert warm.start(MAIN, *TRAIN, cwd=tmp_path).join(60).stderr == ""
    epochs = (tmp_path / "runs/run/history.csv").read_text().splitlines()[1:]
    assert len(epochs) == 20


def checkpoints(folder):
    """The checkpoints that there are and have been, by the time they were written."""
    return {path.stat().st_mtime_ns for path in folder.glob("runs/.work/*/checkpoint.safetensors")}


@pytest.mark.parametrize("gap", GAPS)
def test_after_the_command_while_python_ends(started, gap):
    assert press_twice(started(EXIT, "methods"), gap) == (130, "")


@pytest.mark.parametrize("gap", GAPS)
def test_where_an_interrupt_cannot_be_raised(started, gap):
    assert press_twice(started(DESTRUCTOR, "methods"), gap) == (130, SAID)


def test_where_an_import_in_c_makes_another_error_of_it(started):
    assert press_twice(started(ERROR_IN_C, "methods"), 0.005) == (130, SAID)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("moment", [0.0, 0.5, 3.0])
def test_while_worker_processes_start_and_work(started, moment):
    process = started(WORKERS, "methods")
    time.sleep(moment)
    assert press_twice(process, 0.005) == (130, SAID)
    wait_for(lambda: not group(process.pid))


def group(number):
    """Processes of a process group that are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found += [path] if path.read_text().rpartition(")")[2].split()[2] == str(number) else []
    return found


def test_one_that_comes_late_ends_what_does_not_end_by_itself(started):
    process = started(STUCK, "methods")
    assert press_twice_and_again(process) == (130, SAID)


def press_twice_and_again(process):
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    return press_twice(process, 0.005)
