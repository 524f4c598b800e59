"""What is written survives a power cut, follows links, streams into pipes, and is refused before any work is done."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from natmu.errors import RunError, UsageError
from natmu.records import disk
from natmu.records.digests import Digest
from natmu.records.disk import (
    partial_of,
    publish,
    replace_folder,
    require_writable_file,
    require_writable_folder,
    sweep,
)
from natmu.records.files import File, is_there, write_atomically
from natmu.safe_text import for_message


class Box(File):
    """A file for these tests."""

    format: int = 7
    content: Digest


@pytest.fixture
def order(monkeypatch):
    """What reaches the disk or gets its name, in order."""
    done: list[tuple[str, str]] = []

    def noted(kind, real):
        def act(*given, **more):
            place = Path(f"/proc/self/fd/{given[0]}").readlink() if kind == "sync" else Path(given[-1])
            done.append((kind, place.name))
            return None if kind == "sync" else real(*given, **more)

        return act

    monkeypatch.setattr(os, "fsync", noted("sync", None))
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, noted("name", getattr(os, name)))
    return done


def test_a_files_content_reaches_the_disk_before_its_name_and_its_folder_last(tmp_path, order):
    path = tmp_path / "new" / "a.json"
    write_atomically(path, b"x")
    assert order == [
        ("sync", tmp_path.name),  # which names the new folder
        ("sync", partial_of(path).name),
        ("name", "a.json"),
        ("sync", "new"),
    ]


def test_a_folder_gets_its_name_after_all_that_is_in_it(tmp_path, order):
    folder = tmp_path / "work"
    (folder / "audit").mkdir(parents=True)
    for name in ("b", "a", "audit/c"):
        (folder / name).touch()
    publish(folder, tmp_path / "run")
    inner = [("sync", "c"), ("sync", "audit"), ("sync", "a"), ("sync", "b"), ("sync", "work")]
    assert order == [*inner, ("name", "run"), ("sync", tmp_path.name)]


def test_a_folder_is_replaced_by_one_that_is_on_the_disk(tmp_path, order):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert [kind for kind, _ in order] == ["sync", "sync", "name", "name", "sync"]
    assert [path.name for path in tmp_path.rglob("*")] == ["old", "new"]


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    target, link = tmp_path / "there" / "page.html", tmp_path / "page.html"
    target.parent.mkdir()
    link.symlink_to(target)
    for content in (b"new", b"again"):  # at first it leads to nothing
        require_writable_file(link)
        write_atomically(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == ["page.html"]


def test_a_link_into_a_folder_that_is_not_there_is_refused(tmp_path):
    link = tmp_path / "page.html"
    link.symlink_to(tmp_path / "unmounted" / "page.html")
    with pytest.raises(UsageError, match=r"--out .*page\.html cannot be written .*a link to .*folder is not there"):
        require_writable_file(link)
    with pytest.raises(RunError, match="whose folder is not there"):
        write_atomically(link, b"x")
    assert not (tmp_path / "unmounted").exists()


def test_a_pipe_is_written_into_and_stays(tmp_path):
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    require_writable_file(pipe)
    with pytest.raises(RunError, match="nobody reads from it"):
        write_atomically(pipe, b"x")
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    deadline = time.monotonic() + 20
    while not received and time.monotonic() < deadline:
        try:
            write_atomically(pipe, b"y" * 100_000)
            break
        except RunError:
            time.sleep(0.01)  # until the reader has opened it
    reader.join(20)
    assert received == [b"y" * 100_000]
    assert pipe.is_fifo()


def refused(place, require):
    with pytest.raises(UsageError) as caught:
        require(place)
    assert for_message(str(place)) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert "is no folder" in refused(tmp_path / "file", require_writable_folder)
    assert "is no folder" in refused(tmp_path / "file" / "runs", require_writable_folder)
    assert "a link to what is not there" in refused(tmp_path / "dangling", require_writable_folder)
    refused(tmp_path / "loop", require_writable_folder)
    assert "directory" in refused(tmp_path, require_writable_file).lower()
    refused(tmp_path / "file" / "a.html", require_writable_file)
    refused(tmp_path / ("x" * 300), require_writable_file)
    refused(tmp_path / "a\0b", require_writable_file)
    require_writable_folder(tmp_path / "new" / "runs")
    require_writable_file(tmp_path / "new" / "a.html")
    require_writable_file(tmp_path / "file")

    def forbidden(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", forbidden)  # the tests may run as somebody who may do everything
    for require in (require_writable_folder, require_writable_file):
        assert "Permission denied" in refused(tmp_path / "new", require)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_each_kind_of_fault_has_its_own_sentence_and_nobody_is_told_to_delete_what_may_be_whole(tmp_path, monkeypatch):
    path = tmp_path / "box.json"
    with pytest.raises(RunError, match="cannot be read, because it is missing; delete the folder"):
        Box.read(path)
    Box(content="ab").write(path)
    path.write_text(path.read_text().replace('"ab"', '"cd"'))
    with pytest.raises(RunError, match=r"changed after it was written.*; delete the folder"):
        Box.read(path)
    path.write_text('{"format": 6}')
    with pytest.raises(RunError, match=r"has format 6, and this version of natmu reads format 7; use the version that"):
        Box.read(path)
    for number in (errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE):

        def fail(self, *_, number=number, **__):
            raise OSError(number, os.strerror(number))

        for name in ("read_bytes", "stat"):
            monkeypatch.setattr(Path, name, fail)
        for read in (Box.read, is_there):
            with pytest.raises(RunError, match=r"cannot be opened now .*make it readable, and try again") as caught:
                read(path)
            assert "delete" not in str(caught.value)
        monkeypatch.undo()


def test_a_link_that_leads_nowhere_is_not_taken_for_a_missing_file(tmp_path):
    (tmp_path / "record.json").symlink_to(tmp_path / "annex" / "content")
    with pytest.raises(RunError, match=r"is a link to .*content, which is not there; bring that back"):
        is_there(tmp_path / "record.json")
    assert not is_there(tmp_path / "absent" / "record.json")
    with pytest.raises(UsageError, match="is too long a name for this file system"):
        is_there(tmp_path / ("x" * 300))


def test_old_unfinished_files_go_unless_a_writer_holds_them(tmp_path):
    elsewhere = [tmp_path / f".{name}.json.elsewhere.1.partial" for name in ("old", "held", "new")]
    for path in elsewhere:
        path.touch()
    for path in elsewhere[:2]:
        os.utime(path, (0, 0))
    with elsewhere[1].open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(elsewhere[1:])


def test_unfinished_folders_of_dead_processes_go(tmp_path):
    dead = tmp_path / f".run.{disk.host()}.{2**22 + 1}.partial"
    (dead / "audit").mkdir(parents=True)
    (tmp_path / f".mine.{disk.host()}.{os.getpid()}.partial").mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".mine.{disk.host()}.{os.getpid()}.partial"]


KILLED = """
import os, sys, tempfile
from pathlib import Path
from natmu.records.disk import require_writable_folder
real = tempfile.TemporaryFile
def killed(**named):
    made = real(**named)
    os.kill(os.getpid(), 9)
tempfile.TemporaryFile = killed
require_writable_folder(Path(sys.argv[1]))
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files have names here from their beginning")
def test_a_kill_while_a_folder_is_tried_leaves_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path])
    assert (done.returncode, [*tmp_path.iterdir()]) == (-9, [])
