"""Progress on standard error: bars on a terminal; elsewhere a line per finished piece of work, and some between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_SECONDS = 30.0
"""Without a terminal, the shortest time between two lines on the same piece of work."""

_current: ContextVar[Progress | None] = ContextVar("natmu_progress", default=None)


@contextmanager
def showing(enabled: bool = True) -> Iterator[None]:
    """Show the progress of all work inside; nested calls share one display."""
    if not enabled or _current.get() is not None:
        yield
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
    progress.disable = not progress.console.is_terminal
    token = _current.set(progress)
    try:
        with progress:
            yield
    finally:
        _current.reset(token)


@contextmanager
def task(label: str, total: int, done: int = 0) -> Iterator[Callable[[], None]]:
    """One bar of ``total`` steps; call what it yields after each of them."""
    progress = _current.get()
    if progress is None:
        yield lambda: None
        return
    bar = progress.add_task(label, total=total, completed=done)
    said, count = time.monotonic(), done

    def advance() -> None:
        nonlocal said, count
        count += 1
        progress.advance(bar)
        if progress.disable and time.monotonic() - said > QUIET_SECONDS:
            said = time.monotonic()
            say(f"{label}: {count} of {total}")

    try:
        yield advance
    finally:
        progress.remove_task(bar)


def say(line: str) -> None:
    """Leave one line on standard error if progress is shown at all."""
    progress = _current.get()
    if progress is not None:
        progress.console.print(line, markup=False)
