"""How requests and releases are printed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table

from natmu.cli.requests.options import numbered
from natmu.console import Console, Text

if TYPE_CHECKING:
    from natmu.records.ledger import Tried
    from natmu.records.measurement import MeasuredScore
    from natmu.requests.status import PendingRequest

SOON_DAYS = 7
"""From how many days before it is due a request stands out."""

SHOWN = ("forget_acc", "retain_acc", "test_acc", "holdout_acc", "mia_entropy")
"""Scores that are printed of a candidate; evidence has all of them."""


def due_in_words(request: PendingRequest) -> Text:
    """When a request must be answered, such as ``due in 3 days``."""
    if request.overdue:
        days = -request.days_left - 1
        words, style = f"overdue by {_days(days)}", "bold red"
    else:
        words, style = f"due in {_days(request.days_left)}", "yellow" if request.days_left < SOON_DAYS else ""
    return Text(f"{words}, in process" if request.in_process else words, style)


def moment(time: str) -> str:
    """A time of the ledger to the minute, which is UTC."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M}"


def duration(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_measured(made: Tried) -> None:
    """Print what was measured of a model, beside the original and retrained models, and what it took."""
    where = Console()
    if made.measured is not None:
        table = Table(box=None, pad_edge=False)
        table.add_column("in %")
        for title in ("now", "original", "retrained"):
            table.add_column(title, justify="right")
        for name, score in _scores(made):
            table.add_row(name, *(Text(cell) for cell in _cells(score)))
        where.print(table)
        if made.measured.references or made.guarantee == "approximate":
            where.print(Text(f"Forgotten? {made.measured.forgotten.sentence}"))
        where.print(Text(f"Kept? {made.measured.kept.sentence}"))
    if made.guarantee != "approximate":
        where.print(Text(f"Promised, whatever tests see ({made.guarantee}): {made.promise}"))
    for sentence in _earlier(made):
        where.print(Text(sentence))
    part = f"; retraining takes {duration(made.retraining_seconds)}" if made.retraining_seconds else ""
    where.print(Text(f"It took {duration(made.seconds)}, and {duration(made.audit_seconds)} to measure{part}."))


def _scores(made: Tried) -> Iterator[tuple[str, MeasuredScore]]:
    """What is printed, by name."""
    measured = made.measured.scores if made.measured is not None else {}
    yield from ((name, measured[name]) for name in SHOWN if name in measured)
    if made.earlier is not None and "forget_acc" in made.earlier.scores:
        yield "forget_acc of earlier requests", made.earlier.scores["forget_acc"]


def _cells(score: MeasuredScore) -> tuple[str, str, str]:
    """A score of the model, of the original, and the mean of retrained models."""
    retrained = sum(score.retrained) / len(score.retrained) if score.retrained else None
    now, original, mean = ("-" if one is None else f"{one:.1f}" for one in (score.value, score.original, retrained))
    return now, original, mean


def _earlier(made: Tried) -> Iterator[str]:
    """What became of earlier requests."""
    back = [one.request for one in made.remeasured if one.came_back]
    unknown = [one.request for one in made.remeasured if one.came_back is None]
    if back:
        yield f"Came back: {numbered(back)}."
    kept = [one.request for one in made.remeasured if one.came_back is False]
    if kept:
        yield f"Measured again: {numbered(kept)}, which did not come back."
    if unknown:
        yield f"Not known whether {numbered(unknown)} came back: too few samples or retrained models."


def _days(count: int) -> str:
    """Whole days in words."""
    return "less than a day" if count < 1 else f"{count} day{'' if count == 1 else 's'}"
