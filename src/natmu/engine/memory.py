"""Memory that a process has freed; nothing here loads PyTorch."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's ``mallopt``, in bytes."""


def keep_freed_memory() -> None:
    """Keep the memory that this process frees, which makes training on a CPU faster, until the process ends.

    By default the C library returns the activations of a step to the system, which zeroes each page anew when the next
    step needs it. docs/decisions/0003-speed.md says what it costs. The process then stays as large as it once was.

    This is a setting of the whole process, so that a library must not make it unasked: ``natmu.unlearn`` does not. The
    command line does, and so do the worker processes that natmu starts. Call it once, before training, in a program of
    your own. It does nothing where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
