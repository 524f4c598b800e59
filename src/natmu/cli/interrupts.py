"""What Ctrl-C does to a command: it ends in one sentence and status 130, however often and whenever it is pressed.

The first one raises KeyboardInterrupt, so that files are left as they should be and worker processes are ended. Those
that follow closely change nothing: they would interrupt this work and leave a traceback. One that comes later is from
somebody who waits in vain, and ends the process at once; what a run needs to be resumed is on disk at any time, as
after a power failure.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
import time

INTERRUPTED = 130
"""Exit status after Ctrl-C, which the command-line library returns as well."""

SENTENCE = "Interrupted; run the same command again to continue (train and unlearn: with --resume)."

PATIENCE_S = 1.0
"""Seconds after the first Ctrl-C within which others change nothing."""

AGAIN_S = 0.01
"""Seconds after which an interrupt that was raised where nothing can be raised is raised again."""

SHOW_CURSOR = b"\r\x1b[2K\x1b[?25h"
"""What progress bars would write to the terminal if they were left in peace."""


class Interrupts:
    """The handler of Ctrl-C of a process that does one command."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._ended = False

    def install(self) -> None:
        """Take over Ctrl-C for the rest of this process's life."""
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # runs last; then nothing of Python is left
        sys.unraisablehook = self._unraisable
        signal.signal(signal.SIGINT, self._handle)

    @property
    def heard(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._first is not None

    def end(self) -> None:
        """Say that the command is over: from now on Ctrl-C raises nothing."""
        self._ended = True

    def _handle(self, *_: object) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            if not self._ended:
                raise KeyboardInterrupt
        elif now - self._first < PATIENCE_S:
            return
        if not self._ended:
            os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + f"natmu: {SENTENCE}\n".encode())
        os._exit(INTERRUPTED)

    def _unraisable(self, what: sys.UnraisableHookArgs) -> None:
        """An interrupt in a destructor or the like is told to nobody; raise it again where it is heard."""
        if not issubclass(what.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(what)
        elif not self._ended:
            again = threading.Timer(AGAIN_S, self._raise_again)
            again.daemon = True
            again.start()

    def _raise_again(self) -> None:
        self._first = None
        if hasattr(signal, "pthread_kill"):  # which wakes the main thread from waiting, too
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        else:
            _thread.interrupt_main()


def say_interrupted() -> None:
    """Print the sentence.

    Ctrl-C inside the exec of a string, as in the making of a dataclass, leaves a mark in CPython that makes the
    interpreter end by the signal instead of by our status; the next exec takes the mark away.
    """
    exec("")
    sys.stderr.write(f"natmu: {SENTENCE}\n")
