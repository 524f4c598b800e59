"""Windows and macOS, by stand-ins: what only Linux has is taken away, and everything is imported and works."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from natmu.cli.interrupts import Interrupts
from natmu.engine import compute, memory, together
from natmu.records import disk, files, held
from natmu.records.disk import partial_of, sweep, sync_tree, write_stream
from natmu.records.files import write_atomically
from natmu.requests.keys import ServiceKey

WITHOUT = """
import os, signal, sys, warnings
import filelock, pooch, rich.console, sklearn.datasets, torch, typer  # which use on Linux what Linux has
for name in ("fcntl", "grp", "pwd", "resource", "syslog", "termios"):
    sys.modules[name] = None  # an import of it fails
for module, names in {
    os: "O_CLOEXEC O_DIRECTORY O_NOFOLLOW fchmod fork getegid geteuid getgid getloadavg getpgid getuid killpg "
    "mkfifo posix_fallocate posix_fadvise pread pwrite register_at_fork sched_getaffinity setsid statvfs sysconf "
    "uname",
    signal: "SIGALRM SIGCHLD SIGHUP SIGKILL SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 alarm pthread_kill pthread_sigmask "
    "setitimer sigpending sigwait",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
warnings.filterwarnings("error", "'encoding'", EncodingWarning, r"natmu\\.")  # Windows does not take UTF-8 by itself
"""
"""What makes of a Python on Linux one that has nothing which only Linux and macOS have."""

IMPORTS = """
import importlib, pkgutil
import natmu
extras = {"matplotlib", "mlflow", "optuna", "pytest", "ray", "sqlalchemy", "tensorboard", "wandb"}
sys.modules.update(dict.fromkeys(extras))  # an import of one fails
for module in pkgutil.walk_packages(natmu.__path__, "natmu."):
    if module.name == "natmu.__main__" or module.name.startswith("natmu.testing"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in extras:
            raise
"""

WORKS = """
from natmu.cli.app import main
from natmu.engine.memory import keep_freed_memory
from natmu.cli.interrupts import Interrupts

Interrupts().install()
for words in (
    "train --data digits --model small_cnn --train-size 100 --epochs 1 --precision fp32 --device cpu --out runs/a",
    "unlearn --from runs/a --method finetune --forget random:20 --epochs 1 --precision fp32 --device cpu --out runs/b",
    "audit runs/b --level quick --device cpu",
):
    sys.argv = ["natmu", *words.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, words
"""


def test_all_is_imported_and_a_model_is_trained_unlearned_and_audited_where_windows_is_bare(tmp_path):
    words = [sys.executable, "-X", "warn_default_encoding", "-c", WITHOUT + IMPORTS + WORKS]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "b" / "audit" / "audit.json").is_file()


def test_without_locks_files_are_written_and_what_is_young_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "fcntl", None)
    write_atomically(tmp_path / "a", b"x")
    other = tmp_path / ".b.elsewhere.1.partial"
    for age, there in ((10, True), (7200, False)):
        other.touch()
        os.utime(other, times=(time.time() - age,) * 2)
        sweep(tmp_path)
        assert other.exists() is there
    assert (tmp_path / "a").read_bytes() == b"x"


def test_on_windows_a_file_is_closed_before_it_gets_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "RENAMES_OPEN_FILES", False)
    rename, renamed = Path.replace, []

    def replace(path, target):
        renamed.append(any(link.readlink() == path for link in _open_files()))
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_atomically(tmp_path / "a", b"x")
    assert renamed == [False]
    monkeypatch.setattr(files, "RENAMES_OPEN_FILES", True)
    write_atomically(tmp_path / "a", b"y")
    assert renamed == [False, True]


def _open_files():
    return [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


def test_on_windows_no_process_is_asked_whether_it_runs(tmp_path, monkeypatch):
    """There ``os.kill`` ends what it asks, and the number 0 is Ctrl-C."""
    monkeypatch.setattr(disk, "WINDOWS", True)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it was asked"))
    left = partial_of(tmp_path / "a")
    left.touch()
    sweep(tmp_path)
    assert left.exists()


def test_on_windows_files_are_opened_for_writing_to_be_synced(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    monkeypatch.setattr(disk, "WINDOWS", True)
    opened, real = {}, os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *rest: opened.update({path: flags}) or real(path, flags, *rest))
    sync_tree(tmp_path)
    assert opened == {tmp_path / "a": os.O_RDWR, tmp_path: os.O_RDONLY}


def test_a_stream_is_written_where_nothing_can_be_opened_without_waiting(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_NONBLOCK")
    monkeypatch.setattr(os, "set_blocking", lambda *_: pytest.fail("Windows has it for pipes alone"))
    (tmp_path / "there").touch()
    write_stream(tmp_path / "there", b"x")
    assert (tmp_path / "there").read_bytes() == b"x"


def test_memory_is_kept_by_glibc_alone(monkeypatch):
    def refuse(name):
        raise TypeError("no name")  # as on Windows

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    for system in ("win32", "darwin"):
        monkeypatch.setattr(sys, "platform", system)
        memory.keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(TypeError):
        memory.keep_freed_memory()


def test_the_largest_memory_is_not_known_on_windows(monkeypatch):
    assert compute.peak_memory_mb() > 10
    monkeypatch.setattr(compute, "resource", None)
    assert compute.peak_memory_mb() == 0


def test_processes_are_started_where_signals_cannot_be_masked(monkeypatch):
    monkeypatch.delattr(signal, "pthread_sigmask")
    main = sys.modules["__main__"]
    monkeypatch.setattr(together.resource_tracker, "ensure_running", lambda: pytest.fail("it needs Unix"))
    with together._starting():
        assert sys.modules["__main__"] is not main
    assert sys.modules["__main__"] is main


def test_an_interrupt_is_raised_again_where_no_signal_can_be_sent_to_a_thread(monkeypatch):
    monkeypatch.delattr(signal, "pthread_kill")
    heard = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: heard.set())
    try:
        thread = threading.Thread(target=Interrupts()._raise_again)
        thread.start()
        thread.join()
        assert heard.wait(5)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_secret_is_written_as_it_is_where_files_have_a_text_mode(tmp_path, monkeypatch):
    flags, real = [], os.open
    monkeypatch.setattr(os, "O_BINARY", 1 << 30, raising=False)
    monkeypatch.setattr(
        os, "open", lambda path, flag, *rest: flags.append(flag) or real(path, flag & ~(1 << 30), *rest)
    )
    ServiceKey.create(tmp_path / "key")
    assert all(flag & 1 << 30 for flag in flags if flag & os.O_WRONLY)
    assert any(flag & os.O_WRONLY for flag in flags)
