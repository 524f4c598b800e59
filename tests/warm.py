"""Python processes that begin with the slow imports done: they are forked from a server that has made them.

A test in which a process is killed, or meets another, needs a real one; it does not need to wait for PyTorch again.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

import pytest

SLOW = ["natmu.verbs", "natmu.cli.app", "sklearn.datasets", "sklearn.linear_model", "scipy.stats", "torch._dynamo"]
"""torch._dynamo is imported by the first optimiser."""

NATMU = "from natmu.cli.app import main; main()"

NEW_NATMU = """
import sys
for name in [*sys.modules]:
    if name.partition(".")[0] == "natmu":
        del sys.modules[name]
"""
"""Comes before code that is to import natmu from elsewhere, and keeps PyTorch."""


@dataclass(frozen=True)
class Done:
    """How a process ended, or several of one command."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Warm:
    """A process at work, and the files that it prints to."""

    process: BaseProcess
    folder: Path

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        """Exit status, None while it works."""
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def join(self, timeout: float = 200) -> Done:
        """Wait for its end."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"it has not ended after {timeout} s"
        done = Done(self.process.exitcode, *((self.folder / name).read_text() for name in ("out", "err")))
        shutil.rmtree(self.folder)
        return done


def context() -> ForkServerContext:
    """How processes are started that begin with the slow imports done."""
    found = get_context("forkserver")
    found.set_forkserver_preload(SLOW)
    return found


def start_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the workers of ``natmu.engine.together`` begin with the slow imports done, not as new interpreters."""
    monkeypatch.setattr("torch.multiprocessing.get_context", lambda _: context())


def start(code: str, *words: object, cwd: Path | None = None, **environment: str) -> Warm:
    """What ``python -c code words…`` does, with one thread and with more variables in the environment."""
    folder = Path(tempfile.mkdtemp(prefix="natmu-warm-"))
    arguments = (code, [*map(str, words)], cwd or Path.cwd(), os.environ | environment, folder)
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")  # or it would be imported
    try:
        process = context().Process(target=_run, args=arguments)
        process.start()
    finally:
        sys.modules["__main__"] = main
    return Warm(process, folder)


def start_together(count: int, code: str, *words: object, cwd: Path) -> Done:
    """What torchrun does: so many processes that find each other, and are ended once one of them has failed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    roles = [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    started = [start(code, *words, cwd=cwd, **role) for role in roles]
    deadline, at_work = time.monotonic() + 200, started
    while at_work and all(one.poll() in (None, 0) for one in started) and time.monotonic() < deadline:
        wait([one.process.sentinel for one in at_work], 1)
        at_work = [one for one in at_work if one.poll() is None]
    failed = next((one.poll() for one in started if one.poll()), None)
    for one in at_work:
        one.kill()
    done = [one.join() for one in started]
    status = failed if failed is not None else (1 if at_work else 0)
    return Done(status, *("".join(getattr(one, name) for one in done) for name in ("stdout", "stderr")))


def _run(code: str, words: list[str], cwd: Path, environment: dict[str, str], folder: Path) -> None:
    """Become the process that was asked for."""
    import torch

    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:0] = [str(cwd), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["-c", *words]
    try:
        exec(code, {"__name__": "__main__"})
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
