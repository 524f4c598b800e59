"""One command in a forked process, with limits and a deadline; how it ended, and what ``watch`` saw."""

from __future__ import annotations

import atexit
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import scipy.linalg  # noqa: F401  # whose OpenBLAS waits for ever where memory runs out while it is loaded
from tests.campaign.watch import Fault, Watch

SIGNALLED = 1000
"""Added to the number of a signal that ended a command, so that it is no exit status."""

CANARY = "natmu-campaign-canary"
"""Name of a file that a pickle or a YAML tag would make if anything in it were executed."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what was seen.

    Attributes:
        status: Exit status; ``SIGNALLED`` and the signal's number if one ended it; None if it did not end.
        out: Standard output.
        err: Standard error.
        seconds: Time it took.
        operations: What it did to files, one text each, in order.
        reads: Files that it opened for reading.
        started: Programs that it started.
        log: Details of a bug, which natmu writes into a file.
        executed: Whether something in a file was executed that should have been read only.
    """

    status: int | None
    out: str
    err: str
    seconds: float
    operations: tuple[str, ...]
    reads: tuple[str, ...]
    started: tuple[str, ...]
    log: str
    executed: bool

    @property
    def killed(self) -> bool:
        """Whether a signal ended it."""
        return self.status is not None and self.status > SIGNALLED

    def outside(self, *folders: Path) -> list[str]:
        """Operations on files that lie in none of these folders."""
        known = [os.path.realpath(folder) for folder in folders]
        changed = [line.partition(" ")[2] for line in self.operations if not line.startswith("call ")]
        return [path for path in changed if not path.startswith("/dev/") and not any(_in(path, one) for one in known)]


PRINTED, NOTES = ("out", "err"), ("operations", "reads", "started")
"""What is heard of a command, through pipes, to which no limit on the size of files applies."""

NONE = Fault()
BUSY_S = 20.0
"""Seconds of a processor; undisturbed, each command needs less than two."""

IDLE_S = 20.0
"""Seconds on the clock without any work, after which a command waits for what never comes."""


LONGEST_S = 300.0
"""Seconds on the clock, for what does a little again and again and waits in between."""

_AT_ONCE = 64
"""Pieces that are taken from a pipe before the command is looked at again, as it may print without an end."""


def _in(path: str, folder: str) -> bool:
    return os.path.realpath(path).startswith(folder)


def run(
    act: Callable[[], object], cwd: Path, *, fault: Fault = NONE, seconds: float = BUSY_S, memory_mb: int = 4096
) -> Ended:
    """Do something in a forked process, in a folder.

    Args:
        act: What to do; ``natmu(words)`` for a command.
        cwd: Its working folder; everything else is temporary.
        fault: What befalls it.
        seconds: Of work, after which it is ended, with its children.
        memory_mb: Address space that it may take beyond what it has when it starts.
    """
    side = Path(tempfile.mkdtemp(prefix="campaign-"))
    begun = time.monotonic()
    pipes = {name: os.pipe() for name in (*PRINTED, *NOTES)}
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            for reading, _ in pipes.values():
                os.close(reading)
            status = _become(act, cwd, side, fault, memory_mb, {name: writing for name, (_, writing) in pipes.items()})
        finally:
            os._exit(status)
    for _, writing in pipes.values():
        os.close(writing)
    heard = {reading: bytearray() for reading, _ in pipes.values()}
    try:
        ended = _wait(pid, seconds, heard)
        texts = {
            name: heard[reading].decode("utf-8", "replace").replace("\r\n", "\n")
            for name, (reading, _) in pipes.items()
        }
        executed = (side / CANARY).exists()
        log = "\n".join(_text(path) for path in sorted(side.rglob("natmu-*.log")))
    finally:
        for reading in heard:
            os.close(reading)
        shutil.rmtree(side, ignore_errors=True)
    lines = {name: tuple(texts[name].split("\n")[:-1]) for name in NOTES}
    return Ended(ended, texts["out"], texts["err"], time.monotonic() - begun, log=log, executed=executed, **lines)


def natmu(words: list[str]) -> Callable[[], object]:
    """A command of natmu."""

    def act() -> None:
        from natmu.cli.app import main

        sys.argv = ["natmu", *words]
        main()

    return act


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace")


def _wait(pid: int, seconds: float, heard: dict[int, bytearray]) -> int | None:
    """Exit status of a child, which is ended when it has worked or waited for too long.

    Work is counted, and not the clock: on a machine with much else to do a command may take long without any fault.
    """
    begun = time.monotonic()
    pause, worked, since = 0.002, 0.0, begun
    while True:
        done, how = os.waitpid(pid, os.WNOHANG)
        _hear(heard)
        if done:
            _end_group(pid)
            code = os.waitstatus_to_exitcode(how)
            return code if code >= 0 else SIGNALLED - code
        waits, work = _work(pid)
        if work > worked or not waits:
            worked, since = work, time.monotonic()
        if work > seconds or time.monotonic() - since > IDLE_S or time.monotonic() - begun > LONGEST_S:
            break
        time.sleep(pause)
        pause = min(0.2, 1.5 * pause)
    _end_group(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    _hear(heard)
    return None


def _hear(heard: dict[int, bytearray]) -> None:
    """Take what stands in pipes by now."""
    for _ in range(_AT_ONCE):
        if not (ready := select.select([*heard], [], [], 0)[0]):
            return
        more = [(reading, os.read(reading, 1 << 16)) for reading in ready]
        for reading, some in more:
            heard[reading] += some
        if not any(some for _, some in more):  # their writers have gone
            return


def _work(pid: int) -> tuple[bool, float]:
    """Whether a process waits for something, and its seconds of work so far, with its children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] in "SDT", sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _become(
    act: Callable[[], object], cwd: Path, side: Path, fault: Fault, memory_mb: int, pipes: dict[str, int]
) -> int:
    """Be the command; returns its exit status."""
    import torch

    os.setsid()
    (side / "tmp").mkdir()
    tempfile.tempdir = None
    os.environ |= {"TMPDIR": str(side / "tmp"), "HOME": str(side), "XDG_CACHE_HOME": str(side), "COLUMNS": "200"}
    os.environ["NATMU_CANARY"] = str(side / CANARY)
    os.chdir(cwd)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in enumerate(PRINTED, 1):
        os.dup2(pipes[name], number)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watch = Watch(side, fault, pipes)
    _limit(fault, memory_mb)
    watch.begin()
    status: Any = 0
    try:
        act()
    except SystemExit as error:
        status = error.code
    except BaseException:  # noqa: BLE001  # whatever it is, it is the command's end
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except Exception:  # noqa: BLE001  # what ends a command may fail in any way, and is told
        traceback.print_exc()
    watch.on = False
    return status if isinstance(status, int) else (0 if status is None else 1)


def _limit(fault: Fault, memory_mb: int) -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    room = (fault.at if fault.kind == "memory" else memory_mb) << 20
    resource.setrlimit(resource.RLIMIT_AS, (held + room, held + room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if fault.kind == "files":
        resource.setrlimit(resource.RLIMIT_NOFILE, (fault.at, fault.at))
    if fault.kind in ("torn", "large"):
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault.kind == "torn" else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, fault.at))
