"""The screen of ``natmu requests status``: what a person wants to know on a Monday morning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from natmu.cli.requests.options import command, counted, numbered
from natmu.cli.requests.output import due_in_words
from natmu.console import Console, Text, lines
from natmu.terminal import echo

if TYPE_CHECKING:
    from natmu.requests.status import Status

MOST_PENDING = 5
"""How many requests stand on the screen; all others are counted."""

MOST_REASONS = 2
"""How many sentences say why to retrain, or when."""


def show_status(found: Status, folder: Path) -> None:
    """Print it, and the command to go on with."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for title, text in (
        ("due", _due(found)),
        ("deployed", _deployed(found)),
        ("accuracy", _accuracy(found)),
        ("forgotten", Text(f"{found.forgotten:,} training samples, {100 * found.fraction:.2g} % of the original's")),
        ("cost", _cost(found)),
        ("retraining", _retraining(found)),
        ("purge", _purge(found)),
    ):
        table.add_row(Text(title, "bold"), text)
    Console().print(table)
    if found.unfinished is not None:
        echo(
            f"Process {found.unfinished.process} of {numbered(found.unfinished.requests)} has not ended. If it does "
            "not run, continue it:"
        )
    echo(f"Next: {_next(found, folder)}")


def _due(found: Status) -> Text:
    """Requests that wait, the one that is due first first."""
    if not found.pending:
        return Text("nothing; all requests are honoured" if found.requests else "nothing; there is no request yet")
    late = f", {found.overdue} overdue" if found.overdue else ""
    shown = [Text(f"{counted(len(found.pending), 'request')} pending{late}", "bold red" if late else "")]
    for one in found.pending[:MOST_PENDING]:
        ticket = one.ticket if len(one.ticket) <= 20 else f"{one.ticket[:19]}…"
        request = f": request {one.request} ({ticket}), {counted(one.samples, 'sample')}"
        shown.append(Text().append(due_in_words(one)).append(request))
    if len(found.pending) > MOST_PENDING:
        shown.append(Text(f"and {len(found.pending) - MOST_PENDING} more; natmu requests list has all"))
    return lines(*shown)


def _deployed(found: Status) -> Text:
    """The release, since when, how it was made, and what it honours."""
    from natmu.cli.requests.output import moment

    one = found.deployed
    kind = "the original" if one.release == 0 else f"by {one.method} ({one.guarantee})"
    text = f"release {one.release}, {kind}, since {moment(one.since)} UTC"
    return lines(text, f"honours {len(one.honours)} of {counted(found.requests, 'request')}")


def _accuracy(found: Status) -> Text:
    """Accuracies beside the original's."""
    parts = []
    for one in found.drift:
        now = "not measured" if one.now is None else f"{one.now:.1f} %"
        original = "" if one.original is None else f" (original {one.original:.1f})"
        parts.append(f"{one.score.removesuffix('_acc')} {now}{original}")
    return Text(", ".join(parts))


def _cost(found: Status) -> Text:
    """What all this took, beside retraining each time."""
    from natmu.cli.requests.output import duration

    costs = found.costs
    if not costs.unlearning_seconds and not costs.training_seconds:
        return Text("nothing so far")
    made = [
        f"{duration(seconds)} of {name}"
        for name, seconds in (
            ("unlearning", costs.unlearning_seconds),
            ("retraining", costs.training_seconds),
            ("audits", costs.audit_seconds),
        )
        if seconds
    ]
    refused = f"; {counted(costs.refused, 'candidate')} refused" if costs.refused else ""
    text = ", ".join(made) + refused
    if costs.retraining_each_seconds is None:
        return Text(text)
    each = f"retraining for each of {counted(costs.answered, 'answer')}: {duration(costs.retraining_each_seconds)}"
    return lines(text, each)


def _retraining(found: Status) -> Text:
    """Whether to retrain, when, and why."""
    advice = found.advice
    if not found.deployed.requests_since:
        return Text("not due; nothing was forgotten since the last training")
    if advice.due:
        when = Text("now", "bold yellow")
    elif advice.in_requests is None:
        when = Text("no limit comes nearer")
    else:
        when = Text(f"in about {counted(math.ceil(advice.in_requests), 'request')}")
    return lines(when, *advice.reasons[:MOST_REASONS])


def _purge(found: Status) -> Text:
    """Whose photographs may still lie in the data."""
    if not found.not_purged:
        return Text("nothing to confirm")
    return Text(f"not confirmed for {numbered(found.not_purged)}")


def _next(found: Status, folder: Path) -> str:
    """One command to copy, or that there is none."""
    if found.unfinished is not None:
        return command("process", folder)
    if found.advice.due:
        return command("retrain", folder)
    if found.pending:
        return command("process", folder)
    if found.not_purged:
        return command("confirm-purge", folder, found.not_purged[0])
    return "nothing to do"
