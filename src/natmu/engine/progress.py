"""Progress on standard error: a bar on a terminal, one line per finished piece of work elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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
    try:
        yield lambda: progress.advance(bar)
    finally:
        progress.remove_task(bar)


def say(line: str) -> None:
    """Leave one line on standard error if progress is shown at all."""
    progress = _current.get()
    if progress is not None:
        progress.console.print(line, markup=False)
