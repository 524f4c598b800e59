"""What is said while work goes on: progress on standard error, and decisions, which are kept in records as well.

Progress is bars on a terminal; elsewhere a line per finished piece of work, and some between.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, Protocol

from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from natmu.console import Console, Text
from natmu.safe_text import for_label

QUIET_SECONDS = 30.0
"""Without a terminal, the shortest time between two lines on the same piece of work."""

Unit = Literal["", "bytes", "images"]
"""What the steps of a piece of work are; bytes are shown as kB, MB and GB, and of images how many a second are done."""


class Advance(Protocol):
    """Moves a bar."""

    def __call__(self, steps: int = 1) -> None:
        """Say that this many more steps are done."""


class Display(Protocol):
    """Where progress is shown."""

    def bar(self, label: str, total: int | None, done: int, unit: Unit) -> AbstractContextManager[Advance]:
        """One bar of ``total`` steps; call what it yields after each of them, or after several."""

    def say(self, line: str) -> None:
        """Leave one line."""


class _Done(ProgressColumn):
    """How much is done, of how much."""

    def render(self, task: Task) -> Text:
        """In the unit of the work."""
        total = None if task.total is None else int(task.total)
        amount = _amount(int(task.completed), total, task.fields["unit"], "/")
        rate = f" {task.speed:.0f} a second" if task.fields["unit"] == "images" and task.speed else ""
        return Text(amount + rate, style="progress.download")


class Screen:
    """Standard error, as a display."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Done(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.progress.disable = not self.progress.console.is_terminal

    @contextmanager
    def bar(self, label: str, total: int | None, done: int, unit: Unit) -> Iterator[Advance]:
        """A bar on a terminal; elsewhere a line now and then."""
        label = for_label(label)
        bar = self.progress.add_task(label, total=total, completed=done, unit=unit)
        started = time.monotonic()
        said, count = started, done

        def advance(steps: int = 1) -> None:
            nonlocal said, count
            count += steps
            self.progress.advance(bar, steps)
            if self.progress.disable and time.monotonic() - said > QUIET_SECONDS:
                said = time.monotonic()
                rate = f", {(count - done) / max(said - started, 1e-9):.0f} a second" if unit == "images" else ""
                self.say(f"{label}: {_amount(count, total, unit, ' of ')}{rate}")

        try:
            yield advance
        finally:
            self.progress.remove_task(bar)

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self.progress.console.print(line, soft_wrap=True)


class _Bars:
    """The bars of a display, without its lines."""

    def __init__(self, display: Display) -> None:
        self.bar = display.bar

    def say(self, line: str) -> None:
        """Leave the line out."""


def _amount(done: int, total: int | None, unit: Unit, of: str) -> str:
    """How much is done, and of how much where that is known."""
    amounts = [done] if total is None else [done, total]
    return of.join(decimal(amount) if unit == "bytes" else str(amount) for amount in amounts)


def _unseen(steps: int = 1) -> None:
    """Move a bar that is not there."""


_current: ContextVar[Display | None] = ContextVar("natmu_progress", default=None)
_told: ContextVar[set[str] | None] = ContextVar("natmu_told", default=None)
"""The decisions that the current display has shown."""


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
    token, told = _current.set(display), _told.set(set())
    try:
        yield
    finally:
        _told.reset(told)
        _current.reset(token)


@contextmanager
def without_lines() -> Iterator[None]:
    """Show bars alone: what is said inside would be untrue here."""
    display = _current.get()
    if display is None:
        yield
        return
    with shown_on(_Bars(display)):
        yield


def task(label: str, total: int | None, done: int = 0, unit: Unit = "") -> AbstractContextManager[Advance]:
    """One bar; call what it yields after each step, or with the number of steps after several.

    Args:
        label: Names the work.
        total: Steps in all; None where nobody knows.
        done: Steps that were done before.
        unit: What a step is.
    """
    display = _current.get()
    return nullcontext(_unseen) if display is None else display.bar(label, total, done, unit)


_decisions: ContextVar[tuple[list[str], ...]] = ContextVar("natmu_decisions", default=())


@contextmanager
def deciding() -> Iterator[list[str]]:
    """Collect what is decided for the user inside; around it, what was collected there is known too."""
    noted: list[str] = []
    token = _decisions.set((*_decisions.get(), noted))
    try:
        yield noted
    finally:
        _decisions.reset(token)


def decided() -> tuple[str, ...]:
    """What has been decided since the outermost ``deciding``."""
    collecting = _decisions.get()
    return tuple(collecting[0]) if collecting else ()


def decide(sentence: str) -> None:
    """Say what was decided for the user, once, and keep it for the record of the run or of the audit.

    A study decides the same for each of its models; every record keeps it, and the display shows it once.

    Args:
        sentence: What was decided, and why where that is not plain.
    """
    collecting, told = _decisions.get(), _told.get()
    if told is not None and sentence not in told and (not collecting or sentence not in collecting[0]):
        told.add(sentence)
        say(sentence)
    for noted in collecting:
        if sentence not in noted:
            noted.append(sentence)


def say(line: str) -> None:
    """Leave one line on standard error if progress is shown at all."""
    display = _current.get()
    if display is not None:
        display.say(line)
