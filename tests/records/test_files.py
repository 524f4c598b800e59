"""Files are written whole or not at all, and what killed writers left is removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.records import folders

from natmu.errors import RunError
from natmu.records.audit import write_audit
from natmu.records.disk import sweep
from natmu.records.files import write_atomically
from natmu.records.run import RunFolder
from natmu.records.study import StudyFolder, write_study
from natmu.report import write_report

KILLED = """
import os, signal, sys
from pathlib import Path

def killed(self, target):
    os.kill(os.getpid(), signal.SIGKILL)

Path.replace = killed
from natmu.records.files import write_atomically
for place in sys.argv[1:]:
    if os.fork() == 0:
        write_atomically(Path(place), b"cut short")
    os.wait()
"""


def left(folder):
    return sorted(path.name for path in folder.rglob(".*"))


def kill_writers_of(*paths):
    """Writers that are killed between writing a file and renaming it."""
    subprocess.run([sys.executable, "-c", KILLED, *map(str, paths)], check=True, timeout=60)


@pytest.fixture
def study(tmp_path):
    return folders.make_study(tmp_path)


@pytest.fixture
def run(tmp_path, study):
    return tmp_path / folders.an_unlearned().digest


def test_what_a_killed_writer_left_is_swept_by_the_next_command(run, study):
    before = (run / "audit/audit.json").read_bytes()
    kill_writers_of(run / "report.html", run / "audit/audit.json", run / "audit/samples.csv")
    assert len(left(run)) == 3
    assert (run / "audit/audit.json").read_bytes() == before
    write_report(run)
    assert left(run) == []

    kill_writers_of(run / "audit/audit.json", run / "audit/exposed.npz")
    write_audit(run, folders.an_audit(run.name), folders.samples())
    assert left(run) == []

    kill_writers_of(study / "table.json", study / "audit.json")
    write_study(study, StudyFolder(study).table)
    assert left(study) == []

    kill_writers_of(study / "trials.csv", study / "search.json")
    folders.make_search(study)
    assert left(study) == []


def test_what_is_being_written_stays(tmp_path):
    host = os.uname().nodename.partition(".")[0]
    names = {
        f".a.json.{host}.{os.getpid()}.partial",  # by this process
        f".a.json.elsewhere.{2**22 + 1}.partial",  # by another machine, of which nothing is known here
        ".notes.partial",
        "a.partial",
    }
    for name in names:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(RunError, match=r"Cannot write .*taken .*; choose a folder"):
        write_atomically(tmp_path / "taken", b"x")
    assert left(tmp_path) == []


def test_a_file_is_found_out_that_was_edited(run):
    path = run / "record.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content))  # another layout is no edit
    assert RunFolder(run).record.digest == run.name
    path.write_text(json.dumps(content | {"seconds": 0.5}))
    with pytest.raises(RunError, match=r"record\.json cannot be read \(it was changed after it was written"):
        RunFolder(run).record  # noqa: B018


def test_records_load_neither_torch_nor_a_floor_above():
    code = (
        "import sys\n"
        "import natmu.records.run, natmu.records.audit, natmu.records.study, natmu.records.search\n"
        "above = ('cli', 'report', 'engine', 'data', 'models', 'methods', 'scores', 'study')\n"
        "wrong = {'torch', 'sklearn', 'scipy', *(f'natmu.{name}' for name in above)} & sys.modules.keys()\n"
        "assert not wrong, wrong\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
