"""Files that a process holds while it writes them, on systems that have locks which let go when the process ends."""

from __future__ import annotations

from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def hold(file: BinaryIO) -> None:
    """Hold an open file until it is closed or this process ends; nothing where the system has no such locks.

    Raises:
        OSError: Another process holds it, or its file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
