"""A stored study as tables, one per scenario, with every number already in the digits that it deserves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from natmu.report.digits import rounded
from natmu.report.significance import compared, finding, marked
from natmu.report.units import SHARE, decimals_of, name_of, units_in_words
from natmu.types import REFERENCES, RETRAINED

NO_FLOOR = "The floor is not known here: retrained has no avg_gap, which takes two retrained models of one forget set."


@dataclass(frozen=True)
class Cell:
    """One number as text, or a word in its place; ``spread`` is empty where it is not known."""

    mean: str = ""
    spread: str = ""
    best: bool = False
    word: str = ""

    def text(self, plus_minus: str) -> str:
        """The cell as one text."""
        return f"{self.mean}{plus_minus}{self.spread}" if self.spread else self.mean or self.word or "-"


@dataclass(frozen=True)
class Line:
    """One method: its cells in the order of the table's columns, and one sentence if it failed or was not run."""

    method: str
    cells: tuple[Cell, ...]
    failure: str | None


@dataclass(frozen=True)
class ScenarioTable:
    """One scenario of a study, ready to be drawn.

    Attributes:
        title: The forget set and over how many seeds it was measured.
        headers: One per column.
        lines: The original, the retrained model, then the methods.
        floor: The retrained models' own ``avg_gap``; None where it is not known.
        finding: The best method next to the second best; None where seeds do not show it.
    """

    title: str
    headers: tuple[str, ...]
    lines: tuple[Line, ...]
    floor: Cell | None
    finding: str | None

    @property
    def failures(self) -> list[str]:
        """One sentence for each method that failed or was not run."""
        return [line.failure for line in self.lines if line.failure]

    @property
    def remarks(self) -> list[str]:
        """What is said below the table besides."""
        return [text for text in (self.finding, None if self.floor else NO_FLOOR) if text]


def tables(study: Mapping[str, Any]) -> list[ScenarioTable]:
    """Turn a study into one table per scenario, in the order in which the scenarios appear.

    Args:
        study: As ``read_study`` returns it.

    Returns:
        Tables whose lines start with the original and the retrained model. ``forget_test_acc`` is left out where no row
        of the scenario has it.
    """
    return [_table(study, scenario) for scenario in dict.fromkeys(row["scenario"] for row in study["rows"])]


def legend(study: Mapping[str, Any], plus_minus: str, *, bold: bool) -> str:
    """Explain a study's numbers.

    Args:
        study: As ``read_study`` returns it.
        plus_minus: How that sign is written.
        bold: Whether marks can be seen.

    Returns:
        A few sentences in one line.
    """
    columns = [name for name in study["columns"] if any(row[name] for row in study["rows"])]
    if not columns:
        return "Nothing was measured."
    units = units_in_words(columns, study["score_on"])
    sentences = [
        f"Mean {plus_minus} sample standard deviation over seeds."
        if any(row["n"] > 1 for row in study["rows"])
        else "",
        f"{units[:1].upper()}{units[1:]}." if units else "",
        "The avg_gap of retrained, its distance from other retrained models, is the floor.",
    ]
    if bold and compared(study):
        sentences.append(
            "Bold: the best of each column (lowest avg_gap, seconds and retrain_share; otherwise nearest to retrained) "
            "and what seeds do not tell apart from it (paired t-tests, 5 % after Holm's correction)."
        )
    elif bold:
        sentences.append(f"Bold: the lowest avg_gap{'; one seed shows no noise' if _most_seeds(study) == 1 else ''}.")
    return " ".join(filter(None, sentences))


def _table(study: Mapping[str, Any], scenario: str) -> ScenarioTable:
    """Build the table of one scenario."""
    rows = [row for row in study["rows"] if row["scenario"] == scenario]
    names = [name for name in study["columns"] if name != "forget_test_acc" or any(row[name] for row in rows)]
    marks = marked(study, scenario)
    floor = next((row["avg_gap"] for row in rows if row["method"] == RETRAINED and row["avg_gap"]), None)
    headers = [f"{name} %" if name == SHARE else name_of(name, study["score_on"]) for name in names]
    return ScenarioTable(
        title=f"{scenario}, {_seeds(rows)}",
        headers=tuple(headers),
        lines=tuple(
            Line(row["method"], _cells(row, names, marks), _failure(row)) for row in sorted(rows, key=references_first)
        ),
        floor=_cell(floor, "avg_gap") if floor else None,
        finding=finding(study, scenario),
    )


def references_first(row: Mapping[str, Any]) -> int:
    """Sort the original first, the retrained second and all methods, in their own order, after them."""
    method = row["method"]
    return REFERENCES.index(method) if method in REFERENCES else len(REFERENCES)


def _seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say over how many seeds the rows were measured."""
    counts = [row["n"] for row in rows if row["n"]] or [0]
    fewest, most = min(counts), max(counts)
    if fewest < most:
        return f"{fewest} to {most} seeds"
    return "1 seed" if most == 1 else f"{most} seeds"


def _most_seeds(study: Mapping[str, Any]) -> int:
    """Seeds of the method that has most; of a single seed there are two retrained models all the same."""
    return max((row["n"] for row in study["rows"] if row["method"] not in REFERENCES), default=0)


def _failure(row: Mapping[str, Any]) -> str | None:
    """Say why a method failed and where its log is, or why it was not run at all."""
    if not row["failed"]:
        return None
    reason = " ".join(row["failed"].split())
    return (
        f"{row['method']} failed: {reason} ({row['log']})" if row["log"] else f"{row['method']} was not run: {reason}"
    )


def _cells(row: Mapping[str, Any], names: Sequence[str], marks: Collection[tuple[str, str]]) -> tuple[Cell, ...]:
    """Write a row's columns; a row of which nothing was measured says why in the first."""
    if row["failed"] and not any(row[name] for name in names):
        return (Cell(word="failed" if row["log"] else "not run"), *[Cell()] * (len(names) - 1))
    return tuple(_cell(row[name], name, best=(row["method"], name) in marks) for name in names)


def _cell(column: Mapping[str, Any] | None, name: str, *, best: bool = False) -> Cell:
    """Write one stored column."""
    if column is None:
        return Cell()
    factor = 100 if name == SHARE else 1
    std = None if column["std"] is None else column["std"] * factor
    return Cell(*rounded(column["mean"] * factor, std, decimals_of(name)), best=best)
