"""What a process does to files is noted, and made to fail at a chosen operation.

What is watched are Python's own audit events: files opened, renamed, removed, folders made, programs started. Code in C
that opens files itself is not seen: safetensors writes through Rust, and ``WRITERS`` are counted for it instead; SQLite
and PyTorch's C++ writer are not. A kill comes before an operation or, by a limit on the size of files, in the midst
of a write. What a machine that lost its power had in its cache only is not played, nor are other processes that a
command starts.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"}
STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
WRITERS = ("safetensors.torch.save_file", "safetensors.numpy.save_file", "os.fsync", "os.fdatasync")

FaultKind = Literal["none", "kill", "full", "torn", "large", "files", "memory"]


@dataclass(frozen=True)
class Fault:
    """What befalls a command.

    Attributes:
        kind: ``kill`` and ``full`` (ENOSPC) come at file operation ``at``; ``torn`` kills at byte ``at`` of a file,
            ``large`` lets that write fail (EFBIG); ``files`` and ``memory`` leave so many descriptors and megabytes.
        at: Where or how much.
    """

    kind: FaultKind = "none"
    at: int = 0


def _absolute(path: str | bytes | os.PathLike[str]) -> str:
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100  # links are not followed


class Watch:
    """Notes what a process does to files, and lets it fail.

    Args:
        side: Folder of temporary files, which do not count.
        fault: What befalls the process.
        notes: Where to write of ``operations``, ``reads`` and programs ``started``.
    """

    def __init__(self, side: Path, fault: Fault, notes: dict[str, int]) -> None:
        self.side = str(side)
        self.fault, self.count, self.on = fault, 0, False
        self.notes = notes

    def begin(self) -> None:
        """From here on."""
        for name in WRITERS:
            self._wrap(name)
        self.on = True
        sys.addaudithook(self._hear)

    def _wrap(self, name: str) -> None:
        """Count the calls of a function that writes without Python's knowledge, wherever it was imported."""
        module, _, function = name.rpartition(".")
        if module not in sys.modules:
            return
        real = getattr(sys.modules[module], function)

        def counted(*values: Any, **named: Any) -> Any:
            self._change("call", function)
            return real(*values, **named)

        for holder in [*sys.modules.values()]:
            if getattr(holder, "__name__", "").startswith(("natmu", module)) and vars(holder).get(function) is real:
                setattr(holder, function, counted)

    def _hear(self, event: str, values: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = values
            if isinstance(path, int) or path is None:
                return
            name = _absolute(path)
            if name.startswith(self.side) or name in ("/dev/null", "/dev/tty"):
                return
            if flags & WRITING:
                self._change("write", name)
            else:
                self._note("reads", name)
        elif event in CHANGES and values and not isinstance(values[0], int):
            paths = [os.fsdecode(one) for one in values[:2] if isinstance(one, str | bytes | os.PathLike)]
            name = _absolute(paths[-1])  # of a rename what it makes
            if not name.startswith(self.side):
                self._change(event, name)
        elif event in STARTS:
            self._note("started", f"{event} {values[:2]!r}")

    def _change(self, what: str, name: str) -> None:
        """An operation on files is about to be done."""
        if not self.on:
            return
        if self.fault.kind == "kill" and self.count == self.fault.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self._note("operations", f"{what} {name}")
        self.count += 1
        if self.fault.kind == "full" and self.count > self.fault.at and what in ("write", "os.mkdir", "call"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    def _note(self, name: str, text: str) -> None:
        os.write(
            self.notes[name], text.replace("\n", "\\n").replace("\r", "\\r").encode("utf-8", "surrogateescape") + b"\n"
        )
