"""Progress on standard error: bars on a terminal; elsewhere a line per finished piece of work, and some between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

QUIET_SECONDS = 30.0
"""Without a terminal, the shortest time between two lines on the same piece of work."""

Advance = Callable[[], None]


class Display(Protocol):
    """Where progress is shown."""

    def bar(self, label: str, total: int, done: int) -> AbstractContextManager[Advance]:
        """One bar of ``total`` steps; call what it yields after each of them."""

    def say(self, line: str) -> None:
        """Leave one line."""


class Screen:
    """Standard error, as a display."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self.progress.disable = not self.progress.console.is_terminal

    @contextmanager
    def bar(self, label: str, total: int, done: int) -> Iterator[Advance]:
        """A bar on a terminal; elsewhere a line now and then."""
        bar = self.progress.add_task(label, total=total, completed=done)
        said, count = time.monotonic(), done

        def advance() -> None:
            nonlocal said, count
            count += 1
            self.progress.advance(bar)
            if self.progress.disable and time.monotonic() - said > QUIET_SECONDS:
                said = time.monotonic()
                self.say(f"{label}: {count} of {total}")

        try:
            yield advance
        finally:
            self.progress.remove_task(bar)

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self.progress.console.print(line, markup=False)


_current: ContextVar[Display | None] = ContextVar("natmu_progress", default=None)


@contextmanager
def showing(enabled: bool = True) -> Iterator[None]:
    """Show the progress of all work inside; nested calls share one display."""
    if not enabled or _current.get() is not None:
        yield
        return
    screen = Screen()
    with screen.progress, shown_on(screen):
        yield


@contextmanager
def shown_on(display: Display) -> Iterator[None]:
    """Show the progress of all work inside on this display."""
    token = _current.set(display)
    try:
        yield
    finally:
        _current.reset(token)


def task(label: str, total: int, done: int = 0) -> AbstractContextManager[Advance]:
    """One bar of ``total`` steps; call what it yields after each of them."""
    display = _current.get()
    return nullcontext(lambda: None) if display is None else display.bar(label, total, done)


def say(line: str) -> None:
    """Leave one line on standard error if progress is shown at all."""
    display = _current.get()
    if display is not None:
        display.say(line)
