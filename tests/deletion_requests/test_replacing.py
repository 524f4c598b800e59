import os
import subprocess
import sys

import pytest

from natmu.errors import ResourceError
from natmu.requests.replacing import replacing

SCRIPT = """
import os, pathlib, sys
from natmu.requests.replacing import replacing
service, name = pathlib.Path(sys.argv[1]), sys.argv[2]
rename = pathlib.Path.rename
pathlib.Path.rename = lambda own, to: os._exit(9) if to.name == name else rename(own, to)
with replacing(service / "evidence" / "0001", service) as new:
    (new / "names.txt").write_text("new")
    (new / "more.txt").touch()
"""
"""Replaces a folder, and is killed before something gets a name."""


@pytest.fixture
def folder(tmp_path):
    """A folder of evidence in a service."""
    write(tmp_path, "old")
    return tmp_path / "evidence" / "0001"


def write(service, text):
    with replacing(service / "evidence" / "0001", service) as new:
        (new / "names.txt").write_text(text)


def held(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def left_over(service):
    return [path.name for path in service.iterdir() if path.is_dir() and path.name != "evidence"]


def test_what_was_there_is_gone_as_a_whole(folder, tmp_path):
    (folder / "of the old one alone").touch()
    write(tmp_path, "new")
    assert held(folder) == {"names.txt": "new"}
    assert left_over(tmp_path) == []


def test_a_failure_leaves_what_was_there_and_nothing_else(folder, tmp_path):
    def fail():
        with replacing(folder, tmp_path) as new:
            (new / "names.txt").write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(ResourceError, match=r"0001 \(No space left on device\)"):
        fail()
    assert held(folder) == {"names.txt": "old"}
    assert left_over(tmp_path) == []


def test_a_failure_of_the_last_step_leaves_what_was_there(folder, tmp_path, monkeypatch):
    rename = type(folder).rename

    def refuse(own, to):
        if own.name.endswith(".new"):
            raise OSError(5, "Input/output error")
        return rename(own, to)

    monkeypatch.setattr(type(folder), "rename", refuse)
    with pytest.raises(ResourceError, match="Input/output error"):
        write(tmp_path, "new")
    assert held(folder) == {"names.txt": "old"}
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(("name", "place"), [(".evidence-0001.old", "evidence/0001"), ("0001", ".evidence-0001.old")])
def test_a_writer_that_is_killed_leaves_the_older_one_whole(folder, tmp_path, name, place):
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path, name], check=False, env=dict(os.environ))
    assert done.returncode == 9
    assert held(tmp_path / place) == {"names.txt": "old"}
    with replacing(folder.with_name("0002"), tmp_path) as other:
        (other / "names.txt").write_text("other")
    assert held(folder) == {"names.txt": "old"}
    assert left_over(tmp_path) == []
