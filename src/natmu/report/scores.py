"""The scores of an audit for the terminal: value, interval, retrained models, original, and what may be said."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from natmu.console import Console, Text
from natmu.records.audit import Audit, AuditedScore, ScoreVerdict
from natmu.report.digits import rounded

LEGEND = (
    "Each score alone, without correction for their number: differs: distinguishable from retrained models; alike: not "
    "distinguishable at this power; blind: neither is the original; open: too few retrained models. audit.json has a "
    "sentence on each."
)


def print_scores(audit: Audit, console: Console) -> None:
    """Print every score of an audit, those that cannot be had, what was decided for the user, and the verdict.

    Args:
        audit: The audit.
        console: Where to print.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("score", no_wrap=True)
    for header, width in (("value", 6), ("95 %", 11), ("retrained", 13), ("orig.", 6), ("verdict", 7)):
        table.add_column(header, justify="left" if header == "verdict" else "right", no_wrap=True, min_width=width)
    for name, score in audit.scores.items():
        table.add_row(*map(Text, (name, *score_cells(score))))
    console.print(table)
    for reason in dict.fromkeys(audit.missing.values()):
        names = [name for name, why in audit.missing.items() if why == reason]
        console.print(Text(f"Not measured: {', '.join(names)}. {reason}", style="dim"))
    console.print(Text(LEGEND, style="dim"))
    console.print()
    for decision in audit.decisions:
        console.print(Text(f"Decided for you: {decision}", style="dim"))
    console.print()
    for question, answer in (("Forgotten?", audit.forgotten), ("Kept?", audit.kept)):
        console.print(Text.assemble((f"{question} ", "dim"), (answer.sentence, "bold")))


def score_cells(score: AuditedScore) -> tuple[str, str, str, str, str]:
    """A score of an audit as texts: value, interval, retrained models, original, verdict in a word."""
    interval = score.verdict.interval if score.verdict else None
    between = f"{interval[0]:.3g}-{interval[1]:.3g}" if interval else ""
    original = "" if score.original is None else _number(score.original)
    return _number(score.value), between, _spread(score.retrained or ()), original, _in_a_word(score.verdict)


def _in_a_word(verdict: ScoreVerdict | None) -> str:
    """The verdict on one score."""
    if verdict is None:
        return ""
    if verdict.p_value is None:
        return "open"
    if verdict.distinguishable:
        return "differs"
    return "blind" if verdict.sees_original is False else "alike"


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, with as many digits as the spread supports."""
    if not values:
        return ""
    std = statistics.stdev(values) if len(values) > 1 else None
    mean, spread = rounded(statistics.fmean(values), std, most=4)
    return f"{mean}\u00b1{spread}" if spread else mean


def _number(value: float) -> str:
    """At most six characters for the sizes that scores have."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.2g}"
